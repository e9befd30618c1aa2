package settings

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/pki"
)

const pin = "00112233445566778899aabbccddeeff"

func TestWithReadsEverything(t *testing.T) {
	token := pki.NewToken(pki.JoinToken, pin).String()
	typed := map[string]string{
		KeyHostname: " GW1.Example ", KeyIP: "192.0.2.10/24", KeyGateway: "192.0.2.1",
		KeyDNS: "192.0.2.53, 2001:db8::53;192.0.2.53", KeyNTP: "ntp.example 192.0.2.123",
		KeyProxy: "http://u:p%40ss@proxy.example:3128/", KeyDU: "https://DU.Example:8443/", KeyToken: token,
		KeyPin: "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF", KeyVCenter: "https://vc.example/ui", KeyVCenterUser: "pf9@vsphere.local",
		"other.key": "\x00",
	}
	s, problems := Settings{}.With(typed)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := map[string]string{
		KeyHostname: "gw1.example", KeyIP: "192.0.2.10/24", KeyGateway: "192.0.2.1",
		KeyDNS: "192.0.2.53,2001:db8::53", KeyNTP: "ntp.example,192.0.2.123",
		KeyProxy: "http://u:p%40ss@proxy.example:3128", KeyDU: "https://du.example:8443",
		KeyPin: pin, KeyVCenter: "vc.example", KeyVCenterUser: "pf9@vsphere.local",
	}
	if diff := cmp.Diff(want, s.Properties()); diff != "" {
		t.Error(diff)
	}
	if s.Token != token {
		t.Errorf("token = %q", s.Token)
	}
	again, problems := Settings{}.With(s.Properties())
	if len(problems) > 0 || !again.Equal(&s) {
		t.Errorf("what is shown cannot be typed again: %v %v", problems, again)
	}
}

func TestWithChangesOnlyWhatIsGiven(t *testing.T) {
	before, problems := Settings{}.With(map[string]string{KeyIP: "192.0.2.10/24", KeyDNS: "192.0.2.53", KeyHostname: "a"})
	if problems != nil {
		t.Fatal(problems)
	}
	after, problems := before.With(map[string]string{KeyHostname: "b", KeyDNS: ""})
	if problems != nil {
		t.Fatal(problems)
	}
	if after.Hostname != "b" || after.Address != before.Address || len(after.DNS) != 0 || len(before.DNS) != 1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestWithSaysWhatIsWrong(t *testing.T) {
	other := pki.NewToken(pki.JoinToken, "ffffffffffffffffffffffffffffffff").String()
	tests := []struct {
		name  string
		typed map[string]string
		want  []string // parts of the only problem
	}{
		{"host name", map[string]string{KeyHostname: "my_gateway"}, []string{KeyHostname, `"my_gateway"`, "letters, digits"}},
		{"long host name", map[string]string{KeyHostname: strings.Repeat("a.", 40) + "a"}, []string{KeyHostname, "63"}},
		{"address as host name", map[string]string{KeyHostname: "192.0.2.1"}, []string{KeyHostname, "not a name"}},
		{"no prefix length", map[string]string{KeyIP: "192.0.2.10"}, []string{KeyIP, "192.0.2.10/24"}},
		{"no IPv6 prefix length", map[string]string{KeyIP: "2001:db8::1"}, []string{KeyIP, "2001:db8::1/64"}},
		{"mask", map[string]string{KeyIP: "192.0.2.10 255.255.255.0"}, []string{KeyIP, "192.0.2.10/24", "DHCP"}},
		{"network's own", map[string]string{KeyIP: "192.0.2.0/24"}, []string{KeyIP, "network itself"}},
		{"broadcast", map[string]string{KeyIP: "192.0.2.127/25"}, []string{KeyIP, "broadcast"}},
		{"loopback", map[string]string{KeyIP: "127.0.0.1/8"}, []string{KeyIP, "no host"}},
		{"whole Internet", map[string]string{KeyIP: "192.0.2.1/0"}, []string{KeyIP, "prefix length 0"}},
		{"gateway outside", map[string]string{KeyIP: "192.0.2.10/25", KeyGateway: "192.0.2.129"}, []string{KeyGateway, `"192.0.2.129"`, "192.0.2.0/25", "correct"}},
		{"gateway itself", map[string]string{KeyIP: "192.0.2.10/24", KeyGateway: "192.0.2.10"}, []string{KeyGateway, "own address"}},
		{"gateway of another family", map[string]string{KeyIP: "192.0.2.10/24", KeyGateway: "2001:db8::1"}, []string{KeyGateway, "family"}},
		{"gateway is broadcast", map[string]string{KeyIP: "192.0.2.10/24", KeyGateway: "192.0.2.255"}, []string{KeyGateway, "broadcast"}},
		{"gateway with DHCP", map[string]string{KeyGateway: "192.0.2.1"}, []string{KeyGateway, "DHCP"}},
		{"gateway with prefix", map[string]string{KeyIP: "192.0.2.10/24", KeyGateway: "192.0.2.1/24"}, []string{KeyGateway, "no address"}},
		{"DNS by name", map[string]string{KeyDNS: "192.0.2.1,dns.example"}, []string{KeyDNS, `"dns.example"`, "names cannot"}},
		{"many DNS", map[string]string{KeyDNS: "192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4"}, []string{KeyDNS, "4 servers"}},
		{"NTP", map[string]string{KeyNTP: "ntp.example/pool"}, []string{KeyNTP, "neither"}},
		{"NTP half an address", map[string]string{KeyNTP: "192.0.2"}, []string{KeyNTP, "neither"}},
		{"proxy without port", map[string]string{KeyProxy: "http://user:hush@proxy"}, []string{KeyProxy, "value hidden", "port"}},
		{"proxy without scheme", map[string]string{KeyProxy: "proxy:3128"}, []string{KeyProxy, "http://"}},
		{"DU without TLS", map[string]string{KeyDU: "http://du.example"}, []string{KeyDU, `"http://du.example"`, "https://"}},
		{"DU with a path", map[string]string{KeyDU: "https://du.example/api"}, []string{KeyDU, "behind the host"}},
		{"DU with a password", map[string]string{KeyDU: "https://a:hush@du.example"}, []string{KeyDU, "join token"}},
		{"DU without port behind colon", map[string]string{KeyDU: "https://du.example:"}, []string{KeyDU, "port"}},
		{"half a token", map[string]string{KeyDU: "https://192.0.2.9", KeyToken: "pf9j1.hush"}, []string{KeyToken, "value hidden", "copy all"}},
		{"token without DU", map[string]string{KeyToken: other}, []string{KeyDU, "no deployment unit"}},
		{"token of another authority", map[string]string{KeyDU: "https://192.0.2.9", KeyToken: other, KeyPin: pin}, []string{KeyPin, "another authority"}},
		{"pin", map[string]string{KeyPin: "abc"}, []string{KeyPin, "32"}},
		{"names without DNS", map[string]string{KeyIP: "192.0.2.10/24", KeyDU: "https://du.example"}, []string{KeyDNS, `"du.example"`}},
		{"proxy by name without DNS", map[string]string{KeyIP: "192.0.2.10/24", KeyDU: "https://du.example", KeyProxy: "http://proxy.example:1"}, []string{KeyDNS, `"proxy.example"`}},
		{"vCenter with a password", map[string]string{KeyVCenter: "https://a:hush@vc.example"}, []string{KeyVCenter, "typed on the console"}},
		{"line's end", map[string]string{KeyHostname: "a\nb"}, []string{KeyHostname, "cannot be seen"}},
		{"typing mistake", map[string]string{"gw.dsn": "192.0.2.1"}, []string{"gw.dsn", "no such setting", KeyDNS}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, problems := Settings{}.With(test.typed)
			if len(problems) != 1 {
				t.Fatalf("problems = %q, want one", problems.Lines())
			}
			text := problems.Error()
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
			if strings.Contains(text, "hush") {
				t.Errorf("%q tells a secret", text)
			}
		})
	}
}

func TestWithSaysEverythingAtOnce(t *testing.T) {
	_, problems := Settings{}.With(map[string]string{KeyHostname: "-", KeyIP: "x", KeyDNS: "y", KeyNTP: "a/b", KeyProxy: "z", KeyDU: "q", KeyToken: "w", KeyPin: "e", "gw.x": ""})
	if len(problems) != 9 {
		t.Errorf("%d problems, want 9:\n%s", len(problems), problems.Error())
	}
}

func TestWithAllows(t *testing.T) {
	for name, typed := range map[string]map[string]string{
		"nothing":                {},
		"point to point":         {KeyIP: "192.0.2.0/31", KeyGateway: "192.0.2.1"},
		"link-local router":      {KeyIP: "2001:db8::1/64", KeyGateway: "fe80::1"},
		"name behind a proxy":    {KeyIP: "192.0.2.10/24", KeyDU: "https://du.example", KeyProxy: "http://192.0.2.3:3128"},
		"DNS with DHCP":          {KeyDNS: "192.0.2.53", KeyDU: "https://du.example"},
		"vCenter by IPv6":        {KeyVCenter: "[2001:db8::5]:443"},
		"no router":              {KeyIP: "192.0.2.10/24"},
		"a token behind a space": {KeyDU: "https://192.0.2.9", KeyToken: " " + pki.NewToken(pki.JoinToken, pin).String() + "\n"},
	} {
		if _, problems := (Settings{}).With(typed); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func TestStoreKeepsNoToken(t *testing.T) {
	store := Store{filepath.Join(t.TempDir(), "state")}
	st, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	token := pki.NewToken(pki.JoinToken, pin).String()
	var problems Problems
	st.Settings, problems = st.Settings.With(map[string]string{KeyDU: "https://du.example", KeyToken: token, KeyIP: "192.0.2.10/24", KeyDNS: "192.0.2.53"})
	if problems != nil {
		t.Fatal(problems)
	}
	st.Record("gw.ip", "applied")
	if err := store.Save(st); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(store.file())
	if err != nil || strings.Contains(string(b), token) {
		t.Errorf("%s, %v", b, err)
	}
	info, err := os.Stat(store.file())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	st.Settings.Token = ""
	again, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !again.Settings.Equal(&st.Settings) || len(again.Changes) != 1 {
		t.Errorf("%+v became %+v", st, again)
	}
	if err := store.Save(again); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(store.file()); err != nil || !os.SameFile(info, after) {
		t.Errorf("the same state was written again: %v", err)
	}
}

func TestStoreSaysWhatIsWrong(t *testing.T) {
	for content, want := range map[string]string{"{": "remove the file", `{"version": 9}`: "newer"} {
		store := Store{t.TempDir()}
		if err := os.WriteFile(store.file(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}

// The daemon's user might write the file, and root puts it into files of the system.
func TestTheStateIsBelievedNoMoreThanWhatIsTyped(t *testing.T) {
	for name, test := range map[string]struct{ content, want string }{
		"a line's end in a time server": {`{"settings":{"ntp":["a\n[DHCP]\nx=y"]}}`, KeyNTP},
		"two servers in one":            {`{"settings":{"ntp":["a b"]}}`, "not as they are written"},
		"no proxy":                      {`{"settings":{"proxy":"ftp://x"}}`, KeyProxy},
		"a host name with a path":       {`{"settings":{"hostname":"a/b"}}`, KeyHostname},
		"an address of loopback":        {`{"settings":{"address":"127.0.0.1/8"}}`, KeyIP},
		"what a rollback puts back":     {`{"pending":{"before":{"du":"http://x"}}}`, KeyDU},
		"what was to be":                {`{"pending":{"after":{"hostname":"x y"}}}`, KeyHostname},
	} {
		t.Run(name, func(t *testing.T) {
			store := Store{t.TempDir()}
			if err := os.WriteFile(store.file(), []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if st, err := store.Load(); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "remove the file") || !st.Settings.Equal(&Settings{}) {
				t.Errorf("%+v, %v; want %q", st.Settings, err, test.want)
			}
		})
	}
}

func TestTheStateIsNotReachedByLinks(t *testing.T) {
	elsewhere := t.TempDir()
	store := Store{filepath.Join(t.TempDir(), "state")}
	if err := os.Mkdir(store.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "appliance.json"} {
		if err := os.Symlink(filepath.Join(elsewhere, name), filepath.Join(store.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "appliance.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Lock(); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("Lock: %v", err)
	}
	if _, err := store.Load(); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("Load: %v", err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a lock was made elsewhere: %v", err)
	}
	linked := Store{filepath.Join(t.TempDir(), "state")}
	if err := os.Symlink(elsewhere, linked.Dir); err != nil {
		t.Fatal(err)
	}
	if err := linked.Save(State{}); err == nil || !strings.Contains(err.Error(), "is no directory") {
		t.Errorf("Save: %v", err)
	}
	if err := syscall.Mkfifo(filepath.Join(elsewhere, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(elsewhere, "pipe"), filepath.Join(store.Dir, "appliance.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("Load of a pipe: %v", err)
	}
}

func TestLockIsHeldOnce(t *testing.T) {
	store := Store{t.TempDir()}
	release, err := store.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Lock(); !errors.Is(err, ErrBusy) {
		t.Errorf("second: %v, want ErrBusy", err)
	}
	release()
	again, err := store.Lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestLockWithinWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := Store{t.TempDir()}
		release, err := store.Lock()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := store.LockWithin(ctx); !errors.Is(err, ErrBusy) {
			t.Errorf("while it is held: %v, want ErrBusy", err)
		}
		time.AfterFunc(time.Minute, release)
		began := time.Now()
		release, err = store.LockWithin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		release()
		if waited := time.Since(began); waited < time.Minute || waited > time.Minute+2*lockEvery {
			t.Errorf("waited for %s, want a minute", waited)
		}
	})
}

func TestRecordForgetsTheOldest(t *testing.T) {
	var st State
	for range maxChanges + 5 {
		st.Record("a", "b")
	}
	st.Record("last", "b")
	if len(st.Changes) != maxChanges || st.Changes[maxChanges-1].What != "last" {
		t.Errorf("%d changes, the last %q", len(st.Changes), st.Changes[len(st.Changes)-1].What)
	}
}

func FuzzWith(f *testing.F) {
	f.Add("gw1", "192.0.2.10/24", "192.0.2.1", "192.0.2.53", "ntp", "http://u:p@h:1", "https://du", "vc")
	f.Add("", "2001:db8::1/64", "fe80::1", "::1 ::2", "[::1]", "https://[::1]:3", "https://[2001:db8::1]:8", "[::1]:5")
	f.Fuzz(func(t *testing.T, host, ip, gateway, dns, ntp, proxy, du, vcenter string) {
		s, problems := Settings{}.With(map[string]string{KeyHostname: host, KeyIP: ip, KeyGateway: gateway, KeyDNS: dns, KeyNTP: ntp, KeyProxy: proxy, KeyDU: du, KeyVCenter: vcenter})
		for _, p := range problems {
			if p.Key == "" || p.Text == "" || p.Remedy == "" {
				t.Errorf("half a problem: %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		for key, v := range s.Properties() {
			if strings.ContainsAny(v, "\n\r\x00") {
				t.Errorf("%s has a line's end: %q", key, v)
			}
		}
		again, problems := Settings{}.With(s.Properties())
		if len(problems) > 0 || !again.Equal(&s) {
			t.Errorf("%q became %q: %v", s.Properties(), again.Properties(), problems)
		}
	})
}
