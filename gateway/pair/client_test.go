package pair_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/httpapi"
)

// serve answers on a socket as the daemon's local API does.
func (s *site) serve(t *testing.T, access httpapi.Access) *pair.Client {
	t.Helper()
	socket := filepath.Join(s.dir, "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	api := httpapi.New(s.Routes(), httpapi.Options{Log: slog.New(slog.DiscardHandler), Authenticate: func(*http.Request) (httpapi.Caller, error) {
		return httpapi.Caller{Access: access}, nil
	}})
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: api}}
	server.Start()
	t.Cleanup(server.Close)
	return pair.NewClient(socket)
}

func TestTheClientPairsOverTheSocket(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	c := s.serve(t, httpapi.Operator)
	r := s.request(t, v, "east")
	cert, err := c.Look(t.Context(), v.host)
	if err != nil || cert.Thumbprint != r.Thumbprint || cert.NotAfter.IsZero() || cert.Subject == "" {
		t.Errorf("Look = %+v, %v", cert, err)
	}
	v.lacks = []string{"VApp.Import"}
	on := true
	r.Control, r.Clusters = &on, []string{}
	res, err := c.Pair(t.Context(), r)
	if err != nil || res.As != "east" || res.Instance != "uuid-1" || len(res.Missing) != 1 || res.Missing[0].Function != "images" {
		t.Errorf("Pair = %+v, %v", res, err)
	}
	r.Name = ""
	if res, err := c.Pair(t.Context(), r); err != nil || res.As != "east" {
		t.Errorf("Pair without a name = %+v, %v", res, err)
	}
	r.Password = "typo"
	if _, err := c.Pair(t.Context(), r); err == nil || !strings.Contains(err.Error(), "refuses the account") {
		t.Errorf("Pair with a wrong password: %v", err)
	}
	if err := c.Unpair(t.Context(), "east"); err != nil {
		t.Error(err)
	}
	if err := c.Unpair(t.Context(), "east"); err == nil || !strings.Contains(err.Error(), "no vCenter is paired") {
		t.Errorf("second Unpair: %v", err)
	}
	if _, err := c.Look(t.Context(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "look at the certificate of 127.0.0.1:1") {
		t.Errorf("Look at nobody: %v", err)
	}
}

func TestOnlyOperatorsPair(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	c := s.serve(t, httpapi.Reader)
	if _, err := c.Look(t.Context(), v.host); err == nil {
		t.Error("a reader may look")
	}
	if _, err := c.Pair(t.Context(), s.request(t, v, "east")); err == nil {
		t.Error("a reader may pair")
	}
	if err := c.Unpair(t.Context(), "east"); err == nil || strings.Contains(err.Error(), "no vCenter") {
		t.Errorf("a reader may unpair: %v", err)
	}
	if got := v.took(); len(got) > 0 || s.file(t) != "" {
		t.Errorf("a reader's pairing logged in: %q", got)
	}
}

func TestADaemonThatIsDownIsNamed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	if _, err := pair.NewClient(socket).Look(t.Context(), "vc.example"); err == nil || !strings.Contains(err.Error(), "systemctl start pf9-gateway") {
		t.Errorf("Look: %v", err)
	}
}
