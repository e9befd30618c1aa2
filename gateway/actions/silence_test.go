package actions

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// known is what is known of a vCenter that does not answer.
func known(s *site) *session.SilentError {
	return &session.SilentError{Address: s.host(), Since: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), Err: context.DeadlineExceeded}
}

func TestVCenterThatIsKnownNotToAnswerIsNotWaitedFor(t *testing.T) {
	for name, when := range map[string]time.Duration{"before": 0, "while the VM is looked at": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			g := s.gateway(func(o *Options) {
				o.Answering = func(ctx context.Context, _ plugin.Key) (context.Context, func()) {
					ctx, cancel := context.WithCancelCause(ctx)
					if when == 0 {
						cancel(known(s))
					}
					late := time.AfterFunc(when, func() { cancel(known(s)) })
					return ctx, func() { late.Stop(); cancel(nil) }
				}
			})
			s.losing("RetrievePropertiesEx", holdAnswer)
			began := time.Now()
			o := g.do(request(s, 0, wire.ActionPowerOff))
			want := "vCenter " + s.host() + " has not answered since 2026-03-01T10:00:00Z (no answer in time), nothing was done; try again when it answers"
			if o.State != wire.ActionFailed || o.Uncertain || !strings.HasPrefix(o.Reason, want) {
				t.Errorf("got %+v\nwant %q", o, want)
			}
			if took := time.Since(began); took > callLimit/2 {
				t.Errorf("it took %v", took)
			}
			if n := s.called("PowerOffVM_Task"); n > 0 {
				t.Errorf("vCenter was asked to act %d times", n)
			}
		})
	}
}

// Whether it was done is then found out as ever.
func TestSilenceDoesNotEndWhatWasAskedFor(t *testing.T) {
	s := newSite(t)
	g := s.gateway(func(o *Options) {
		o.Answering = func(ctx context.Context, _ plugin.Key) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(known(s)) }
		}
	})
	if o := g.do(request(s, 0, wire.ActionPowerOff)); o.State != wire.ActionSucceeded {
		t.Errorf("got %+v", o)
	}
}

func TestWhatIsDeniedIsDeniedOfASilentVCenterToo(t *testing.T) {
	s := newSite(t)
	outside := s.vms[1].Self
	s.inside = func(ref types.ManagedObjectReference) bool { return ref.Value != outside.Value }
	var fallen atomic.Bool
	g := s.gateway(func(o *Options) {
		o.Answering = func(ctx context.Context, _ plugin.Key) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			if fallen.Load() {
				cancel(known(s))
			}
			return ctx, func() { cancel(nil) }
		}
	})
	if o := g.do(request(s, 0, wire.ActionPowerOff)); o.State != wire.ActionSucceeded { // it has logged in
		t.Fatalf("got %+v", o)
	}
	fallen.Store(true)
	if o := g.do(request(s, 1, wire.ActionPowerOff)); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "outside of what was delegated") {
		t.Errorf("got %+v", o)
	}
}
