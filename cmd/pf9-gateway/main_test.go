package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"golang.org/x/sys/unix"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

const password = "corréct horse"

// machine is a gateway whose daemon answers, beside a vCenter.
type machine struct {
	vcenter string // host:port
	dir     string
	config  string
	vault   *vault.Vault
	person  *os.File // the keyboard's end of the terminal
	tty     string

	vcenters []status.VCenter // that the daemon lists
}

func start(t *testing.T) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir(), vcenters: []status.VCenter{
		{Name: "west", State: "degraded", Problem: "no route\x1b[2J", Control: "off"},
		{Name: "east", State: "ok", Since: time.Now().Add(-90 * time.Second), Counts: map[string]int{"compute.vm": 12, "compute.host": 3}},
	}}
	m.startVCenter(t)
	m.startDaemon(t)
	m.openTerminal(t)
	return m
}

func (m *machine) startVCenter(t *testing.T) {
	t.Helper()
	model := simulator.VPX()
	model.Machine, model.Host = 0, 0
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Remove)
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword("gw@vsphere.local", password)}
	model.Service.TLS = new(tls.Config)
	s := model.Service.NewServer()
	t.Cleanup(s.Close)
	m.vcenter = s.URL.Host
}

// startDaemon serves what the daemon's local API has of vCenters.
func (m *machine) startDaemon(t *testing.T) {
	t.Helper()
	id := filepath.Join(m.dir, "machine-id")
	socket := filepath.Join(m.dir, "agent.sock")
	m.config = filepath.Join(m.dir, "gateway.conf")
	for file, text := range map[string]string{id: "4c4c4544\n", m.config: fmt.Sprintf("state_dir = %q\nsocket = %q\n", m.dir, socket)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if m.vault, err = vault.Open(vault.Options{Dir: filepath.Join(m.dir, "vault"), MachineID: id, ProductUUID: filepath.Join(m.dir, "none")}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	routes := append(pair.New(pair.Options{StateDir: m.dir, Vault: m.vault}).Routes(), httpapi.Route{
		Pattern: "GET /v1/vcenters", Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, m.vcenters)
		},
	})
	routes = append(routes, controlRoutes()...)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: httpapi.New(routes, httpapi.Options{
		Log: slog.New(slog.DiscardHandler), Authenticate: func(*http.Request) (httpapi.Caller, error) { return httpapi.Caller{Access: httpapi.Operator}, nil },
	})}}
	s.Start()
	t.Cleanup(s.Close)
}

func (m *machine) openTerminal(t *testing.T) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no pseudo terminals:", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	raw, err := person.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.person, m.tty = person, fmt.Sprintf("/dev/pts/%d", n)
	held, err := os.OpenFile(m.tty, os.O_RDWR|unix.O_NOCTTY, 0) // else it hangs up between two commands
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Close() })
}

// run runs a command line and returns its status and what it wrote. The
// conversation is what the person sees and, in turn, types.
func (m *machine) run(t *testing.T, in string, conversation []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(program(&appliance{terminal: m.tty}), append(args, "--config", m.config), strings.NewReader(in), &o, &e)
	}()
	for i := 0; i+1 < len(conversation); i += 2 {
		m.see(t, conversation[i])
		if _, err := m.person.WriteString(conversation[i+1] + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case code = <-done:
	case <-time.After(time.Minute):
		t.Fatal("the command does not end")
	}
	return code, o.String(), e.String()
}

// see waits until the terminal shows a text. It fails if the password is shown.
func (m *machine) see(t *testing.T, text string) {
	t.Helper()
	if err := m.person.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for b := make([]byte, 256); !strings.Contains(string(seen), text); {
		n, err := m.person.Read(b)
		if err != nil {
			t.Fatalf("wait for %q: %v; the terminal shows %q", text, err, seen)
		}
		seen = append(seen, b[:n]...)
	}
	if strings.Contains(string(seen), password) {
		t.Error("the terminal shows the password")
	}
}

func TestPairAsksForWhatIsNotGiven(t *testing.T) {
	m := start(t)
	code, out, errs := m.run(t, "", []string{
		"Is this your vCenter? (yes/no) ", "yes", "User: ", "gw@vsphere.local", "Password of gw@vsphere.local: ", password,
	}, "pair", "east", "--url", "https://"+m.vcenter)
	if code != 0 {
		t.Fatalf("status %d, out %q, errors %q", code, out, errs)
	}
	for _, want := range []string{
		"east is paired: VMware vCenter Server", "address   https://" + m.vcenter, m.thumbprint(t), "account   gw@vsphere.local", "clusters  all", "control   off",
		"broker    none", "No privilege is missing.", "pf9-gateway vcenters", "pf9-gateway pair east --control",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if got, err := m.vault.Get("east"); err != nil || got.User != "gw@vsphere.local" || got.Password != password {
		t.Errorf("the vault has %v, %v", got, err)
	}
	code, out, errs = m.run(t, "", []string{"Forget the vCenter east and its accounts?", "no"}, "unpair", "east")
	if _, err := m.vault.Get("east"); code != 0 || out != "east stays as it was.\n" || err != nil {
		t.Errorf("unpair, and no: status %d, out %q, errors %q; the vault: %v", code, out, errs, err)
	}
	code, out, errs = m.run(t, "", []string{"Forget the vCenter east and its accounts?", "yes"}, "unpair", "east")
	if code != 0 || !strings.Contains(out, "east is forgotten") {
		t.Errorf("unpair: status %d, out %q, errors %q", code, out, errs)
	}
	if code, _, errs := m.run(t, "", nil, "unpair", "east", "--yes"); code != 1 || !strings.Contains(errs, "no vCenter is paired") {
		t.Errorf("second unpair: status %d, errors %q", code, errs)
	}
	m.tty = filepath.Join(m.dir, "no-terminal")
	if code, _, errs := m.run(t, "", nil, "unpair", "east"); code != 1 || !strings.Contains(errs, "without a terminal; give --yes") {
		t.Errorf("unpair without a terminal: status %d, errors %q", code, errs)
	}
}

// thumbprint is the vCenter's.
func (m *machine) thumbprint(t *testing.T) string {
	t.Helper()
	cert, err := pair.NewClient(filepath.Join(m.dir, "agent.sock")).Look(t.Context(), m.vcenter)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Thumbprint
}

func TestPairAgainNeedsNothingThatIsKnown(t *testing.T) {
	m := start(t)
	pairs := func(args ...string) string {
		t.Helper()
		code, out, errs := m.run(t, password, nil, append([]string{"pair", "east"}, args...)...)
		if code != 0 || errs != "" {
			t.Fatalf("%q: status %d, errors %q", args, code, errs)
		}
		return out
	}
	plain := strings.ToLower(strings.ReplaceAll(m.thumbprint(t), ":", ""))
	pairs("--url", m.vcenter, "--thumbprint", plain, "--user", "gw@vsphere.local", "--password-file", "-", "--control", "--broker", "127.0.0.1:8443", "--clusters", "DC0_C0")
	m.tty = filepath.Join(m.dir, "no-terminal") // nobody is asked any more
	out := pairs("--control=false")
	for _, want := range []string{"Changed: control on -> off. The rest", "127.0.0.1:8443, which is shut", "clusters  DC0_C0"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out := pairs(); !strings.Contains(out, "no setting changed") || !strings.Contains(out, "control   off") {
		t.Errorf("without flags:\n%s", out)
	}
	var res pairing.Result
	if err := json.Unmarshal([]byte(pairs("--control", "-o", "json")), &res); err != nil || !res.Now.Control || res.Now.Broker != "127.0.0.1:8443" ||
		res.Now.User != "gw@vsphere.local" || !slices.Equal(res.Changed, []wire.PairingChange{{What: "control", From: "off", To: "on"}}) {
		t.Errorf("as JSON %+v, %v", res, err)
	}
}

func TestARefusalIsInPlainWords(t *testing.T) {
	m := start(t)
	args := []string{"pair", "east", "--url", m.vcenter, "--thumbprint", m.thumbprint(t), "--user", "gw@vsphere.local", "--password-file", "-"}
	code, _, errs := m.run(t, "typo", nil, args...)
	if code != 1 || !strings.Contains(errs, "the user name or the password is wrong") || !strings.Contains(errs, "tried once") || strings.Contains(errs, "Fault") {
		t.Errorf("status %d, errors %q", code, errs)
	}
}

func TestACertificateThatIsNotAcceptedEndsThePairing(t *testing.T) {
	m := start(t)
	code, _, errs := m.run(t, "", []string{"SHA-256", "y", "yes, in full, or no: ", "no"}, "pair", "east", "--url", m.vcenter)
	if names, err := m.vault.Names(); code != 1 || !strings.Contains(errs, "was not accepted") || len(names) > 0 || err != nil {
		t.Errorf("status %d, errors %q, accounts %q, %v", code, errs, names, err)
	}
}

func TestPairWithoutAPerson(t *testing.T) {
	m := start(t)
	m.tty = filepath.Join(m.dir, "no-terminal")
	code, _, errs := m.run(t, "", nil, "pair", "east", "--url", m.vcenter)
	if code != 1 || !strings.Contains(errs, "; give --thumbprint, --user and --password-file; a file with a secret must be readable by you alone") {
		t.Errorf("nobody there: status %d, errors %q", code, errs)
	}
	pin := m.thumbprint(t)
	args := []string{"pair", "east", "--url", m.vcenter, "--thumbprint", pin, "--user", "gw@vsphere.local", "--control", "--clusters", "DC0_C0"}
	if code, _, errs := m.run(t, "", nil, args...); code != 1 || !strings.Contains(errs, "; give --password-file;") {
		t.Errorf("no password: status %d, errors %q", code, errs)
	}
	if code, _, errs := m.run(t, "", nil, "pair", "east"); code != 1 || !strings.Contains(errs, "its address is needed, by --url") {
		t.Errorf("no address: status %d, errors %q", code, errs)
	}
	if code, out, errs := m.run(t, password+"\n", nil, append(args, "--password-file", "-")...); code != 0 || !strings.Contains(out, "is paired") {
		t.Errorf("password by standard input: status %d, out %q, errors %q", code, out, errs)
	}
	file := filepath.Join(m.dir, "password")
	if err := os.WriteFile(file, []byte(password), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, errs = m.run(t, "", nil, "pair", "east", "--url", m.vcenter, "--thumbprint", pin, "--user", "gw@vsphere.local", "--password-file", file, "--control=false", "--clusters=")
	if text, err := os.ReadFile(pair.File(m.dir)); code != 0 || err != nil || !strings.Contains(errs, "others may read") || !strings.Contains(string(text), "control = false") || strings.Contains(string(text), "DC0_C0") {
		t.Errorf("password by a file: status %d, errors %q, kept %s, %v", code, errs, text, err)
	}
}

// Whoever is in the middle chooses the certificate, and its names go into the error.
func TestACertificateDoesNotSteerTheTerminal(t *testing.T) {
	m := start(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vc\x1b[2J\x1b]0;mine\x07"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	middle := httptest.NewUnstartedServer(http.NotFoundHandler())
	middle.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	middle.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	middle.StartTLS()
	t.Cleanup(middle.Close)
	code, out, errs := m.run(t, password+"\n", nil, "pair", "east", "--url", middle.Listener.Addr().String(), "--thumbprint", strings.Repeat("ab", 32), "--user", "u", "--password-file", "-")
	if code != 1 || !strings.Contains(errs, "issued by CN=vc?[2J") || strings.ContainsAny(out+errs, "\x1b\x07") {
		t.Errorf("status %d, out %q, errors %q", code, out, errs)
	}
}

func TestWrongUsage(t *testing.T) {
	m := start(t)
	for says, args := range map[string][]string{
		"give the vCenter a name":            {"pair", "--url", "vc"},
		"--thumbprint: this is a SHA-1":      {"pair", "east", "--url", "vc", "--thumbprint", strings.Repeat("ab", 20)},
		"--control-user is missing":          {"pair", "east", "--control-password-file", "x"},
		"want text or json":                  {"pair", "east", "-o", "xml"},
		"only one password":                  {"pair", "east", "--url", "vc", "--password-file", "-", "--control-password-file", "-"},
		"which vCenter?":                     {"unpair"},
		"unexpected argument":                {"pair", "east", "west"},
		"want true or false":                 {"pair", "east", "--control=perhaps"},
		"flag provided but not defined: -pa": {"pair", "east", "--password", "hush"},
	} {
		if code, _, errs := m.run(t, "", nil, args...); code != 2 || !strings.Contains(errs, says) {
			t.Errorf("%q: status %d, errors %q, want %q", args, code, errs, says)
		}
	}
}

func TestVCentersAreListed(t *testing.T) {
	m := start(t)
	code, out, errs := m.run(t, "", nil, "vcenters")
	lines := strings.Split(out, "\n")
	if code != 0 || len(lines) != 4 || !strings.HasPrefix(strings.Join(strings.Fields(lines[1]), " "), "east ok 12 15 1m3") || !strings.HasPrefix(lines[2], "west  degraded") ||
		strings.Contains(out, "\x1b") {
		t.Errorf("status %d, errors %q, out\n%s", code, errs, out)
	}
	if code, out, _ := m.run(t, "", nil, "vcenters", "-o", "json"); code != 0 || !strings.Contains(out, `"name": "east"`) {
		t.Errorf("status %d, out %s", code, out)
	}
	m.vcenters = nil
	if code, out, _ := m.run(t, "", nil, "vcenters"); code != 0 || !strings.HasPrefix(out, "No vCenter is paired: pf9-gateway pair") {
		t.Errorf("none: status %d, out %s", code, out)
	}
	if code, out, _ := m.run(t, "", nil, "vcenters", "--json"); code != 0 || out != "null\n" && out != "[]\n" {
		t.Errorf("none: status %d, out %q", code, out)
	}
}

func TestStatusIsTheConsolesPage(t *testing.T) {
	m := start(t)
	code, out, errs := m.run(t, "", nil, "status") // this daemon has no status, which is told
	if code != 1 || !strings.Contains(out, "/v1/status") {
		t.Errorf("status %d, errors %q, out\n%s", code, errs, out)
	}
}

// The daemon's user may write the configuration.
func TestRootWritesWhereItsOwnPathSays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.conf")
	if err := os.WriteFile(file, []byte("etc_dir = \"/etc/sudoers.d\"\n[appliance]\nlink = \"ens7\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := boot(file, slog.New(slog.DiscardHandler)); o.Etc != dir || o.Link != "ens7" {
		t.Errorf("%q, %q", o.Etc, o.Link)
	}
}

func TestTheManPageHasEachCommand(t *testing.T) {
	page, err := os.ReadFile("../../packaging/linux/pf9-gateway.8")
	if err != nil {
		t.Fatal(err)
	}
	synopsis, _, _ := strings.Cut(string(page), ".SH DESCRIPTION")
	var help bytes.Buffer
	cli.Main(program(&appliance{}), []string{"--help"}, nil, &help, nil)
	for line := range strings.Lines(help.String()) {
		if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") {
			continue // of no command
		}
		name := strings.Fields(line)[0]
		if !strings.Contains(synopsis, ".B pf9-gateway "+name+"\n") && !strings.Contains(synopsis, "\n.B "+name+"\n") && name != "run" {
			t.Errorf("the synopsis has no %q", name)
		}
	}
}

func TestHelpHasTheGatewaysCommands(t *testing.T) {
	var out bytes.Buffer
	if code := cli.Main(program(&appliance{}), []string{"--help"}, nil, &out, nil); code != 0 {
		t.Errorf("status %d", code)
	}
	for name := range (&appliance{}).commands() {
		if !strings.Contains(out.String(), "\n  "+name+" ") {
			t.Errorf("--help has no %q:\n%s", name, out.String())
		}
	}
	for name, want := range map[string]string{"console": "\nthe appliance's screen: how it is, network", "firstboot": "\napply what was typed when the appliance was deployed"} {
		var errs bytes.Buffer
		if code := cli.Main(program(&appliance{}), []string{name, "--help"}, nil, io.Discard, &errs); code != 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s --help: status %d\n%s", name, code, &errs)
		}
	}
}

func TestTheAppliancesPagesReadTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.conf")
	text := "du = ['https://du.example']\n[proxy]\nurl = 'http://proxy.example:3128'\n[vcenters.west]\nurl = 'https://vc.example'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := boot(file, slog.New(slog.DiscardHandler)).Configured()
	if got.DU != "https://du.example" || got.Proxy != "http://proxy.example:3128" || len(got.VCenters) != 1 || got.VCenters[0].Address != "vc.example:443" || got.VCenters[0].State != status.NotKnown {
		t.Errorf("%+v", got)
	}
}
