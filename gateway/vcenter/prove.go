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
	for {
		if err := pause(ctx, p.s.time.beat, p.s.doubts); err != nil {
			return err
		}
		err := p.proof(ctx)
		if err == nil {
			p.s.health.answered(0)
			if err := pause(ctx, p.s.time.proofGap, nil); err != nil { // however many doubt
				return err
			}
			continue
		}
		if !p.away(ctx, err, changed) {
			return fmt.Errorf("prove the session: %w", err)
		}
		if err := p.answer(ctx, changed); err != nil {
			return fmt.Errorf("prove the session: %w", err)
		}
		p.waits.again()
		p.s.health.answered(0)
		p.s.health.set(nil)
		p.s.log.Info("vCenter answers again")
		changed()
	}
}

// proof asks vCenter whether it answers.
func (p *pass) proof(ctx context.Context) error {
	err := alive(ctx, p.client, p.s.time.proofLimit)
	if err == nil && p.s.opts.Session.OtherUser() {
		err = errOtherUser
	}
	return err
}

// away says whether a proof failed because vCenter does not answer, and then notes it.
func (p *pass) away(ctx context.Context, err error, changed func(...plugin.Key)) bool {
	if ctx.Err() != nil || session.IsNotAuthenticated(err) || errors.Is(err, errOtherUser) {
		return false
	}
	p.s.broken(p.s.silent(ctx, err), changed)
	return true
}

// proofsAtOnce bounds the proofs that wait for an answer.
const proofsAtOnce = 6

// answer waits until vCenter answers. It asks anew every second, by another
// connection: what was sent while the path was cut may never be answered.
func (p *pass) answer(ctx context.Context, changed func(...plugin.Key)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	answers := make(chan error, proofsAtOnce)
	again := time.NewTicker(p.s.time.proofGap)
	defer again.Stop()
	for asked := 0; ; {
		select {
		case <-again.C:
			if asked < proofsAtOnce {
				asked++
				wg.Go(func() { answers <- p.proof(ctx) })
			}
		case err := <-answers:
			asked--
			if err == nil || !p.away(ctx, err, changed) {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
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
