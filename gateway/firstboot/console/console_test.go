package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/gateway/firstboot"
	"github.com/openpf9/openpf9/gateway/firstboot/netconf"
	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/firstboot/testcard"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/paired"
	"github.com/openpf9/openpf9/internal/wire"
)

// daemon answers on a socket as the gateway's daemon does.
func daemon(t *testing.T, root string) {
	t.Helper()
	now := time.Now()
	socket := filepath.Join(root, "run/pf9-gateway/agent.sock")
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(localapi.Status{Version: "1.2.3", Host: "6f1c0f0e-0000-4000-8000-000000000001", Tunnel: uplink.State{Connected: true, Endpoint: "du.example:443", Since: now.Add(-3 * time.Hour), RTT: "12ms"}})
	})
	mux.HandleFunc("GET /v1/vcenters", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]status.VCenter{{Name: "vc.example", State: "ok", Since: now.Add(-65 * time.Minute), Counts: map[string]int{"compute.vm": 1200, "vsphere.host": 40}, Changed: now.Add(-4 * time.Second), Pinned: "AB:CD"}})
	})
	s := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

// screen is a terminal of 100 columns and 34 lines that keeps what was shown.
type screen struct {
	tcell.SimulationScreen

	mu   sync.Mutex // guards text
	text string
}

func (s *screen) Init() error {
	err := s.SimulationScreen.Init()
	s.SetSize(100, 34)
	return err
}

func (s *screen) Show() {
	s.SimulationScreen.Show()
	cells, width, height := s.GetContents()
	var b strings.Builder
	for y := range height {
		var line strings.Builder
		for _, c := range cells[y*width : (y+1)*width] {
			if len(c.Runes) > 0 {
				line.WriteRune(c.Runes[0])
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = b.String()
}

// terminal is a running console.
type terminal struct {
	t      *testing.T
	screen *screen
	o      Options
	ended  chan error
	cancel context.CancelFunc
}

// open starts a console on a machine of its own.
func open(t *testing.T, change func(*Options)) *terminal {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Boot:   firstboot.Options{Root: root, Link: testcard.Name},
		Screen: &screen{SimulationScreen: tcell.NewSimulationScreen("")},
		Reboot: func(context.Context) error { return errors.New("not in a test") },
	}
	if change != nil {
		change(&o)
	}
	term := &terminal{t: t, screen: o.Screen.(*screen), o: o, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	term.cancel = cancel
	go func() { term.ended <- Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		<-term.ended
	})
	term.see("F12 reboot")
	return term
}

// text is what stands on the screen.
func (term *terminal) text() string {
	term.screen.mu.Lock()
	defer term.screen.mu.Unlock()
	return term.screen.text
}

// see waits until all of that stands on the screen.
func (term *terminal) see(want ...string) {
	term.t.Helper()
	term.wait("see", func(text string) bool {
		for _, w := range want {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}, want)
}

func (term *terminal) gone(what string) {
	term.t.Helper()
	term.wait("see no more", func(text string) bool { return !strings.Contains(text, what) }, []string{what})
}

func (term *terminal) wait(what string, ok func(string) bool, words []string) {
	term.t.Helper()
	eventually.Nil(term.t, func() error {
		if text := term.text(); !ok(text) {
			return fmt.Errorf("%s %q; the screen is:\n%s", what, words, text)
		}
		return nil
	})
}

func (term *terminal) press(keys ...tcell.Key) {
	for _, k := range keys {
		term.screen.InjectKey(k, 0, tcell.ModNone)
	}
}

func (term *terminal) write(text string) {
	for _, r := range text {
		term.screen.InjectKey(tcell.KeyRune, r, tcell.ModNone)
	}
}

// clear empties a field.
func (term *terminal) clear() { term.press(tcell.KeyCtrlU) }

func TestTheFirstPageShowsTheAppliance(t *testing.T) {
	term := open(t, func(o *Options) {
		daemon(t, o.Boot.Root)
		st := settings.State{Version: 1, Problems: []string{"gw.ntp \"x/y\": wrong"}}
		st.Settings, _ = settings.Settings{}.With(map[string]string{settings.KeyIP: "192.0.2.10/24", settings.KeyGateway: "192.0.2.1"})
		st.Record("gw.ip", "applied: address 192.0.2.10/24")
		if err := o.Boot.Store().Save(st); err != nil {
			t.Fatal(err)
		}
	})
	host, _ := os.Hostname()
	term.see(host, "static 192.0.2.10/24 via 192.0.2.1", "applied: address", "free of", "not enrolled", "gateway id    6f1c0f0e", "1.2.3",
		"vc.example: ok, session 1h05m, 1200 VMs, 40 hosts, last change", "trusted certificate AB:CD", "gw.ntp")
	// The same page as plain text.
	report := term.o.Boot.Report(t.Context(), false)
	if text := report.Text(100); !strings.Contains(text, "vc.example: ok, session 1h05m, 1200 VMs, 40 hosts") {
		t.Errorf("the plain text is:\n%s", text)
	}
}

func TestAShortScreenSaysThatThereIsMore(t *testing.T) {
	term := open(t, func(o *Options) { daemon(t, o.Boot.Root) })
	term.see("trusted certificate AB:CD")
	term.gone("more lines")
	term.screen.SetSize(80, 12)
	_ = term.screen.PostEvent(tcell.NewEventResize(80, 12))
	term.see("more lines below: arrow down, PgDn")
	term.press(tcell.KeyEnd)
	term.see("more lines above: arrow up, PgUp", "trusted certificate AB:CD")
	term.press(tcell.KeyF5)
	term.gone("more lines")
}

func TestTheFirstPageWithoutADaemon(t *testing.T) {
	term := open(t, nil)
	term.see("the daemon: it is not running", "not known", "not set")
	// Nobody leaves by Ctrl-C.
	term.press(tcell.KeyCtrlC, tcell.KeyF5)
	term.see("Join token")
	select {
	case err := <-term.ended:
		term.ended <- err
		t.Errorf("the console ended: %v", err)
	default:
	}
}

func TestTheConsoleEndsWithItsContext(t *testing.T) {
	term := open(t, nil)
	term.cancel()
	err := <-term.ended
	term.ended <- err
	if err != nil {
		t.Errorf("error = %v", err)
	}
}

func TestTheConsoleEndsWithItsTerminal(t *testing.T) {
	testcard.Make(t)
	term := open(t, silent(netconf.Window))
	term.typeAddress("192.0.2.10/24")
	term.wait("apply", func(string) bool { return address(t) == "192.0.2.10/24" }, nil)
	if err := term.screen.PostEvent(tcell.NewEventError(errors.New("hung up"))); err != nil {
		t.Fatal(err)
	}
	err := <-term.ended
	term.ended <- err
	if err == nil || !strings.Contains(err.Error(), "hung up") {
		t.Errorf("error = %v", err)
	}
	if got := address(t); got != "" {
		t.Errorf("the unconfirmed address %s stayed", got)
	}
}

func address(t *testing.T) string {
	t.Helper()
	l, err := netlink.LinkByName(testcard.Name)
	if err != nil {
		t.Fatal(err)
	}
	as, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil || len(as) == 0 {
		return ""
	}
	return as[0].IPNet.String()
}

// typeAddress fills the network page in: the address is its second field.
func (term *terminal) typeAddress(cidr string) {
	term.press(tcell.KeyF2)
	term.see("Address", "Web proxy", "Apply")
	term.press(tcell.KeyTab)
	term.clear()
	term.write(cidr)
	term.see(cidr)
	term.press(tcell.KeyTab, tcell.KeyTab, tcell.KeyTab, tcell.KeyTab, tcell.KeyTab, tcell.KeyEnter)
}

func silent(window time.Duration) func(*Options) {
	return func(o *Options) {
		c := o.Boot.Changer()
		c.Window = window
		c.Answers = func(context.Context, settings.Settings) (string, error) { return "", errors.New("no route") }
		o.Changer = c
	}
}

func TestANetworkChangeIsKeptOnConfirmation(t *testing.T) {
	testcard.Make(t)
	term := open(t, silent(netconf.Window))
	term.typeAddress("192.0.2.10/24")
	term.see("Changed: gw.ip.", "rolled back in 1m", "Keep")
	term.wait("apply", func(string) bool { return address(t) == "192.0.2.10/24" }, nil)
	term.press(tcell.KeyEscape, tcell.KeyF3) // first decide
	term.see("Changed: gw.ip.")
	term.press(tcell.KeyEnter)
	term.see("The change was kept: confirmed on the console", "static 192.0.2.10/24")
}

func TestANetworkChangeIsRolledBackByHand(t *testing.T) {
	testcard.Make(t)
	term := open(t, silent(netconf.Window))
	term.typeAddress("192.0.2.10/24")
	term.see("Changed: gw.ip.")
	term.press(tcell.KeyTab, tcell.KeyEnter)
	term.see("The change was rolled back", "DHCP")
	if got := address(t); got != "" {
		t.Errorf("address = %s", got)
	}
}

func TestANetworkChangeIsRolledBackByTime(t *testing.T) {
	testcard.Make(t)
	term := open(t, silent(1500*time.Millisecond))
	term.typeAddress("192.0.2.10/24")
	term.see("The change was rolled back: nobody confirmed it within 1.5s, and nothing answered: no route")
	if got := address(t); got != "" {
		t.Errorf("address = %s", got)
	}
}

func TestAConsoleThatClosesTakesItsChangeBack(t *testing.T) {
	testcard.Make(t)
	term := open(t, silent(netconf.Window))
	term.typeAddress("192.0.2.10/24")
	term.wait("apply", func(string) bool { return address(t) == "192.0.2.10/24" }, nil)
	term.cancel()
	err := <-term.ended
	term.ended <- err
	if got := address(t); got != "" || err != nil {
		t.Errorf("address = %s, error = %v", got, err)
	}
}

func TestMistakesStayOnTheNetworkPage(t *testing.T) {
	testcard.Make(t)
	term := open(t, silent(netconf.Window))
	term.typeAddress("192.0.2.10")
	term.see(`gw.ip "192.0.2.10": the prefix length is missing; write 192.0.2.10/24`, "Apply")
	term.press(tcell.KeyEscape)
	term.gone("Apply")
}

func TestAHiddenPasswordOfTheProxyStays(t *testing.T) {
	testcard.Make(t)
	term := open(t, func(o *Options) {
		silent(netconf.Window)(o)
		st := settings.State{Version: 1}
		st.Settings, _ = settings.Settings{}.With(map[string]string{settings.KeyProxy: "http://u:hush@192.0.2.3:3128"})
		if err := o.Boot.Store().Save(st); err != nil {
			t.Fatal(err)
		}
	})
	term.press(tcell.KeyF2)
	term.see("http://u:xxxxx@192.0.2.3:3128")
	if strings.Contains(term.text(), "hush") {
		t.Errorf("the screen shows a password:\n%s", term.text())
	}
	term.typeAddress("192.0.2.10/24")
	term.see("Changed: gw.ip.")
	term.press(tcell.KeyEnter)
	term.see("The change was kept")
	st, err := term.o.Boot.Store().Load()
	if err != nil || st.Settings.Proxy != "http://u:hush@192.0.2.3:3128" {
		t.Errorf("proxy = %q, %v", st.Settings.Proxy, err)
	}
}

// vcenter is what pairs, until the module does.
type vcenter struct{ asked chan pairing.Request }

func (v vcenter) Look(_ context.Context, address string) (pairing.Certificate, error) {
	if address != "vc.example" {
		return pairing.Certificate{}, errors.New("nobody answers there")
	}
	return pairing.Certificate{Thumbprint: "AB:CD:EF", Subject: "CN=vc.example\x1b[2J", Issuer: "CN=CA", NotAfter: time.Unix(2e9, 0)}, nil
}

func (v vcenter) Pair(_ context.Context, r pairing.Request) (pairing.Result, error) {
	v.asked <- r
	return made(r), nil
}

// made is the result of a request.
func made(r pairing.Request) pairing.Result {
	return pairing.Result{
		As: "vcenter", Name: "VMware vCenter Server 8.0.3", Instance: "uuid-1", Now: wire.Pairing{Address: "https://vc.example", Thumbprint: r.Thumbprint, User: r.User},
		Missing: []pairing.Privilege{{Name: "System.Read", Function: "discovery", Object: "/", Without: "nothing is seen"}},
	}
}

func TestPairing(t *testing.T) {
	v := vcenter{make(chan pairing.Request, 1)}
	term := open(t, func(o *Options) { o.Pairer = v })
	term.press(tcell.KeyF3)
	term.see("Pair a vCenter", "Password")
	term.write("vc.example")
	term.press(tcell.KeyTab)
	term.write("pf9@vsphere.local")
	term.press(tcell.KeyTab)
	term.write("hush")
	term.see("****")
	term.press(tcell.KeyTab, tcell.KeyEnter)
	term.see("AB:CD:EF", "CN=vc.example?[2J", "Trust and pair")
	select {
	case r := <-v.asked:
		t.Fatalf("the password went out before the certificate was accepted: %+v", r)
	default:
	}
	term.press(tcell.KeyEnter)
	asked := <-v.asked
	term.see(strings.Split(paired.Text(made(asked), paired.OnGateway("vcenter")), "\n")...) // what the command says
	if d := cmp.Diff(pairing.Request{Address: "vc.example", User: "pf9@vsphere.local", Password: "hush", Thumbprint: "AB:CD:EF"}, asked); d != "" {
		t.Errorf("asked to pair otherwise: %s", d)
	}
	if strings.Contains(term.text(), "hush") {
		t.Error("the screen shows the password")
	}
}

func TestPairingNeedsEverything(t *testing.T) {
	term := open(t, func(o *Options) { o.Pairer = vcenter{} })
	term.press(tcell.KeyF3)
	term.see("Pair a vCenter")
	term.write("vc.example")
	term.press(tcell.KeyTab, tcell.KeyTab, tcell.KeyTab, tcell.KeyEnter)
	term.see("Address, user and password are all needed.")
}

func TestPairingWithoutTheModule(t *testing.T) {
	term := open(t, nil)
	term.press(tcell.KeyF3)
	term.see("This gateway cannot pair a vCenter")
}

func TestDiagnostics(t *testing.T) {
	term := open(t, nil)
	term.press(tcell.KeyF4)
	term.see("Nothing is set that could be asked")
	term.press(tcell.KeyEscape)
	term.gone("Nothing is set")
}

// What was enrolled and paired by command counts as what was typed at the
// deployment does.
func TestThePagesKnowWhatTheConfigurationSays(t *testing.T) {
	const du, vc = "127.0.0.1:9", "127.0.0.1:10" // where nobody answers
	term := open(t, func(o *Options) {
		o.Boot.Configured = func() status.Configured {
			return status.Configured{DU: "https://" + du, VCenters: []status.VCenter{{Name: "west", Address: vc, State: status.NotKnown}}}
		}
	})
	term.see("DU            https://"+du, "west: not known")
	term.press(tcell.KeyF4)
	term.see("FAILED  deployment unit "+du, "FAILED  vCenter "+vc, "FAILED  west, as the daemon sees it: not known")
}

func TestDiagnosticsAskForEachVCenterOnce(t *testing.T) {
	r := status.Report{Settings: settings.Settings{VCenter: "b.example"}, VCenters: []status.VCenter{
		{Name: "a", Address: "a.example:443", State: "ok", Problem: "it is too old"}, {Name: "b", Address: "b.example:443", State: "reading"}, {Name: "old daemon's", State: "degraded"},
	}}
	if d := cmp.Diff([]string{"a.example:443", "b.example:443"}, addresses(r)); d != "" {
		t.Error(d)
	}
	for i, want := range []string{"FAILED  a, as the daemon sees it: ok: it is too old", "ok      b, as the daemon sees it: reading", "FAILED  old daemon's, as the daemon sees it: degraded"} {
		if got := strings.Split(table(followed(r)), "\n")[i]; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEnrolSaysWhyNot(t *testing.T) {
	term := open(t, nil)
	term.press(tcell.KeyF5)
	term.see("Join token")
	term.write("http://du.example")
	term.press(tcell.KeyTab)
	term.write("pf9j1.abc")
	term.press(tcell.KeyTab, tcell.KeyEnter)
	term.see("gw.du_url", "does not begin with https://")
}

func TestReboot(t *testing.T) {
	asked := make(chan struct{}, 1)
	term := open(t, func(o *Options) {
		o.Reboot = func(context.Context) error { asked <- struct{}{}; return errors.New("no bus") }
	})
	term.press(tcell.KeyF12)
	term.see("Reboot the gateway?")
	term.press(tcell.KeyEnter) // the first button cancels
	term.gone("Reboot the gateway?")
	term.write("r") // where there are no function keys
	term.see("Reboot the gateway?")
	term.press(tcell.KeyTab, tcell.KeyEnter)
	<-asked
	term.see("Reboot: no bus")
}

func TestAConsoleTakesBackWhatAKilledOneLeft(t *testing.T) {
	testcard.Make(t)
	term := open(t, func(o *Options) {
		st := settings.State{Version: 1}
		wrong, _ := settings.Settings{}.With(map[string]string{settings.KeyIP: "192.0.2.10/24"})
		if _, err := o.Boot.System().Apply(t.Context(), wrong); err != nil {
			t.Fatal(err)
		}
		st.Pending = &settings.Pending{After: wrong, What: settings.KeyIP, Began: time.Now()}
		if err := o.Boot.Store().Save(st); err != nil {
			t.Fatal(err)
		}
	})
	term.see("gw.ip: rolled back: the appliance or its console")
	if got := address(t); got != "" {
		t.Errorf("address = %s", got)
	}
}
