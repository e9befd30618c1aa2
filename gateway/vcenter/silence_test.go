package vcenter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin"
)

// ends waits for a context to end and returns why.
func ends(t *testing.T, ctx context.Context) error {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	return context.Cause(ctx)
}

func TestWhoAsksWaitsOnlyWhileVCenterAnswers(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	timing := holding()
	timing.beat, timing.proofLimit = time.Hour, 500*time.Millisecond // nobody proves by himself
	w := watch(t, v, Options{}, timing)
	w.list()

	asks, release := w.Answering(t.Context())
	release()
	if err := ends(t, asks); !errors.Is(err, context.Canceled) || w.Silent() != nil {
		t.Fatalf("an answer in time: %v, silent: %v", err, w.Silent())
	}
	before := time.Now()
	v.Inject(testvcenter.Freeze)
	asks, release = w.Answering(t.Context())
	defer release()
	silent, is := errors.AsType[*session.SilentError](ends(t, asks))
	if !is || silent.Address != strings.TrimPrefix(v.URL(), "https://") || silent.Err.Error() != "no answer within 500ms" {
		t.Fatalf("got %v", silent)
	}
	if silent.Since.After(time.Now().Add(-timing.proofLimit)) || silent.Since.Before(before.Add(-time.Minute)) {
		t.Errorf("it has not answered since %v, and froze at %v", silent.Since, before)
	}
	again, _ := w.Answering(t.Context())
	if again.Err() == nil || context.Cause(again) != error(silent) || w.Silent() != error(silent) {
		t.Errorf("when it is known: %v, %v", context.Cause(again), w.Silent())
	}

	v.Clear()
	w.list()
	after, release := w.Answering(t.Context())
	defer release()
	if after.Err() != nil || w.Silent() != nil {
		t.Errorf("it answers again: %v, %v", context.Cause(after), w.Silent())
	}
}

func TestAnAccountThatIsRefusedIsNoSilence(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 1})
	v.SetPassword("another")
	w := watch(t, v, Options{}, quick)
	until(t, "the refusal", func() bool { return errors.Is(w.State().Problem, session.ErrRefused) })
	if err := w.Silent(); err != nil {
		t.Errorf("another account may be let in, and is told %v", err)
	}
}

// It may be one connection of many, and the next try says what it is.
func TestAConnectionThatBreaksIsNoSilence(t *testing.T) {
	w := watch(t, start(t, testvcenter.Options{VMs: 1}), Options{}, holding())
	w.list()
	asks, release := w.Answering(t.Context())
	defer release()
	w.broken(&silence{time.Second, context.DeadlineExceeded}, func(...plugin.Key) {})
	if asks.Err() != nil || w.Silent() != nil {
		t.Errorf("%v, %v", context.Cause(asks), w.Silent())
	}
	if w.State().OK {
		t.Error("nothing is stale")
	}
}
