package console

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"

	"github.com/openpf9/openpf9/gateway/firstboot/reach"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/kindtable"
)

// The pages' names.
const (
	pageStatus  = "status"
	pageNetwork = "network"
	pageConfirm = "confirm"
	pagePair    = "vcenter"
	pageTrust   = "trust"
	pageLook    = "diagnostics"
	pageEnrol   = "enrol"
	pageReboot  = "reboot"
)

const titleLine = "openpf9 gateway"

const keysLine = "F2 network   F3 vCenter   F4 diagnostics   F5 enrol   F12 reboot   Esc status"

// build makes the frame and the first page. Serial lines may have no function
// keys: on the first page letters do as well.
func (c *console) build(ctx context.Context) {
	c.status = plainText()
	c.pages = tview.NewPages().AddPage(pageStatus, c.status, true, true)
	c.notice = plainText()
	c.title = plainText().SetText(titleLine)
	keys := plainText().SetText(keysLine)
	c.frame = tview.NewFlex().SetDirection(tview.FlexRow).
		AddItem(c.title, 1, 0, false).
		AddItem(c.pages, 0, 1, true).
		AddItem(c.notice, noticeRows, 0, false).
		AddItem(keys, 1, 0, false)
	open := map[tcell.Key]func(context.Context){
		tcell.KeyF2: c.openNetwork, tcell.KeyF3: c.openPair, tcell.KeyF4: c.openLook, tcell.KeyF5: c.openEnrol, tcell.KeyF12: c.openReboot,
	}
	letters := map[rune]tcell.Key{'n': tcell.KeyF2, 'v': tcell.KeyF3, 'd': tcell.KeyF4, 'e': tcell.KeyF5, 'r': tcell.KeyF12}
	c.app.SetInputCapture(func(e *tcell.EventKey) *tcell.EventKey {
		key := e.Key()
		front, _ := c.pages.GetFrontPage()
		if k, ok := letters[e.Rune()]; ok && key == tcell.KeyRune && front == pageStatus {
			key = k
		}
		switch {
		case key == tcell.KeyCtrlC: // nobody leaves the console by that
			return nil
		case front == pageConfirm: // first decide
			return e
		case key == tcell.KeyEscape:
			c.back()
			return nil
		case open[key] != nil:
			c.say("")
			open[key](ctx)
			return nil
		}
		return e
	})
	c.app.SetRoot(c.frame, true)
}

// plainText shows text as it is: what a vCenter is called does not colour it.
func plainText() *tview.TextView {
	return tview.NewTextView().SetDynamicColors(false).SetRegions(false).SetWrap(true)
}

// open puts a page in front, in the place of an older one of its name.
func (c *console) open(name string, p tview.Primitive) {
	c.pages.RemovePage(name)
	c.pages.AddAndSwitchToPage(name, p, true)
	c.app.SetFocus(p)
}

// back shows the first page.
func (c *console) back() {
	c.pages.SwitchToPage(pageStatus)
	c.app.SetFocus(c.status)
}

// show brings a new report to the screen.
func (c *console) show(r status.Report) {
	r.Clock = c.clock
	c.report = r
	c.fit()
}

// tick is what is done each second.
func (c *console) tick() {
	c.countDown()
	c.fit()
}

// fit writes the report for the screen as wide as it is now, and says in the
// title whether it has more lines than the screen.
func (c *console) fit() {
	if c.report.At.IsZero() {
		return // there is none yet
	}
	_, _, width, height := c.status.GetInnerRect()
	text := c.report.Text(width)
	if text != c.status.GetText(false) {
		c.status.SetText(text)
	}
	above, _ := c.status.GetScrollOffset()
	below := strings.Count(text, "\n") - above - height
	title := titleLine
	switch front, _ := c.pages.GetFrontPage(); {
	case front != pageStatus:
	case below > 0:
		title += fmt.Sprintf("   %d more lines below: arrow down, PgDn", below)
	case above > 0:
		title += fmt.Sprintf("   %d more lines above: arrow up, PgUp", above)
	}
	c.title.SetText(title)
}

// form makes an empty form with a heading.
func form(heading string) *tview.Form {
	f := tview.NewForm().SetItemPadding(0)
	f.SetBorder(true).SetTitle(" " + heading + " ").SetTitleAlign(tview.AlignLeft)
	return f
}

// withText puts a text above a form.
func withText(text string, rows int, f *tview.Form) *tview.Flex {
	t := plainText().SetText(text)
	return tview.NewFlex().SetDirection(tview.FlexRow).AddItem(t, rows, 0, false).AddItem(f, 0, 1, true)
}

// value is what stands in a field.
func value(f *tview.Form, label string) string {
	if i, ok := f.GetFormItemByLabel(label).(*tview.InputField); ok {
		return strings.TrimSpace(i.GetText())
	}
	return ""
}

// describe returns the keys' descriptions.
func describe(names ...string) []settings.Key {
	var out []settings.Key
	for _, n := range names {
		for _, k := range settings.Keys() {
			if k.Name == n {
				out = append(out, k)
			}
		}
	}
	return out
}

// openLook runs the diagnostics and shows them.
func (c *console) openLook(context.Context) {
	view := plainText().SetText("Looking ...")
	view.SetBorder(true).SetTitle(" Diagnostics ").SetTitleAlign(tview.AlignLeft)
	c.open(pageLook, view)
	r := c.report
	s := r.Settings
	targets := reach.Targets{
		Unit: reach.Unit{URL: s.DU, Pin: reach.PinOf(c.o.Boot.Paths().CA, s.Pin), Proxy: s.ProxyURL()},
		DNS:  s.DNS, NTP: s.NTP, VCenters: addresses(r),
	}
	c.start(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, jobLimit)
		defer cancel()
		checks := reach.Diagnose(ctx, targets)
		return func() { view.SetText(table(append(checks, followed(r)...))) }
	})
}

// addresses are those of the vCenters that are paired, and of the one that was
// typed at the deployment, for it may not be paired yet.
func addresses(r status.Report) (all []string) {
	known := r.VCenters
	if r.Settings.VCenter != "" {
		known = append(slices.Clone(known), status.VCenter{Address: r.Settings.VCenter})
	}
	for _, v := range known {
		if a := reach.WithPort(v.Address, "443"); v.Address != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// followed is what the daemon says of the vCenters: one may answer, and refuse
// the account.
func followed(r status.Report) (checks []reach.Check) {
	for _, v := range r.VCenters {
		text := v.Word()
		if v.Trouble() != "" {
			text += ": " + v.Trouble()
		}
		fine := v.Trouble() == "" && (v.State == discovery.OK || v.State == status.Reading)
		checks = append(checks, reach.Check{Name: v.Name + ", as the daemon sees it", OK: fine, Result: text})
	}
	return checks
}

func table(checks []reach.Check) string {
	if len(checks) == 0 {
		return "Nothing is set that could be asked: no deployment unit, no NTP server, no vCenter."
	}
	var b strings.Builder
	for _, k := range checks {
		mark := "ok    "
		if !k.OK {
			mark = "FAILED"
		}
		fmt.Fprintf(&b, "%s  %s: %s\n", mark, kindtable.Clean(k.Name), kindtable.Clean(k.Result))
	}
	return b.String()
}

// openReboot asks before it reboots.
func (c *console) openReboot(context.Context) {
	modal := tview.NewModal().SetText("Reboot the gateway?").AddButtons([]string{"Cancel", "Reboot"})
	modal.SetDoneFunc(func(_ int, label string) {
		c.back()
		if label != "Reboot" {
			return
		}
		c.say("Rebooting ...")
		c.start(func(ctx context.Context) func() {
			if err := c.o.Reboot(ctx); err != nil {
				return func() { c.failed("Reboot", err) }
			}
			return nil
		})
	})
	c.open(pageReboot, modal)
}
