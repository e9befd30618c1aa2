package console

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/rivo/tview"

	"github.com/openpf9/openpf9/gateway/firstboot/netconf"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
)

// change is one that waits for its confirmation.
type change struct {
	what    string
	until   time.Time
	confirm chan struct{}
	cancel  context.CancelFunc
	text    *tview.TextView
}

// openNetwork shows what is set, to be changed. While a change waits, it shows
// that.
func (c *console) openNetwork(ctx context.Context) {
	if c.change != nil {
		c.pages.SwitchToPage(pageConfirm)
		return
	}
	st, err := c.o.Boot.Store().Load()
	if err != nil {
		c.failed("Settings", err)
		return
	}
	now := st.Settings.Properties()
	now[settings.KeyProxy] = hidden(st.Settings.Proxy)
	keys := describe(settings.KeyHostname, settings.KeyIP, settings.KeyGateway, settings.KeyDNS, settings.KeyNTP, settings.KeyProxy)
	f := form("Network")
	for _, k := range keys {
		f.AddInputField(k.Label, now[k.Name], 60, nil, nil)
	}
	f.AddButton("Apply", func() {
		typed := make(map[string]string)
		for _, k := range keys {
			if v := value(f, k.Label); v != now[k.Name] { // a hidden password stays
				typed[k.Name] = v
			}
		}
		want, problems := st.Settings.With(typed)
		if len(problems) > 0 {
			c.say("%v", problems)
			return
		}
		c.try(ctx, st.Settings, want)
	})
	f.AddButton("Back", c.back)
	help := "An empty address means DHCP. A change is kept when the deployment unit or the\nvCenter answers, or when you confirm it; otherwise it is rolled back."
	c.open(pageNetwork, withText(help, 3, f))
}

// hidden is a proxy without its password.
func hidden(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || proxy == "" {
		return ""
	}
	return u.Redacted()
}

// try applies a change and shows the page on which it is decided.
func (c *console) try(ctx context.Context, before, want settings.Settings) {
	what := netconf.Differences(before, want)
	if what == "" {
		c.say("There is nothing to change.")
		return
	}
	trying, cancel := context.WithCancel(ctx)
	ch := &change{what: what, until: time.Now().Add(c.window()), confirm: make(chan struct{}, 1), cancel: cancel, text: plainText()}
	started := c.start(func(context.Context) func() {
		defer cancel()
		out, err := c.o.Changer.Try(trying, want, ch.confirm)
		return func() { c.decided(out, err) }
	})
	if !started {
		cancel()
		return
	}
	c.say("")
	c.change = ch
	f := form("Keep the change?")
	f.AddButton("Keep", func() {
		select {
		case ch.confirm <- struct{}{}:
		default: // pressed twice
		}
		c.say("Keeping it ...")
	})
	f.AddButton("Roll back", func() {
		c.say("Rolling it back ...")
		cancel()
	})
	page := tview.NewFlex().SetDirection(tview.FlexRow).AddItem(ch.text, 5, 0, false).AddItem(f, 0, 1, true)
	c.countDown()
	c.open(pageConfirm, page)
}

func (c *console) window() time.Duration {
	if c.o.Changer.Window == 0 {
		return netconf.Window
	}
	return c.o.Changer.Window
}

// countDown says how long a change still waits.
func (c *console) countDown() {
	if c.change == nil {
		return
	}
	left := max(time.Until(c.change.until), 0).Round(time.Second)
	c.change.text.SetText(fmt.Sprintf("Changed: %s.\nIt is kept when the deployment unit or the vCenter answers.\nOtherwise it is rolled back in %s.", c.change.what, left))
}

// decided ends a change's window.
func (c *console) decided(out netconf.Outcome, err error) {
	c.change = nil
	c.pages.RemovePage(pageConfirm)
	c.back()
	if err != nil {
		c.failed("Network", err)
		return
	}
	c.say("The change was %s.", out)
}
