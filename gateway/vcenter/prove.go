package vcenter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/plugin"
)

// errOtherUser says that the session is not the account's any more.
var errOtherUser = errors.New("another user's account was given")

// Doubt says that somebody got no answer from vCenter, or that its account may
// have changed: whoever watches then asks vCenter at once, once for all doubts.
// It does not block, and may be called as often as one likes.
func (s *Source) Doubt() {
	select {
	case s.doubts <- struct{}{}:
	default: // one waits already
	}
}

// prove asks vCenter whether it answers, now and then and when it is doubted. The
// waits for changes cannot tell: vCenter holds them for long, and a path that
// swallows packets for ever. As long as it does not answer what is known is stale;
// the pass goes on, for nothing is lost if it only was away for a moment. When it
// answers again the waits begin anew: their connections may not have come back.
func (p *pass) prove(ctx context.Context, changed func(...plugin.Key)) error {
	away := false
	for wait := p.s.time.beat; ; {
		if err := pause(ctx, wait, p.s.doubts); err != nil {
			return err
		}
		err := alive(ctx, p.client, p.s.time.proofLimit)
		if err == nil && p.s.opts.Session.OtherUser() {
			err = errOtherUser
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case session.IsNotAuthenticated(err), errors.Is(err, errOtherUser):
			return fmt.Errorf("prove the session: %w", err)
		case err != nil:
			p.s.broken(err, changed)
			away, wait = true, 0
		case away:
			p.waits.again()
			p.s.health.answered(0)
			p.s.health.set(nil)
			p.s.log.Info("vCenter answers again")
			changed()
			away, wait = false, p.s.time.beat
		default:
			p.s.health.answered(0)
			wait = p.s.time.beat
		}
		if err := pause(ctx, p.s.time.proofGap, nil); err != nil { // however many doubt
			return err
		}
	}
}

// waits are the waits for changes that are under way.
type waits struct {
	mu  sync.Mutex // guards the fields below
	ctx context.Context
	end context.CancelFunc
}

// context is ctx for one wait more; it ends early when waits are to begin anew.
func (w *waits) context(ctx context.Context) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil {
		w.ctx, w.end = context.WithCancel(ctx)
	}
	return w.ctx
}

// again ends the waits under way, which then begin anew.
func (w *waits) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx != nil {
		w.end()
		w.ctx = nil
	}
}

// pause waits for so long, or until something comes; an error: ctx has ended.
func pause(ctx context.Context, d time.Duration, come <-chan struct{}) error {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
	case <-come:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
