package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func TestAVCenterThatDoesNotAnswerIsAskedNothingMore(t *testing.T) {
	s, v := frail(t)
	st := s.byName["lab"]
	vm := plugin.Key{Kind: inventory.KindVM, ID: v.InstanceUUID() + "/" + v.IDs("VirtualMachine")[0]}
	silent := func(what string, err error) {
		t.Helper()
		if e, is := errors.AsType[*session.SilentError](err); !is || "https://"+e.Address != v.URL() || e.Since.IsZero() {
			t.Errorf("%s: got %v", what, err)
		}
	}
	v.Inject(testvcenter.Freeze)

	// One login is under way when discovery finds out.
	began := time.Now()
	_, err := upstream(st.acts, st.source).Login(t.Context())
	silent("a login that waits", err)
	if took := time.Since(began); took > 8*time.Second { // 5 s of which are the proof's
		t.Errorf("it took %v", took)
	}

	becomes(t, s, "degraded")
	began = time.Now()
	ctx, release := s.answering(t.Context(), vm)
	defer release()
	_, _, err = s.resolve(ctx, vm)
	silent("an action", err)
	_, err = upstream(st.acts, st.source).Login(t.Context())
	silent("a login", err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.URL()+"/sdk", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = upstream(st.acts, st.source).Transport.RoundTrip(r)
	silent("a call", err)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v though it was known", took)
	}

	v.Clear()
	becomes(t, s, "ok")
	ctx, release = s.answering(t.Context(), vm)
	defer release()
	if _, _, err := s.resolve(ctx, vm); err != nil {
		t.Errorf("it answers again: %v", err)
	}
}

func TestWhatControlMeetsIsDiscoverysCauseIfTheAccountIsOne(t *testing.T) {
	refused := fmt.Errorf("log in: %w", session.ErrRefused)
	for name, own := range map[string]bool{"one account": false, "an account of its own": true} {
		t.Run(name, func(t *testing.T) {
			s, v := frail(t)
			v.Inject(testvcenter.Freeze)
			st := s.byName["lab"]
			st.source.Doubt()
			becomes(t, s, "degraded")
			if own {
				if err := s.vault.Set(pair.ControlAccount("lab"), vault.Secret{User: "ctl", Password: "x"}); err != nil {
					t.Fatal(err)
				}
			}
			s.met(st, refused)
			if got := s.status()[0].Problem; strings.Contains(got, "refuses the account") == own {
				t.Errorf("got %q", got)
			}
		})
	}
}
