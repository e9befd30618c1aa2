package client

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
)

func TestFind(t *testing.T) {
	const host, gateway, other wire.HostID = "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a", "0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a", "cafe7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a"
	all := []api.Host{{ID: host, Hostname: "vm", Kind: "host", Connected: true}, {ID: gateway, Hostname: "vm", Kind: "gateway"}, {ID: other, Hostname: "0b5c7d7"}}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range all {
			if r.URL.Path == "/api/v1/hosts/"+string(h.ID) {
				_ = json.NewEncoder(w).Encode(h)
				return
			}
		}
		_ = json.NewEncoder(w).Encode(api.Hosts{Items: all})
	}))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{URL: s.URL, CAFile: ca})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, want := range map[string]string{ // an id, or a part of the error
		string(gateway): string(gateway),
		"0b5c7d7":       string(other), // a name comes first
		"0b5c7d7F":      string(gateway),
		"cafe":          string(other),
		"caf":           `no host is called "caf"`,
		"feed":          `no host is called "feed"`,
		"0b5c":          "2 hosts have an id that begins with 0b5c; give more of it: " + string(host),
		"vm":            `2 hosts are called "vm"; give the id: ` + string(host) + " (host vm, connected), " + string(gateway) + " (gateway vm, disconnected)",
	} {
		h, err := c.Find(t.Context(), name)
		if got := string(h.ID); err == nil && got != want || err != nil && (!strings.Contains(err.Error(), want) || got != "") {
			t.Errorf("Find(%q): %q, %v; want %s", name, got, err, want)
		}
	}
	many := candidates(make([]api.Host, 12))
	if strings.Count(many, "disconnected") != 10 || !strings.HasSuffix(many, ", ...") {
		t.Errorf("of many: %s", many)
	}
}
