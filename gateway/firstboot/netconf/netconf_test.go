package netconf

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/gateway/firstboot/testcard"
	"github.com/openpf9/openpf9/internal/namespaces"
)

// machine makes a network card and a file system of its own.
func machine(t *testing.T) *System {
	t.Helper()
	testcard.Make(t)
	peer, err := netlink.LinkByName(testcard.Peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	s := &System{Root: t.TempDir(), Link: testcard.Name}
	put(t, s, hostnameFile, name+"\n")
	put(t, s, resolvFile, "nameserver 198.51.100.1\n")
	return s
}

func put(t *testing.T, s *System, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(path), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func with(t testing.TB, pairs ...string) settings.Settings {
	t.Helper()
	typed := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		typed[pairs[i]] = pairs[i+1]
	}
	s, problems := settings.Settings{}.With(typed)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

func apply(t *testing.T, s *System, want settings.Settings) []string {
	t.Helper()
	did, err := s.Apply(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return did
}

// state is what the kernel has: addresses of global scope and default routes.
func state(t *testing.T) []string {
	t.Helper()
	l, err := netlink.LinkByName(testcard.Name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if a.Scope == int(netlink.SCOPE_UNIVERSE) {
			out = append(out, a.IPNet.String())
		}
	}
	routes, err := netlink.RouteList(l, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if isDefault(r) {
			out = append(out, "via "+r.Gw.String())
		}
	}
	slices.Sort(out)
	return out
}

func wantState(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, state(t)); diff != "" {
		t.Errorf("the kernel's addresses and routes: %s", diff)
	}
}

func content(t *testing.T, s *System, path string) string {
	t.Helper()
	b, err := os.ReadFile(s.path(path))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestApplyMovesTheMachine(t *testing.T) {
	s := machine(t)
	apply(t, s, with(t, settings.KeyIP, "192.0.2.10/24", settings.KeyGateway, "192.0.2.1", settings.KeyDNS, "192.0.2.53", settings.KeyHostname, "gw1", settings.KeyNTP, "ntp.example"))
	wantState(t, "192.0.2.10/24", "via 192.0.2.1")
	if name, _ := os.Hostname(); name != "gw1" {
		t.Errorf("host name = %q", name)
	}
	if got := content(t, s, networkFile); !strings.Contains(got, "Address=192.0.2.10/24\n") || !strings.Contains(got, "Gateway=192.0.2.1\n") || !strings.Contains(got, "Name="+testcard.Name+"\n") {
		t.Errorf("networkd is told:\n%s", got)
	}
	if got := content(t, s, resolvFile); !strings.HasSuffix(got, "\nnameserver 192.0.2.53\n") {
		t.Errorf("resolv.conf:\n%s", got)
	}
	if got := content(t, s, timeFile); !strings.HasSuffix(got, "[Time]\nNTP=ntp.example\n") {
		t.Errorf("timesyncd is told:\n%s", got)
	}

	// In the same network, where the kernel counts the new address as second to
	// the old one, then in others.
	apply(t, s, with(t, settings.KeyIP, "192.0.2.11/24", settings.KeyGateway, "192.0.2.2"))
	wantState(t, "192.0.2.11/24", "via 192.0.2.2")
	apply(t, s, with(t, settings.KeyIP, "192.0.2.11/25", settings.KeyGateway, "192.0.2.2"))
	wantState(t, "192.0.2.11/25", "via 192.0.2.2")
	apply(t, s, with(t, settings.KeyIP, "198.51.100.7/24"))
	wantState(t, "198.51.100.7/24")
	apply(t, s, with(t, settings.KeyIP, "2001:db8::7/64", settings.KeyGateway, "2001:db8::1"))
	wantState(t, "2001:db8::7/64", "via 2001:db8::1")
	apply(t, s, with(t, settings.KeyIP, "2001:db8::7/64", settings.KeyGateway, "fe80::1"))
	wantState(t, "2001:db8::7/64", "via fe80::1")
	apply(t, s, settings.Settings{})
	wantState(t)
	if got := content(t, s, networkFile); !strings.Contains(got, "DHCP=yes") || strings.Contains(got, "Address=") {
		t.Errorf("networkd is told:\n%s", got)
	}
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	s := machine(t)
	for _, want := range []settings.Settings{
		with(t, settings.KeyIP, "192.0.2.10/24", settings.KeyGateway, "192.0.2.1", settings.KeyDNS, "192.0.2.53", settings.KeyHostname, "gw2", settings.KeyNTP, "192.0.2.9", settings.KeyProxy, "http://u:p@192.0.2.3:3128"),
		with(t, settings.KeyIP, "2001:db8::7/64", settings.KeyGateway, "2001:db8::1"),
		{},
	} {
		if did := apply(t, s, want); len(did) == 0 {
			t.Error("the first time changed nothing")
		}
		if did := apply(t, s, want); len(did) != 0 {
			t.Errorf("%s: the second time changed %q", Describe(want), did)
		}
	}
}

func TestApplyGivesBackWhatTheSystemHad(t *testing.T) {
	s := machine(t)
	before, _ := os.Hostname()
	apply(t, s, with(t, settings.KeyHostname, "other", settings.KeyDNS, "192.0.2.53", settings.KeyProxy, "http://192.0.2.3:3128", settings.KeyNTP, "192.0.2.9"))
	apply(t, s, with(t, settings.KeyHostname, "another", settings.KeyDNS, "192.0.2.54"))
	apply(t, s, settings.Settings{})
	if got, _ := os.Hostname(); got != before {
		t.Errorf("host name = %q, want %q", got, before)
	}
	if got := content(t, s, resolvFile); got != "nameserver 198.51.100.1\n" {
		t.Errorf("resolv.conf = %q", got)
	}
	for _, gone := range []string{timeFile, proxyFile, saved(resolvFile), saved(hostnameFile)} {
		if _, err := os.Lstat(s.path(gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
}

func TestApplyLeavesTheResolverToItsService(t *testing.T) {
	s := machine(t)
	if err := os.Remove(s.path(resolvFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run/systemd/resolve/stub-resolv.conf", s.path(resolvFile)); err != nil {
		t.Fatal(err)
	}
	apply(t, s, with(t, settings.KeyDNS, "192.0.2.53"))
	if to, err := os.Readlink(s.path(resolvFile)); err != nil || !strings.HasSuffix(to, "stub-resolv.conf") {
		t.Errorf("the link is %q, %v", to, err)
	}
	if got := content(t, s, networkFile); !strings.Contains(got, "DNS=192.0.2.53\n") || !strings.Contains(got, "UseDNS=no\n") {
		t.Errorf("networkd is told:\n%s", got)
	}
}

func TestApplyKeepsWhatComesByItself(t *testing.T) {
	s := machine(t)
	l, err := netlink.LinkByName(testcard.Name)
	if err != nil {
		t.Fatal(err)
	}
	lease := func(cidr string) {
		ip, n, _ := net.ParseCIDR(cidr)
		n.IP = ip
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: n, ValidLft: 3600, PreferedLft: 1800}); err != nil {
			t.Fatal(err)
		}
	}
	lease("192.0.2.100/24")
	lease("2001:db8::100/64")
	apply(t, s, settings.Settings{})
	wantState(t, "192.0.2.100/24", "2001:db8::100/64")
	// A static address takes the lease's place; the same one becomes ours.
	apply(t, s, with(t, settings.KeyIP, "192.0.2.100/24"))
	wantState(t, "192.0.2.100/24", "2001:db8::100/64")
	as, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil || len(as) != 1 || as[0].ValidLft < 1<<31 && as[0].ValidLft != 0 && as[0].ValidLft != -1 {
		t.Errorf("addresses = %v, %v, want one without an end", as, err)
	}
	apply(t, s, with(t, settings.KeyIP, "192.0.2.5/24"))
	wantState(t, "192.0.2.5/24", "2001:db8::100/64")
}

// services pretends that systemd's run, and returns where their programs are,
// and where those write how they were called.
func services(t *testing.T, s *System) (bin, log string) {
	t.Helper()
	bin = t.TempDir()
	log = filepath.Join(bin, "log")
	for _, name := range []string{"networkctl", "systemctl"} {
		script := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\n", name, log)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, mark := range []string{networkdRuns, timesyncdRuns} {
		if err := os.MkdirAll(s.path(mark), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin, log
}

func TestApplyTellsTheServices(t *testing.T) {
	s := machine(t)
	bin, log := services(t, s)
	want := with(t, settings.KeyIP, "192.0.2.10/24", settings.KeyNTP, "192.0.2.9")
	apply(t, s, want)
	apply(t, s, want)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), "systemctl try-restart systemd-timesyncd.service\nnetworkctl reload\n"; got != want {
		t.Errorf("called:\n%swant:\n%s", got, want)
	}
	if err := os.WriteFile(filepath.Join(bin, "networkctl"), []byte("#!/bin/sh\necho no bus >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), settings.Settings{}); err == nil || !strings.Contains(err.Error(), "no bus") {
		t.Errorf("error = %v, want networkctl's", err)
	}
}

func TestWaitForLinkWaitsForTheDriverAndItsName(t *testing.T) {
	s := machine(t)
	l, err := netlink.LinkByName(testcard.Name)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, udevRuns, "")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if s.WaitForLink(ctx); ctx.Err() == nil {
		t.Error("udev has not named the link yet")
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { put(t, s, udevKnows+strconv.Itoa(l.Attrs().Index), "I:1") })
	if s.WaitForLink(t.Context()); !s.linkIsThere() {
		t.Error("it did not wait")
	}
	none := &System{Root: s.Root, Link: "pf9none0"}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	none.WaitForLink(ended) // returns
}

func TestApplyNamesWhatIsMissing(t *testing.T) {
	namespaces.Need(t)
	s := &System{Root: t.TempDir(), Link: "pf9none0"}
	if _, err := s.Apply(t.Context(), with(t, settings.KeyIP, "192.0.2.10/24")); err == nil || !strings.Contains(err.Error(), "pf9none0") {
		t.Errorf("error = %v", err)
	}
	s.Link = "" // there is only loopback
	if _, err := s.Apply(t.Context(), settings.Settings{}); err == nil || !strings.Contains(err.Error(), "add a VMXNET3 adapter") {
		t.Errorf("error = %v", err)
	}
}

func TestProxyFileIsWhatTheAgentReads(t *testing.T) {
	for _, proxy := range []string{"http://proxy.example:3128", "https://u:p%40%22s@192.0.2.3:1", "http://[2001:db8::3]:8080"} {
		want := with(t, settings.KeyProxy, proxy)
		file := filepath.Join(t.TempDir(), "comms_proxy_cfg.json")
		if err := os.WriteFile(file, proxyConfig(want), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := enroll.Proxy(file, "")
		if err != nil {
			t.Fatal(err)
		}
		u, err := f(nil)
		if err != nil || u.String() != proxy {
			t.Errorf("the agent reads %v, %v, want %s", u, err, proxy)
		}
	}
}
