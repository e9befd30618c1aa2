package session

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/testvcenter"
)

func start(t *testing.T) *testvcenter.Server {
	t.Helper()
	s, err := testvcenter.Start(testvcenter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func right() (Account, error) { return Account{User: "gw@vsphere.local", Password: "secret"}, nil }

func connect(t *testing.T, o Options) *Session {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func pinned(v *testvcenter.Server) Options {
	return Options{Name: "east", URL: v.URL(), Pin: v.Pin(), Account: right, Owner: "gateway-1"}
}

func TestOnlyTheRightCertificateIsToldAnAccount(t *testing.T) {
	const right = "right"
	for _, test := range []struct {
		name    string
		address string        // that the certificate is for
		valid   time.Duration // of the certificate
		pin     string        // "right", "wrong" or none
		ca      bool          // the certificate is among the CAs
		ok      bool
		want    string
	}{
		{name: "neither pin nor CA", want: "unknown authority"},
		{name: "right pin", pin: right, ok: true},
		{name: "wrong pin", pin: "wrong", want: "is not the pinned one"},
		{name: "CA", ca: true, ok: true},
		{name: "CA and right pin", ca: true, pin: right, ok: true},
		{name: "CA but wrong pin", ca: true, pin: "wrong", want: "is not the pinned one"},
		{name: "CA but another name", address: "192.0.2.1", ca: true, want: "not 127.0.0.1"},
		{name: "CA and right pin but another name", address: "192.0.2.1", ca: true, pin: right, want: "not 127.0.0.1"},
		{name: "right pin and another name", address: "192.0.2.1", pin: right, ok: true},
		{name: "CA but expired", valid: -time.Hour, ca: true, want: "expired"},
		{name: "right pin and expired", valid: -time.Hour, pin: right, ok: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := start(t)
			address, valid := test.address, test.valid
			if address == "" {
				address = "127.0.0.1"
			}
			if valid == 0 {
				valid = time.Hour
			}
			cert, err := testvcenter.NewCertificate(address, valid)
			if err != nil {
				t.Fatal(err)
			}
			v.SetCertificate(cert)
			o := pinned(v)
			switch test.pin {
			case "":
				o.Pin = ""
			case "wrong":
				o.Pin = strings.Repeat("ab", 32)
			}
			if test.ca {
				o.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
			}
			_, err = connect(t, o).Client(t.Context())
			if (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Client: %v, want ok %v, or an error with %q", err, test.ok, test.want)
			}
			if seen := v.Counts().PasswordsSeen; !test.ok && seen > 0 {
				t.Errorf("the server was told %d passwords", seen)
			}
		})
	}
}

func TestAChangedCertificateIsReportedWithBothFingerprints(t *testing.T) {
	v := start(t)
	s := connect(t, pinned(v))
	if _, err := s.Client(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := v.Pin()
	v.Reset()
	v.Inject(testvcenter.Certificate)
	s.Leave()
	_, err := s.Client(t.Context())
	changed, ok := errors.AsType[*CertificateError](err)
	if !ok {
		t.Fatalf("Client: %v, want a CertificateError", err)
	}
	for what, pair := range map[string][2]string{"pinned": {changed.Pinned, before}, "shown": {changed.Shown, v.Pin()}} {
		if got := strings.ToLower(strings.ReplaceAll(pair[0], ":", "")); got != pair[1] {
			t.Errorf("%s is %s, want %s", what, got, pair[1])
		}
		if !strings.Contains(err.Error(), pair[0]) {
			t.Errorf("the error does not name the %s one: %v", what, err)
		}
	}
	if st := s.State(); st.Fingerprint != changed.Shown || st.Problem == nil || st.LoggedIn {
		t.Errorf("State = %+v", st)
	}
	if n := v.Counts().PasswordsSeen; n > 0 {
		t.Errorf("%d passwords were told to a server of another certificate", n)
	}
	v.Clear()
	if _, err := s.Client(t.Context()); err != nil {
		t.Errorf("with the old certificate again: %v", err)
	}
}

func TestPinsThatAreNone(t *testing.T) {
	for pin, want := range map[string]string{
		strings.Repeat("ab", 20):         "SHA-1",
		strings.Repeat("AB:", 19) + "AB": "SHA-1",
		"abc":                            "no SHA-256",
		strings.Repeat("zz", 32):         "no SHA-256",
	} {
		if _, err := New(Options{URL: "https://vc", Account: right, Pin: pin}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pin %q: %v, want an error with %q", pin, err, want)
		}
	}
	if _, err := New(Options{URL: "https://vc", Account: right, Pin: strings.Repeat("Ab:", 31) + "aB"}); err != nil {
		t.Errorf("a pin with colons: %v", err)
	}
}

func TestOneSessionWhateverHappens(t *testing.T) {
	for _, owner := range []string{"", "gateway-1"} {
		t.Run("owner "+owner, func(t *testing.T) { oneSession(t, owner) })
	}
}

func oneSession(t *testing.T, owner string) {
	v := start(t)
	o := pinned(v)
	o.Owner = owner
	s := connect(t, o)
	faults := []testvcenter.Fault{testvcenter.None, testvcenter.Expire, testvcenter.Reset, testvcenter.None} // alive, but taken for lost
	if owner != "" {
		faults = append(faults, testvcenter.LostLogin, testvcenter.None) // which only who has a name can put right
	}
	for round, fault := range faults {
		if fault != testvcenter.None {
			v.Inject(fault)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for try := 0; try < 3; try++ { // a login may be lost on the way
					c, err := s.Client(t.Context())
					if err != nil {
						continue
					}
					if _, err = methods.GetCurrentTime(t.Context(), c); err == nil {
						return
					}
					if IsNotAuthenticated(err) {
						s.Lost(c)
					}
				}
				t.Errorf("round %d: no session", round)
			})
		}
		wg.Wait()
		if n := v.Sessions(); n != 1 {
			t.Errorf("round %d: %d sessions on the server, want 1", round, n)
		}
		c, _ := s.Client(t.Context())
		s.Lost(c)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := v.Sessions(); n != 0 {
		t.Errorf("%d sessions are left behind", n)
	}
	if _, err := s.Client(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Client after Close: %v", err)
	}
}

func TestARestartedGatewayEndsWhatItLeftBehind(t *testing.T) {
	v := start(t)
	for range 3 {
		o := pinned(v)
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Client(t.Context()); err != nil { // and then it is killed
			t.Fatal(err)
		}
	}
	copied := connect(t, pinned(v)) // in use
	c, err := copied.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.Idle(time.Hour)
	if _, err := methods.GetCurrentTime(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s := connect(t, pinned(v))
	if _, err := s.Client(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := v.Sessions(); n != 2 {
		t.Errorf("%d sessions, want those of two gateways that run", n)
	}
	_ = copied.Close()
	other := pinned(v)
	other.Owner = "gateway-2"
	if _, err := connect(t, other).Client(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := v.Sessions(); n != 2 {
		t.Errorf("%d sessions, want one of each gateway", n)
	}
}

func TestARefusedAccountIsTriedOnce(t *testing.T) {
	v := start(t)
	var password atomic.Value
	password.Store("mistaken")
	now, set := time.Now(), time.Time{}
	o := pinned(v)
	o.Account = func() (Account, error) {
		return Account{User: "gw@vsphere.local", Password: password.Load().(string), Set: set}, nil
	}
	s := connect(t, o)
	s.now = func() time.Time { return now }
	for range 5 {
		_, err := s.Client(t.Context())
		if !errors.Is(err, ErrRefused) {
			t.Fatalf("Client: %v", err)
		}
		if _, err := s.Login(t.Context()); !errors.Is(err, ErrRefused) {
			t.Fatalf("Login: %v", err)
		}
		if strings.Contains(err.Error(), "mistaken") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if n := v.Counts().PasswordsSeen; n != 1 {
		t.Errorf("the server saw the wrong password %d times", n)
	}
	password.Store("also wrong")
	if _, err := s.Client(t.Context()); !errors.Is(err, ErrRefused) || v.Counts().PasswordsSeen != 2 {
		t.Errorf("another password: %v, after %d tries", err, v.Counts().PasswordsSeen)
	}
	before, _ := s.Client(t.Context())
	set = now.Add(time.Second) // a person has found it good
	if _, err := s.Client(t.Context()); before != nil || err == nil || v.Counts().PasswordsSeen != 3 {
		t.Errorf("the same, set again: %v, after %d tries", err, v.Counts().PasswordsSeen)
	}
	now = now.Add(15 * time.Minute)
	if _, err := s.Client(t.Context()); err == nil || v.Counts().PasswordsSeen != 4 {
		t.Errorf("after a quarter of an hour: %v, after %d tries", err, v.Counts().PasswordsSeen)
	}
	password.Store("secret")
	if _, err := s.Client(t.Context()); err != nil {
		t.Errorf("with the right password: %v", err)
	}
}

func TestRestartsDoNotLockAnAccount(t *testing.T) {
	v := start(t)
	set := time.Now().Add(-time.Hour)
	o := pinned(v)
	o.Refused = filepath.Join(t.TempDir(), "refused.json")
	o.Account = func() (Account, error) { return Account{User: "gw@vsphere.local", Password: "wrong", Set: set}, nil }
	for range 5 {
		if _, err := connect(t, o).Client(t.Context()); !errors.Is(err, ErrRefused) {
			t.Fatalf("Client: %v", err)
		}
	}
	if n := v.Counts().PasswordsSeen; n != 1 {
		t.Errorf("the server saw the wrong password %d times", n)
	}
	if b, err := os.ReadFile(o.Refused); err != nil || strings.Contains(string(b), "wrong") || !strings.Contains(string(b), "gw@vsphere.local") {
		t.Errorf("kept: %s, %v", b, err)
	}
	set = time.Now().Add(time.Second) // a person has set it again
	if _, err := connect(t, o).Client(t.Context()); !errors.Is(err, ErrRefused) || v.Counts().PasswordsSeen != 2 {
		t.Errorf("a newer account: %v, %d tries", err, v.Counts().PasswordsSeen)
	}
	o.Account = func() (Account, error) {
		a, err := right()
		a.Set = time.Now().Add(time.Minute)
		return a, err
	}
	if _, err := connect(t, o).Client(t.Context()); err != nil {
		t.Errorf("the right account: %v", err)
	}
	if _, err := os.Stat(o.Refused); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the refusal is still kept: %v", err)
	}
}

func TestTheBrokersSessionsAreTheirOwn(t *testing.T) {
	v := start(t)
	s := connect(t, pinned(v))
	if _, err := s.Client(t.Context()); err != nil {
		t.Fatal(err)
	}
	var logins []*Login
	for range 3 {
		l, err := s.Login(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if l.Cookie() == nil || l.User.Key == "" {
			t.Errorf("cookie %v, user %+v", l.Cookie(), l.User)
		}
		logins = append(logins, l)
	}
	c, _ := s.Client(t.Context())
	s.Lost(c) // discovery logs in again, and leaves the broker's alone
	if _, err := s.Client(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := v.Sessions(); n != 4 || s.State().Own != 3 {
		t.Errorf("%d sessions, %d own, want 4 and 3", n, s.State().Own)
	}
	logins[0].Logout()
	if n := v.Sessions(); n != 3 {
		t.Errorf("%d sessions after a Logout, want 3", n)
	}
	_ = s.Close()
	if n := v.Sessions(); n != 0 {
		t.Errorf("%d sessions after Close", n)
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	v := start(t)
	s := connect(t, pinned(v))
	c, err := s.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.Inject(testvcenter.Freeze)
	defer v.Clear()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := methods.GetCurrentTime(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call over a frozen path: %v", err)
	}
	probe := &spy{}
	_ = deadline{probe}.RoundTrip(context.Background(), &methods.CurrentTimeBody{Req: &types.CurrentTime{}}, &methods.CurrentTimeBody{})
	if left := time.Until(probe.deadline); left < callLimit-time.Second || left > callLimit {
		t.Errorf("a call without a deadline gets %v", left)
	}
}

// spy notes the deadline of a call.
type spy struct{ deadline time.Time }

func (s *spy) RoundTrip(ctx context.Context, _, _ soap.HasFault) error {
	s.deadline, _ = ctx.Deadline()
	return nil
}

func TestAccountsAreNotPrinted(t *testing.T) {
	a, _ := right()
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(form, a); strings.Contains(text, a.Password) {
			t.Errorf("%s shows the password: %s", form, text)
		}
	}
	for _, url := range []string{"http://vc", "vc", "https://u:secret@vc"} {
		if _, err := New(Options{URL: url, Account: right}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("address %s: %v", url, err)
		}
	}
}

func TestProbeShowsTheCertificate(t *testing.T) {
	v := start(t)
	chain, err := Probe(t.Context(), strings.TrimPrefix(v.URL(), "https://"))
	if err != nil || len(chain) != 1 {
		t.Fatalf("Probe = %d certificates, %v", len(chain), err)
	}
	if got := strings.ToLower(strings.ReplaceAll(Fingerprint(chain[0]), ":", "")); got != v.Pin() {
		t.Errorf("fingerprint %s, want %s", got, v.Pin())
	}
	if v.Counts().Calls != 0 {
		t.Error("Probe has asked the server something")
	}
}
