package vcenter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// holding is a timing by which no wait ends before a test does.
func holding() timing {
	t := quick
	t.maxWait, t.waitLimit = 300, 5*time.Minute
	return t
}

// stale waits until a list says that it is, and returns why.
func (w *watched) stale() (why error) {
	w.t.Helper()
	until(w.t, "an error", func() bool { _, why = list(w.t.Context(), w.Source); return why != nil })
	return why
}

func TestAFreezeIsNoticedThoughVCenterMayHoldTheWait(t *testing.T) {
	for name, test := range map[string]struct {
		beat  time.Duration
		doubt bool
	}{"by itself": {beat: 50 * time.Millisecond}, "when somebody doubts": {time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			v := start(t, testvcenter.Options{VMs: 3})
			timing := holding()
			timing.beat, timing.proofLimit = test.beat, 500*time.Millisecond
			w := watch(t, v, Options{}, timing)
			w.list()
			read := w.epochs()
			v.Inject(testvcenter.Freeze)
			if test.doubt {
				w.Doubt()
			}
			why := w.stale()
			at := strings.TrimPrefix(v.URL(), "https://")
			for _, want := range []string{"vCenter east: stale since 20", at + " does not answer: no answer within 500ms", "see that vCenter runs"} {
				if !strings.Contains(why.Error(), want) {
					t.Errorf("%q is not in %q", want, why)
				}
			}
			if st := w.State(); st.OK || !st.Known || st.Since.After(time.Now().Add(-timing.proofLimit)) {
				t.Errorf("state %+v: it was true until the last answer", st)
			}
			v.Clear()
			w.list()
			if n := v.Counts().Logins; n != 1 || w.epochs() != read {
				t.Errorf("%d logins, and everything was read again %v: nothing was lost", n, w.epochs() != read)
			}
			id := v.IDs("VirtualMachine")[0]
			v.SetPower(id, false)
			until(t, "a change after it", func() bool { vm, ok := w.vm(v, id); return ok && vm.State == inventory.VMShutOff })
		})
	}
}

// A firewall that has forgotten the connections lets new ones pass.
func TestWaitsBeginAnewWhenVCenterAnswersAgain(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	timing := holding()
	timing.beat, timing.proofLimit, timing.proofGap = 50*time.Millisecond, 200*time.Millisecond, 10*time.Millisecond
	w := watch(t, v, Options{}, timing)
	w.list()
	until(t, "both waits", func() bool { return v.Counts().Waits >= 2 })
	read := w.epochs()
	v.Inject(testvcenter.Drop)
	_ = w.stale()
	id := v.IDs("VirtualMachine")[0]
	v.Set(id, "config.hardware.numCPU", int32(77)) // which the waits never tell
	v.Clear()
	until(t, "the change", func() bool { vm, ok := w.vm(v, id); return ok && vm.VCPUs == 77 })
	if n := v.Counts().Logins; n != 1 || w.epochs() != read {
		t.Errorf("%d logins, and everything was read again %v: nothing was lost", n, w.epochs() != read)
	}
}

// epochs counts the passes that have shown something.
func (w *watched) epochs() uint64 {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	return w.store.epochNow()
}

func TestTagsFollowWhetherVCenterIsFollowed(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	w := watch(t, v, Options{}, holding())
	w.list()
	ctx, cancel := context.WithCancel(t.Context())
	tags, ended := w.Tags(), make(chan struct{})
	var hints atomic.Int32
	go func() {
		defer close(ended)
		_ = tags.Watch(ctx, func(...plugin.Key) { hints.Add(1) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	for began := false; !began; began = hints.Load() > 0 { // it may begin later than the first trouble
		v.Inject(testvcenter.Unavailable)
		w.Doubt()
		until(t, "trouble", func() bool { return !w.State().OK })
		v.Clear()
		until(t, "its end", func() bool { return w.State().OK })
	}
	v.Inject(testvcenter.Unavailable)
	w.Doubt()
	until(t, "trouble", func() bool { return !w.State().OK })
	if err := tags.List(ctx, func(plugin.Resource) {}); err == nil || !strings.Contains(err.Error(), "stale since") {
		t.Errorf("the tags of a vCenter that does not answer: %v", err)
	}
	before := hints.Load()
	v.Clear()
	until(t, "a hint when it answers again", func() bool { return hints.Load() > before })
}

func TestManyDoubtsAreProvedTogether(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	timing := holding()
	timing.proofGap = 200 * time.Millisecond
	w := watch(t, v, Options{}, timing)
	w.list()
	v.Reset()
	over := time.Now().Add(2 * timing.proofGap)
	for time.Now().Before(over) {
		w.Doubt()
	}
	until(t, "a proof", func() bool { return v.Counts().Calls > 0 })
	if n := v.Counts(); n.Calls > 20 || n.Logins > 0 { // tags are read too
		t.Errorf("%d calls and %d logins for doubts during %v", n.Calls, n.Logins, 2*timing.proofGap)
	}
	if st := w.State(); !st.OK {
		t.Errorf("%v", st.Problem)
	}
}

func TestALostSessionIsNoticedWhenItIsDoubted(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	w := watch(t, v, Options{}, holding())
	w.list()
	v.Inject(testvcenter.Expire)
	w.Doubt()
	until(t, "another login", func() bool { return v.Counts().Logins == 2 })
	w.list()
	if n := v.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestReadingIsNoTrouble(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 350})
	v.Inject(testvcenter.Slow)
	timing := quick
	timing.firstList = 0
	w := watch(t, v, Options{}, timing)
	var st State
	until(t, "some are read", func() bool { st = w.State(); return st.Read > 0 })
	if _, err := list(t.Context(), w.Source); !errors.Is(err, plugin.ErrNotYet) || !strings.Contains(err.Error(), " objects so far") {
		t.Errorf("List: %v", err)
	}
	if !st.Reading || st.OK || st.Known {
		t.Errorf("state %+v", st)
	}
	v.Clear()
	w.list()
	if st := w.State(); st.Reading || !st.OK || !st.Known || st.Read > 0 || !st.Changed.IsZero() {
		t.Errorf("state when all is read: %+v", st)
	}
	v.SetPower(v.IDs("VirtualMachine")[0], false)
	until(t, "a change", func() bool { return !w.State().Changed.IsZero() })
}

func TestWhatIsNotReachedAtFirstIsNotReading(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	v.Inject(testvcenter.Refuse)
	w := watch(t, v, Options{}, quick)
	until(t, "trouble", func() bool { st := w.State(); return !st.Reading && st.Problem != nil })
	if st := w.State(); st.Known || errors.Is(st.Problem, plugin.ErrNotYet) || !strings.Contains(st.Problem.Error(), "nothing is known yet: ") {
		t.Errorf("state %+v", st)
	}
	v.Clear()
	w.list()
}

func TestAnotherUsersAccountIsTakenUp(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	var user, password atomic.Value
	user.Store("gw@vsphere.local")
	password.Store("secret")
	s, err := session.New(session.Options{Name: "east", URL: v.URL(), Pin: v.Pin(), Account: func() (session.Account, error) {
		return session.Account{User: user.Load().(string), Password: password.Load().(string)}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, v, Options{Session: s}, holding())
	w.list()
	v.SetPassword("other")
	password.Store("other")
	v.Reset()
	w.Doubt()
	until(t, "a proof", func() bool { return v.Counts().Calls > 0 })
	if n := v.Counts().Logins; n != 0 || !w.State().OK {
		t.Errorf("%d logins with another password of the same user, whose session is good", n)
	}
	v.SetUser("other@vsphere.local")
	user.Store("other@vsphere.local")
	w.Doubt()
	until(t, "another login", func() bool { return v.Counts().Logins == 1 })
	w.list()
	if n := v.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestTroubleNamesAddressCauseAndRemedy(t *testing.T) {
	s, err := session.New(session.Options{Name: "east", URL: "https://vc.example", Account: account})
	if err != nil {
		t.Fatal(err)
	}
	src := New(Options{Session: s})
	post := func(err error) error {
		return fmt.Errorf("follow VMs: %w", &url.Error{Op: "Post", URL: "https://vc.example/sdk", Err: err})
	}
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 40123}
	to := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"nobody listens": {
			post(&net.OpError{Op: "dial", Net: "tcp", Addr: to, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}),
			[]string{"vc.example:443 does not answer: dial tcp 192.0.2.1:443: connect: connection refused: see that vCenter runs"},
		},
		"the connection is reset": {
			post(&net.OpError{Op: "read", Net: "tcp", Source: from, Addr: to, Err: os.NewSyscallError("read", syscall.ECONNRESET)}),
			[]string{"vc.example:443 does not answer: read tcp 192.0.2.1:443: read: connection reset by peer"},
		},
		"it is silent": {post(&silence{5 * time.Second, context.DeadlineExceeded}), []string{"vc.example:443 does not answer: no answer within 5s"}},
		"it hangs up":  {post(io.EOF), []string{"vc.example:443 does not answer: it ends the connection"}},
		"no such name": {post(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "vc.example"}}), []string{"vc.example:443 is not found: lookup vc.example: no such host", "DNS"}},
		"the account": {fmt.Errorf("log in: %w", &session.RefusedError{VCenter: "east", User: "DOM\\gw", Until: time.Unix(2e9, 0), Err: errors.New("Login failure")}), []string{
			"vc.example:443: vCenter refuses the account DOM\\gw: the user name or the password is wrong, or the account is locked or disabled; lest the directory lock it, it is not tried again before 03:33:20 UTC: " +
				"once it is right in vCenter, pf9-gateway pair east tries it again at once; for another password: pf9-gateway pair east --user 'DOM\\gw'",
		}},
		"no account":         {fmt.Errorf("%w: none is set", session.ErrNoAccount), []string{"vc.example:443: no account to log in with: none is set", "pf9-gateway pair east --user NAME"}},
		"the session":        {session.ErrNotAuthenticated, []string{"vc.example:443 has ended the session", "by itself"}},
		"the certificate":    {post(&session.CertificateError{VCenter: "east/control", Server: "vc.example", Pinned: "AB", Shown: "CD"}), []string{"vc.example:443 shows another certificate", "SHA-256 AB, seen CD", "pf9-gateway pair east --thumbprint CD"}},
		"nobody vouches":     {post(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), []string{"nobody vouches for", "unknown authority", "pin it"}},
		"something odd":      {errVanished, []string{"vc.example:443: much has vanished at once"}},
		"its front is alone": {post(errors.New("503 Service Unavailable")), []string{"vc.example:443 does not answer: 503 Service Unavailable"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := src.explain(test.err)
			for _, want := range test.want {
				if !strings.Contains(got.Error(), want) {
					t.Errorf("%q is not in %q", want, got)
				}
			}
			if !errors.Is(got, test.err) || strings.Contains(got.Error(), "40123") {
				t.Errorf("%q: the error is lost, or changes from try to try", got)
			}
		})
	}
}
