package resmgr

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// serve is the API of a manager, called by a token of the level.
func serve(t *testing.T, m *Manager, level httpapi.Access) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(httpapi.New(slices.Concat(m.Routes(), m.CompatRoutes()), httpapi.Options{
		Authenticate: func(*http.Request) (httpapi.Caller, error) { return httpapi.Caller{Name: "test", Access: level}, nil },
	}))
	t.Cleanup(srv.Close)
	return srv
}

func call(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestAPI(t *testing.T) {
	m, _ := run(t, openDB(t, filepath.Join(t.TempDir(), "db")), Limits{})
	a, b := newAgent(1), newAgent(2)
	for i, name := range []string{"web-1", "web-2", "db-1"} {
		r := vm(i, name, []string{inventory.VMRunning, inventory.VMShutOff}[i%2])
		a.mirror[r.Key] = r
	}
	link := resource(inventory.KindLink, "name/br0", "br0", "network", inventory.Link{Name: "br0", State: "up"})
	a.mirror[link.Key] = link
	a.status = append(a.status, wire.SourceStatus{Name: "network", State: "ok", Kinds: []string{inventory.KindLink}})
	a.connect(t, m)
	b.connect(t, m)
	m.Disconnected(b.p.Host, b.p.Session, "timeout")
	if _, err := m.Events(t.Context(), a.p, &wire.Events{Events: []wire.Event{{Epoch: 1, Seq: 1, Type: "state", Detail: "started"}}}); err != nil {
		t.Fatal(err)
	}
	dialled := ""
	m.cfg.Dial = func(_ context.Context, id wire.HostID, service string) (net.Conn, error) {
		dialled = string(id) + " " + service
		near, far := net.Pipe()
		go func() {
			_ = http.Serve(&once{c: far}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, `[{"id":"x"}]`)
			}))
		}()
		return near, nil
	}
	revoked := ""
	m.cfg.Revoke = func(_ context.Context, id wire.HostID, _ string) error { revoked = string(id); return nil }

	srv := serve(t, m, httpapi.Operator)
	host := "/api/v1/hosts/" + string(a.p.Host)
	for _, tc := range []struct {
		call   string
		status int
		want   []string // in the body, in this order
	}{
		{"GET /api/v1/hosts", 200, []string{`"id":"00000001`, `"connected":true`, `"counts":{"compute.vm":3,"net.link":1}`, `"connected":false`, `"reason":"timeout"`}},
		{"GET /api/v1/hosts?connected=false&name=kvm-*", 200, []string{`{"items":[{"id":"00000002`}},
		{"GET /api/v1/hosts?limit=1", 200, []string{`"continue":"`}},
		{"GET /api/v1/hosts?limit=no", 400, []string{"limit"}},
		{"GET /api/v1/hosts?colour=red", 400, []string{"colour"}},
		{"GET " + host, 200, []string{`"roles":[]`}},
		{"GET /api/v1/hosts/nobody", 404, []string{"UUID"}},
		{"GET /api/v1/hosts/" + string(hostID(9)), 404, []string{"no host"}},
		{"GET /api/v1/resources/compute.vm?name=web-*", 200, []string{"web-1", "web-2", `"revision":"`}},
		{"GET /api/v1/resources/compute.vm?state=shut_off", 200, []string{`"items":[{`, "web-2", `"stale":false`}},
		{"GET /api/v1/resources/compute.vm?source=libvirt&name=db-1", 200, []string{`"items":[{`, "db-1"}},
		{"GET /api/v1/resources/compute.vm?source=vcenter-east", 200, []string{`"items":[]`}},
		{"GET /api/v1/resources/compute.vm?cluster=prod", 200, []string{`"items":[]`}},
		{"GET /api/v1/resources/compute.vm?stale=true", 200, []string{`"items":[]`}},
		{"GET /api/v1/resources/compute.vm?stale=perhaps", 400, []string{"stale"}},
		{"GET /api/v1/resources/compute.vm?continue=%25", 400, []string{"continue"}},
		{"GET /api/v1/resources/no.kind", 200, []string{`"items":[]`}},
		{"GET " + host + "/resources/net.link/name/br0", 200, []string{`"id":"name/br0"`, `"state":"up"`}},
		{"GET " + host + "/resources/net.link/name/br1", 404, nil},
		{"GET " + host + "/stats/vms", 200, []string{`[{"id":"x"}]`}},
		{"GET /api/v1/hosts/" + string(b.p.Host) + "/stats/vms", 503, []string{"disconnected: timeout"}},
		{"GET /api/v1/kinds", 200, []string{`{"kind":"compute.vm","resources":3,"hosts":1,"invalid":0,"core":true`}},
		{"GET /api/v1/kinds?schemas=perhaps", 400, []string{"schemas"}},
		{"GET /api/v1/kinds/compute.vm", 200, []string{`"columns":[{"name":"CLUSTER"`}},
		{"GET /api/v1/kinds/no.kind", 404, []string{"no.kind"}},
		{"GET /api/v1/resources/compute.vm?id=" + vm(1, "", "").ID, 200, []string{`"items":[{`, "web-2", `}]`}},
		{"GET /api/v1/resources/compute.vm?id=" + vm(1, "", "").ID + "&name=web-1", 200, []string{`"items":[]`}},
		{"GET /api/v1/resources/compute.vm?invalid=true", 200, []string{`"items":[]`}},
		{"GET /api/v1/resources/compute.vm?invalid=perhaps", 400, []string{"invalid"}},
		{"GET /api/v1/events?host=" + string(a.p.Host), 200, []string{`"detail":"started"`}},
		{"GET /api/v1/events?type=gap", 200, []string{`"items":[]`}},
		{"GET /resmgr/v1/hosts", 200, []string{`"responding":true`, `"last_response_time":null`, `"responding":false`}},
		{"GET /resmgr/v1/hosts?role_settings=true", 400, nil},
		{"GET /resmgr/v2/hosts?role_settings=true", 200, []string{`"role_settings":{}`}},
		{"GET /resmgr/v2/hosts/" + string(a.p.Host), 200, []string{`"roles":[]`, `"extensions":{"interfaces"`}},
		{"GET /resmgr/v1/hosts/" + string(hostID(9)), 404, []string{`"message":"HostNotFound`}},
		{"GET /resmgr/v1/roles", 200, []string{"[]"}},
		{"GET /versions", 200, []string{"/resmgr/v2"}},
		{"DELETE /resmgr/v1/hosts/" + string(b.p.Host), 204, nil},
		{"DELETE " + host + "0", 404, nil},
		{"DELETE " + host, 204, nil},
		{"GET /api/v1/hosts", 200, []string{`{"items":[]}`}},
	} {
		method, path, _ := strings.Cut(tc.call, " ")
		status, body := call(t, method, srv.URL+path)
		if status != tc.status {
			t.Errorf("%s: status %d, want %d: %s", tc.call, status, tc.status, body)
		}
		rest := body
		for _, w := range tc.want {
			_, after, ok := strings.Cut(rest, w)
			if !ok {
				t.Errorf("%s: no %s in %s", tc.call, w, body)
			}
			rest = after
		}
	}
	if want := string(a.p.Host); dialled != want+" agent" || revoked != want {
		t.Errorf("dialled %q, revoked %q", dialled, revoked)
	}
}

// once is a listener of one connection.
type once struct {
	c    net.Conn
	done bool
}

func (o *once) Accept() (net.Conn, error) {
	if o.done {
		return nil, net.ErrClosed
	}
	o.done = true
	return o.c, nil
}
func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return o.c.LocalAddr() }

func TestReadersMayNotDelete(t *testing.T) {
	m := newManager(t, Limits{})
	a := newAgent(1)
	a.connect(t, m)
	srv := serve(t, m, httpapi.Reader)
	for _, prefix := range []string{"/api/v1", "/resmgr/v1", "/resmgr/v2"} {
		if status, body := call(t, "DELETE", srv.URL+prefix+"/hosts/"+string(a.p.Host)); status != http.StatusForbidden {
			t.Errorf("%s: status %d: %s", prefix, status, body)
		}
	}
}

// A page's items are what a list of the same kind says one by one.
func TestResourceDocument(t *testing.T) {
	m := newManager(t, Limits{})
	a := newAgent(1)
	r := vm(1, "web", inventory.VMRunning)
	r.Ext = json.RawMessage(`{"acme.com/rack":"7"}`)
	a.mirror[r.Key] = r
	a.connect(t, m)
	status, body := call(t, "GET", serve(t, m, httpapi.Reader).URL+"/api/v1/resources/compute.vm")
	var page api.Resources
	if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 || len(page.Items) != 1 {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	got := page.Items[0]
	if got.Host != a.p.Host || got.Key != r.Key || got.Name != "web" || got.State != "running" || got.Source != "libvirt" ||
		string(got.Spec) != string(r.Spec) || string(got.Ext) != string(r.Ext) || got.Revision == 0 || got.Generation != 1 {
		t.Errorf("got %+v", got)
	}
}
