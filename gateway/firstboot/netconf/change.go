package netconf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/settings"
)

const (
	// Window is how long a change waits for its confirmation.
	Window        = 90 * time.Second
	probeEvery    = 3 * time.Second
	probeLimit    = 10 * time.Second // for one look at the far side
	rollbackLimit = time.Minute
)

// Changer makes changes that are taken back unless they are confirmed, so that
// nobody locks himself out.
type Changer struct {
	System *System
	Store  settings.Store
	// Window is how long a change waits; 0 means 90 s.
	Window time.Duration
	// Answers asks whether the deployment unit or a vCenter answers over the
	// network of the settings. A nil error keeps a change. It is called again and
	// again within the window; nil: only people confirm.
	Answers func(context.Context, settings.Settings) (who string, err error)
	// Applied is called when the network was changed or changed back, to tell who
	// has connections over the one from before; nil: nobody.
	Applied func(context.Context)
	Log     *slog.Logger // nil discards
}

// Outcome is how a change ended.
type Outcome struct {
	Kept bool
	Why  string // for people
}

// String says how the change ended.
func (o Outcome) String() string {
	if o.Kept {
		return "kept: " + o.Why
	}
	return "rolled back: " + o.Why
}

// Try applies the settings and blocks until the change is kept or taken back:
// kept by a value on confirm or by an answer of the far side, taken back when
// the window or ctx ends, or at once if applying fails. If this process is
// killed meanwhile, [Changer.Recover] takes the change back.
func (c *Changer) Try(ctx context.Context, want settings.Settings, confirm <-chan struct{}) (Outcome, error) {
	release, err := c.Store.Lock()
	if err != nil {
		return Outcome{}, err
	}
	defer release()
	st, err := c.Store.Load()
	if err != nil {
		return Outcome{}, err
	}
	if st.Pending != nil {
		if st, err = c.takeBack(ctx, st, "it was found unconfirmed"); err != nil {
			return Outcome{}, err
		}
	}
	what := Differences(st.Settings, want)
	if what == "" {
		return Outcome{Kept: true, Why: "there was nothing to change"}, nil
	}
	st.Pending = &settings.Pending{Before: st.Settings, After: want, What: what, Began: time.Now().UTC().Truncate(time.Second)}
	if err := c.Store.Save(st); err != nil {
		return Outcome{}, err
	}
	c.log().Info("network change begins", "keys", what, "window", c.window())
	out := c.decide(ctx, want, confirm)
	if !out.Kept {
		_, err := c.takeBack(ctx, st, out.Why)
		return out, err
	}
	st.Settings, st.Pending = want, nil
	st.Record(what, out.String())
	c.log().Info("network change kept", "keys", what, "why", out.Why)
	return out, c.Store.Save(st)
}

func (c *Changer) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c *Changer) applied(ctx context.Context) {
	if c.Applied != nil {
		c.Applied(ctx)
	}
}

func (c *Changer) window() time.Duration {
	if c.Window == 0 {
		return Window
	}
	return c.Window
}

// decide applies and waits.
func (c *Changer) decide(ctx context.Context, want settings.Settings, confirm <-chan struct{}) Outcome {
	window, cancel := context.WithTimeout(ctx, c.window())
	defer cancel()
	if _, err := c.System.Apply(window, want); err != nil {
		return Outcome{Why: err.Error()}
	}
	c.applied(window)
	answers := make(chan string, 1)
	last := make(chan error, 1) // the newest reason why nobody answers
	var wg sync.WaitGroup
	wg.Go(func() { c.probe(window, want, answers, last) })
	defer func() { cancel(); wg.Wait() }()
	select {
	case <-confirm:
		return Outcome{Kept: true, Why: "confirmed on the console"}
	case who := <-answers:
		return Outcome{Kept: true, Why: who + " answered"}
	case <-window.Done():
	}
	if ctx.Err() != nil {
		return Outcome{Why: "the console was closed before the change was confirmed"}
	}
	why := fmt.Sprintf("nobody confirmed it within %s", c.window())
	select {
	case err := <-last:
		why += ", and nothing answered: " + err.Error()
	default:
	}
	return Outcome{Why: why}
}

// probe asks the far side until it answers.
func (c *Changer) probe(ctx context.Context, want settings.Settings, answers chan<- string, last chan error) {
	if c.Answers == nil {
		return
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, probeLimit)
		who, err := c.Answers(once, want)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			answers <- who
			return
		}
		select { // only the newest is kept
		case <-last:
		default:
		}
		last <- err
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// takeBack puts the settings from before back, whatever happens to ctx.
func (c *Changer) takeBack(ctx context.Context, st settings.State, why string) (settings.State, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
	defer cancel()
	p := st.Pending
	c.log().Warn("network change is rolled back", "keys", p.What, "why", why)
	if _, err := c.System.Apply(ctx, p.Before); err != nil {
		// Pending stays: the next start tries again.
		return st, fmt.Errorf("roll the change of %s back: %w", p.What, err)
	}
	c.applied(ctx)
	st.Settings, st.Pending = p.Before, nil
	st.Record(p.What, Outcome{Why: why}.String())
	return st, c.Store.Save(st)
}

// Recover takes back a change whose process was killed, or whose window a
// reboot cut short. It says whether there was one. If another process holds the
// change, that is no matter of ours, and nothing happens.
func (c *Changer) Recover(ctx context.Context) (bool, error) {
	release, err := c.Store.Lock()
	if errors.Is(err, settings.ErrBusy) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer release()
	st, err := c.Store.Load()
	if err != nil || st.Pending == nil {
		return false, err
	}
	_, err = c.takeBack(ctx, st, "the appliance or its console was restarted before the change was confirmed")
	return true, err
}

// Differences are the keys of what differs, for people; empty if nothing does.
func Differences(a, b settings.Settings) string {
	was, is := a.Properties(), b.Properties()
	var keys []string
	for _, k := range settings.Keys() {
		if was[k.Name] != is[k.Name] {
			keys = append(keys, k.Name)
		}
	}
	return strings.Join(keys, ", ")
}
