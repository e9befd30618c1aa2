package firstboot_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"
	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/gateway/firstboot"
	"github.com/openpf9/openpf9/gateway/firstboot/ovfenv"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/gateway/firstboot/testcard"
	"github.com/openpf9/openpf9/internal/namespaces"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// unit is a deployment unit: enrolment over real TLS, with a token that is good
// once and a clock of its own.
type unit struct {
	*httptest.Server
	authority *pki.Authority
	token     string
	ahead     time.Duration // of its clock
	asked     atomic.Int32  // for certificates
	down      atomic.Bool
}

func newUnit(t *testing.T, ahead time.Duration) *unit {
	t.Helper()
	now := time.Now()
	authority, err := pki.NewAuthority("du.example", now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer([]string{"127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	u := &unit{authority: authority, token: pki.NewToken(pki.JoinToken, pki.Pin(authority.Cert)).String(), ahead: ahead}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		if u.down.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	mux.HandleFunc("POST /api/v1/enroll", func(w http.ResponseWriter, r *http.Request) { u.enroll(t, w, r) })
	u.Server = httptest.NewUnstartedServer(mux)
	u.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}
	u.StartTLS()
	t.Cleanup(u.Close)
	return u
}

func (u *unit) enroll(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var q wire.EnrollRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		t.Error(err)
	}
	if u.asked.Add(1) > 1 || q.Token != u.token {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"message": "the join token is used up"}`))
		return
	}
	if q.Kind != pki.KindGateway {
		t.Errorf("enrols as %q", q.Kind)
	}
	key, err := pki.ParseRequest(q.CSR)
	if err != nil {
		t.Error(err)
		return
	}
	c, err := u.authority.IssuePeer(pki.Identity{DU: "du.example", Kind: q.Kind, Host: q.HostID}, key, time.Now(), time.Hour)
	if err != nil {
		t.Error(err)
		return
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(wire.Certificate{HostID: q.HostID, Certificate: string(pki.EncodeCertificates(c)), CA: string(pki.EncodeCertificates(u.authority.Cert)), NotAfter: c.NotAfter})
}

// appliance has a card, a root of its own, and a file for its properties.
func appliance(t *testing.T) firstboot.Options {
	t.Helper()
	namespaces.Need(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	testcard.Make(t)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return firstboot.Options{
		Root: root, Link: testcard.Name, EnrolFor: 20 * time.Second,
		Sources: &ovfenv.Sources{Files: []string{filepath.Join(root, "ovf-env.xml")}},
	}
}

// deploy is what vCenter hands over at the next boot.
func deploy(t *testing.T, o firstboot.Options, properties map[string]string) {
	t.Helper()
	if err := os.WriteFile(o.Sources.Files[0], ovfenv.Environment{Properties: properties}.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func boot(t *testing.T, o firstboot.Options) {
	t.Helper()
	if err := firstboot.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, o firstboot.Options) settings.State {
	t.Helper()
	st, err := o.Store().Load()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// tree is every file below a directory, with what tells a rewritten one.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = fmt.Sprint(info.Mode(), info.ModTime(), string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func addresses(t *testing.T) string {
	t.Helper()
	l, err := netlink.LinkByName(testcard.Name)
	if err != nil {
		t.Fatal(err)
	}
	as, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range as {
		out = append(out, a.IPNet.String())
	}
	return strings.Join(out, " ")
}

func properties(u *unit) map[string]string {
	return map[string]string{
		settings.KeyHostname: "gw1", settings.KeyIP: "192.0.2.10/24", settings.KeyGateway: "192.0.2.1",
		settings.KeyDNS: "192.0.2.53", settings.KeyNTP: "192.0.2.123", settings.KeyDU: u.URL, settings.KeyToken: u.token,
		settings.KeyPin: pki.Pin(u.authority.Cert), "vm.vmname": "not ours",
	}
}

// At a boot after a power cut the console starts too, and may be rolling a change
// back already.
func TestBootWaitsForTheConsole(t *testing.T) {
	o := appliance(t)
	deploy(t, o, map[string]string{settings.KeyIP: "192.0.2.10/24"})
	release, err := o.Store().Lock()
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, release)
	boot(t, o)
	if got := addresses(t); got != "192.0.2.10/24" {
		t.Errorf("addresses = %s", got)
	}
}

func TestFirstBootEnrolsAndTheSecondChangesNothing(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	deploy(t, o, properties(u))
	boot(t, o)
	if got := addresses(t); got != "192.0.2.10/24" {
		t.Errorf("addresses = %s", got)
	}
	id, err := enroll.Load(o.Paths())
	if err != nil {
		t.Fatal(err)
	}
	name, err := id.Name()
	if st := state(t, o); err != nil || name.Kind != pki.KindGateway || st.Enrolled.Host != string(name.Host) || st.Enrolled.DU != u.URL || len(st.Problems) > 0 {
		t.Errorf("state = %+v, name %s, %v", st, name, err)
	}
	drop, err := os.ReadFile(o.Paths().DropIn)
	if err != nil || !strings.Contains(string(drop), u.URL) {
		t.Errorf("the daemon is told %q, %v", drop, err)
	}
	before := tree(t, o.Root)
	for file, content := range before {
		if strings.Contains(content, u.token) {
			t.Errorf("%s holds the spent token", file)
		}
	}
	boot(t, o)
	if diff := cmp.Diff(before, tree(t, o.Root)); diff != "" {
		t.Errorf("the second boot changed files: %s", diff)
	}
	if got := addresses(t); got != "192.0.2.10/24" || u.asked.Load() != 1 {
		t.Errorf("addresses = %s, enrolled %d times", got, u.asked.Load())
	}
	// vCenter hands the token over again at each power-on.
	deploy(t, o, properties(u))
	boot(t, o)
	if u.asked.Load() != 1 {
		t.Error("a spent token was traded again")
	}
}

// A boot begins without an address; who is first to give it, networkd or we, is no
// change that anybody made.
func TestABootThatPutsTheNetworkRightIsNoChange(t *testing.T) {
	o := appliance(t)
	deploy(t, o, map[string]string{settings.KeyIP: "192.0.2.10/24"})
	boot(t, o)
	before := tree(t, o.Root)
	l, err := netlink.LinkByName(testcard.Name)
	if err != nil {
		t.Fatal(err)
	}
	as, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil || len(as) != 1 {
		t.Fatalf("addresses = %v, %v", as, err)
	}
	if err := netlink.AddrDel(l, &as[0]); err != nil {
		t.Fatal(err)
	}
	boot(t, o)
	if got := addresses(t); got != "192.0.2.10/24" {
		t.Errorf("addresses = %s", got)
	}
	if diff := cmp.Diff(before, tree(t, o.Root)); diff != "" {
		t.Errorf("the boot changed files: %s", diff)
	}
}

func TestPropertiesFromADisc(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Cleanup() }()
	if err := w.AddFile(bytes.NewReader(ovfenv.Environment{Properties: properties(u)}.Marshal()), ovfenv.FileName); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "sr0")
	var b bytes.Buffer
	if err := w.WriteTo(&b, "OVFENV"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Sources = &ovfenv.Sources{Discs: []string{filepath.Dir(image) + "/sr*"}}
	boot(t, o)
	before := tree(t, o.Root)
	boot(t, o)
	if diff := cmp.Diff(before, tree(t, o.Root)); diff != "" || u.asked.Load() != 1 {
		t.Errorf("enrolled %d times; the second boot changed files: %s", u.asked.Load(), diff)
	}
}

func TestOnlyChangedPropertiesAreApplied(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	p := properties(u)
	deploy(t, o, p)
	boot(t, o)
	// On the console somebody gives it another address.
	c := o.Changer()
	want, problems := state(t, o).Settings.With(map[string]string{settings.KeyIP: "192.0.2.77/24"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if out, err := c.Try(t.Context(), want, nil); err != nil || !out.Kept {
		t.Fatalf("%+v, %v", out, err) // the deployment unit on loopback answers
	}
	p[settings.KeyNTP] = "192.0.2.124"
	p[settings.KeyToken] = ""
	deploy(t, o, p)
	boot(t, o)
	st := state(t, o)
	if got := addresses(t); got != "192.0.2.77/24" || st.Settings.NTP[0] != "192.0.2.124" {
		t.Errorf("addresses = %s, settings = %+v; want the console's address and the new NTP server", got, st.Settings)
	}
}

func TestMistakesAreAllToldAndNothingIsApplied(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	p := properties(u)
	p[settings.KeyGateway], p[settings.KeyNTP], p["gw.dsn"] = "198.51.100.1", "a/b", "x"
	deploy(t, o, p)
	err := firstboot.Run(t.Context(), o)
	if problems, ok := errors.AsType[settings.Problems](err); !ok || len(problems) != 3 {
		t.Errorf("error = %v, want three problems", err)
	}
	if got := state(t, o).Problems; len(got) != 3 {
		t.Errorf("the console shows %q", got)
	}
	if got := addresses(t); got != "" || u.asked.Load() > 0 {
		t.Errorf("addresses = %s, enrolled %d times", got, u.asked.Load())
	}
	deploy(t, o, properties(u))
	boot(t, o)
	if st := state(t, o); addresses(t) != "192.0.2.10/24" || len(st.Problems) > 0 || u.asked.Load() != 1 {
		t.Errorf("after they were mended: %s, %q", addresses(t), st.Problems)
	}
}

func TestEnvironmentThatCannotBeRead(t *testing.T) {
	o := appliance(t)
	if err := os.WriteFile(o.Sources.Files[0], []byte(`<Environment oe:x="&">`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := firstboot.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not well-formed") {
		t.Errorf("error = %v", err)
	}
	if got := state(t, o).Problems; len(got) != 1 || !strings.Contains(got[0], "not well-formed") {
		t.Errorf("the console shows %q", got)
	}
	if b, err := os.ReadFile(filepath.Join(o.Root, "etc/systemd/network/10-pf9.network")); err != nil || !strings.Contains(string(b), "DHCP=yes") {
		t.Errorf("the network is %s, %v; want DHCP, so that somebody may help", b, err)
	}
}

func TestNoEnvironment(t *testing.T) {
	o := appliance(t)
	boot(t, o)
	before := tree(t, o.Root)
	boot(t, o)
	if diff := cmp.Diff(before, tree(t, o.Root)); diff != "" {
		t.Error(diff)
	}
}

func TestAWrongClockDoesNotEnrol(t *testing.T) {
	o, u := appliance(t), newUnit(t, 6*time.Minute)
	o.EnrolFor = 100 * time.Millisecond
	deploy(t, o, properties(u))
	err := firstboot.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "behind the deployment unit's") {
		t.Errorf("error = %v, want the clock", err)
	}
	if st := state(t, o); !strings.Contains(st.Enrolled.Error, "behind") || u.asked.Load() > 0 {
		t.Errorf("state = %+v, enrolled %d times", st.Enrolled, u.asked.Load())
	}
	if got := addresses(t); got != "192.0.2.10/24" {
		t.Errorf("addresses = %s; the network does not need a clock", got)
	}
}

func TestAUnitThatComesLate(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	u.down.Store(true)
	o.EnrolFor = 100 * time.Millisecond
	deploy(t, o, properties(u))
	if err := firstboot.Run(t.Context(), o); err == nil || u.asked.Load() > 0 {
		t.Fatalf("error = %v", err)
	}
	if b, err := os.ReadFile(o.Sources.Files[0]); err != nil || !strings.Contains(string(b), u.token) {
		t.Errorf("the token was taken away before it was traded: %v", err)
	}
	u.down.Store(false)
	boot(t, o) // with the same properties
	if _, err := enroll.Load(o.Paths()); err != nil || state(t, o).Enrolled.Error != "" {
		t.Errorf("identity: %v, state = %+v", err, state(t, o).Enrolled)
	}
}

func TestEnrolmentGoesOnWithinOneBoot(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	u.down.Store(true)
	deploy(t, o, properties(u))
	timer := time.AfterFunc(time.Second, func() { u.down.Store(false) })
	defer timer.Stop()
	boot(t, o)
	if u.asked.Load() != 1 {
		t.Errorf("enrolled %d times", u.asked.Load())
	}
}

func TestARefusalIsNotRepeated(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	u.asked.Store(1) // somebody has used the token
	deploy(t, o, properties(u))
	err := firstboot.Run(t.Context(), o)
	if !errors.Is(err, enroll.ErrRefused) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("error = %v", err)
	}
	if u.asked.Load() != 2 {
		t.Errorf("asked %d times", u.asked.Load()-1)
	}
}

func TestAnotherUnitNeedsAnotherToken(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	p := properties(u)
	deploy(t, o, p)
	boot(t, o)
	other := newUnit(t, 0)
	moved := maps.Clone(p)
	moved[settings.KeyDU] = other.URL
	deploy(t, o, moved)
	boot(t, o)
	if got := state(t, o).Problems; len(got) != 1 || !strings.Contains(got[0], "still enrolled with "+u.URL) {
		t.Errorf("the console shows %q", got)
	}
	moved[settings.KeyToken], moved[settings.KeyPin] = other.token, pki.Pin(other.authority.Cert)
	deploy(t, o, moved)
	boot(t, o)
	if st := state(t, o); st.Enrolled.DU != other.URL || len(st.Problems) > 0 || other.asked.Load() != 1 {
		t.Errorf("state = %+v", st)
	}
}

func TestARebootRollsAnUnconfirmedChangeBack(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	deploy(t, o, properties(u))
	boot(t, o)
	st := state(t, o)
	wrong, problems := st.Settings.With(map[string]string{settings.KeyIP: "198.51.100.9/24", settings.KeyGateway: "198.51.100.1"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	st.Pending = &settings.Pending{Before: st.Settings, After: wrong, What: settings.KeyIP, Began: time.Now()}
	if err := o.Store().Save(st); err != nil {
		t.Fatal(err)
	}
	if _, err := o.System().Apply(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	boot(t, o)
	if got := addresses(t); got != "192.0.2.10/24" || state(t, o).Pending != nil {
		t.Errorf("addresses = %s, state = %+v", got, state(t, o))
	}
}

func TestEnrolAtTheConsole(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	boot(t, o)
	if err := o.EnrolAt(t.Context(), "http://x", u.token); err == nil || !strings.Contains(err.Error(), settings.KeyDU) {
		t.Errorf("a wrong address: %v", err)
	}
	if err := o.EnrolAt(t.Context(), u.URL, u.token); err != nil {
		t.Fatal(err)
	}
	if st := state(t, o); st.Enrolled.DU != u.URL || st.Settings.DU != u.URL {
		t.Errorf("state = %+v", st)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	o, u := appliance(t), newUnit(t, 0)
	u.down.Store(true)
	deploy(t, o, properties(u))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := firstboot.Run(ctx, o); err == nil || time.Since(began) > 15*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
