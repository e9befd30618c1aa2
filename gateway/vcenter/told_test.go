package vcenter

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/testvcenter"
)

func TestWhatAnotherSessionMeetsIsTheCause(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 1})
	timing := holding()
	timing.proofLimit, timing.proofGap, timing.lastRetry = 500*time.Millisecond, time.Hour, time.Hour // then it does not find out itself
	w := watch(t, v, Options{}, timing)
	w.list()
	certificate := &session.CertificateError{Server: "vc.example", Pinned: "AB", Shown: "CD"}

	w.Told(certificate)
	if st := w.State(); !st.OK {
		t.Fatalf("what is followed is followed: %v", st.Problem)
	}
	v.Inject(testvcenter.Freeze)
	w.Doubt()
	if why := w.stale(); !strings.Contains(why.Error(), "no answer within") {
		t.Fatalf("got %v", why)
	}
	w.mu.Lock()
	before := w.all
	w.mu.Unlock()
	w.Told(io.EOF)
	if why := w.State().Problem; !strings.Contains(why.Error(), "no answer within") {
		t.Errorf("a connection that broke: %v", why)
	}
	w.Told(fmt.Errorf("log in: %w", certificate))
	why := w.State().Problem
	if !errors.Is(why, certificate) || !strings.Contains(why.Error(), "shows another certificate") || !strings.Contains(why.Error(), "stale since") {
		t.Errorf("a certificate: %v", why)
	}
	until(t, "a hint", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.all > before })
	w.Told(session.ErrRefused)
	if !errors.Is(w.State().Problem, certificate) {
		t.Errorf("the first cause stays until it is tried again: %v", w.State().Problem)
	}
}

// The waits that spare vCenter whole passes are not for an outage that is over.
func TestAnOutageDoesNotMakeTheTriesAfterItRare(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 1})
	var failed atomic.Int32
	s, err := session.New(session.Options{Name: "east", URL: v.URL(), Pin: v.Pin(), Account: account, Failed: func(error) { failed.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	timing := quick
	timing.healthy, timing.firstRetry, timing.calm, timing.maxWait = time.Hour, time.Minute, time.Hour, 300
	timing.waitLimit = time.Hour
	w := watch(t, v, Options{Session: s}, timing)
	w.list()
	v.Inject(testvcenter.Restart)
	until(t, "many tries", func() bool { return failed.Load() > 150 })
	v.Clear()
	w.list()
	v.SetPassword("another")
	v.Inject(testvcenter.Restart)
	v.Clear()
	until(t, "the refusal", func() bool { return errors.Is(w.State().Problem, session.ErrRefused) })
}
