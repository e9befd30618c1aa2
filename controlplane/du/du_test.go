package du

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const hostA, hostB wire.HostID = "00000001-0000-4000-8000-000000000000", "00000002-0000-4000-8000-000000000000"

// A unit is a running deployment unit and an administrator's view of it.
type unit struct {
	t     *testing.T
	base  string // https://...
	roots *x509.CertPool
	token string
	stop  func()
	http  *http.Client
}

func start(t *testing.T, state string) *unit {
	t.Helper()
	d, err := New(t.Context(), Config{State: state, Listen: "127.0.0.1:0", FQDN: "du.test", Names: []string{"127.0.0.1"}}, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	ready := make(chan net.Addr, 1)
	go func() { ended <- d.Run(ctx, func(a net.Addr) { ready <- a }) }()
	u := &unit{t: t, roots: x509.NewCertPool()}
	stopped := false
	u.stop = func() {
		if stopped {
			return
		}
		stopped = true
		u.http.CloseIdleConnections()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the deployment unit does not end")
		}
	}
	select {
	case a := <-ready:
		u.base = "https://" + a.String()
	case err := <-ended:
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(state, AuthorityFile))
	if err != nil || !u.roots.AppendCertsFromPEM(pem) {
		t.Fatalf("read the authority: %v", err)
	}
	token, err := os.ReadFile(filepath.Join(state, AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	u.token = strings.TrimSpace(string(token))
	u.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: u.roots}}}
	t.Cleanup(u.stop)
	return u
}

// call asks the API and decodes the answer into out, if not nil.
func (u *unit) call(method, path string, in, out any) int {
	u.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			u.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(u.t.Context(), method, u.base+path, body)
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	res, err := u.http.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			u.t.Fatalf("%s %s: %s: %v: %s", method, path, res.Status, err, b)
		}
	}
	return res.StatusCode
}

// eventually asks until the condition holds.
func (u *unit) eventually(what string, holds func() bool) {
	u.t.Helper()
	late := time.After(10 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !holds(); {
		select {
		case <-tick:
		case <-late:
			u.t.Fatalf("it never comes about that %s", what)
		}
	}
}

func (u *unit) host(id wire.HostID) (h api.Host) {
	u.t.Helper()
	u.call("GET", "/api/v1/hosts/"+string(id), nil, &h)
	return h
}

// An agent is the far side: a certificate and a tunnel.
type agent struct {
	u    *unit
	id   wire.HostID
	cert tls.Certificate
	s    *tunnel.Session
	http *http.Client
}

// enroll makes a join token and trades it.
func (u *unit) enroll(id wire.HostID) *agent {
	u.t.Helper()
	var made struct{ Secret string }
	if s := u.call("POST", "/api/v1/join-tokens", map[string]any{"kind": "host", "host": id}, &made); s != http.StatusCreated {
		u.t.Fatalf("make a join token: status %d", s)
	}
	key, err := pki.NewKey()
	if err != nil {
		u.t.Fatal(err)
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		u.t.Fatal(err)
	}
	var got wire.Certificate
	if s := u.call("POST", "/api/v1/enroll", wire.EnrollRequest{Token: made.Secret, CSR: string(csr), HostID: id, Hostname: "kvm", Kind: "host"}, &got); s != http.StatusCreated {
		u.t.Fatalf("enrol: status %d", s)
	}
	pemKey, err := pki.EncodeKey(key)
	if err != nil {
		u.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(got.Certificate), pemKey)
	if err != nil {
		u.t.Fatal(err)
	}
	return &agent{u: u, id: id, cert: cert}
}

func (u *unit) dial(cert *tls.Certificate, services *tunnel.Services) (*tunnel.Session, error) {
	conf := &tls.Config{RootCAs: u.roots, ServerName: "du.test"}
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	ctx, cancel := context.WithTimeout(u.t.Context(), 10*time.Second)
	defer cancel()
	return (&tunnel.Dialer{TLS: conf, Timeout: 10 * time.Second}).Connect(ctx, "wss"+strings.TrimPrefix(u.base, "https")+wire.TunnelPath, tunnel.Config{Services: services})
}

// connect opens the tunnel and offers the agent's own API.
func (a *agent) connect() {
	t := a.u.t
	t.Helper()
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServiceAgent)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `[{"id":%q}]`, a.id)
	})}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	a.connectWith(services)
}

// connectWith opens the tunnel and offers services.
func (a *agent) connectWith(services *tunnel.Services) {
	t := a.u.t
	t.Helper()
	var err error
	if a.s, err = a.u.dial(&a.cert, services); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.s.Close("test ends") })
	a.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return a.s.Dial(ctx, strings.TrimSuffix(addr, ":80"))
		},
	}}
}

func (a *agent) post(url string, in, out any) int {
	t := a.u.t
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.http.Post(url, "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

func vm(name, state string) wire.Resource {
	spec, _ := json.Marshal(inventory.VM{State: state}) // a struct of ours
	return wire.Resource{Key: plugin.Key{Kind: inventory.KindVM, ID: "vm-" + name}, Name: name, Spec: spec, Source: "libvirt", Generation: 1}
}

func digests(rs ...wire.Resource) map[string]wire.Digest {
	var d wire.Digest
	for i := range rs {
		d.Add(rs[i].Hash())
	}
	return map[string]wire.Digest{inventory.KindVM: d}
}

// hello says what the host holds and returns what the DU needs.
func (a *agent) hello(rs ...wire.Resource) []string {
	a.u.t.Helper()
	var w wire.Welcome
	if s := a.post("http://resmgr/v1/hello", wire.Hello{
		Version: 1, Hostname: "kvm", Hypervisor: "kvm", Epoch: 1, Time: time.Now(), Digests: digests(rs...),
		Sources: []wire.SourceStatus{{Name: "libvirt", State: "ok", Kinds: []string{inventory.KindVM}}},
	}, &w); s != http.StatusOK {
		a.u.t.Fatalf("hello: status %d", s)
	}
	return w.Need
}

func (a *agent) report(r wire.Report) wire.Ack {
	a.u.t.Helper()
	var ack wire.Ack
	r.Epoch = 1
	if s := a.post("http://resmgr/v1/report", r, &ack); s != http.StatusOK {
		a.u.t.Fatalf("report: status %d", s)
	}
	return ack
}

func TestFromEnrolmentToRevocation(t *testing.T) {
	state := t.TempDir()
	u := start(t, state)
	a, b := u.enroll(hostA), u.enroll(hostB)
	a.connect()
	b.connect()

	// Both hosts name a VM of one id; each has its own.
	webA, webB := vm("web", "running"), vm("web", "shut_off")
	for _, x := range []struct {
		*agent
		r wire.Resource
	}{{a, webA}, {b, webB}} {
		if need := x.hello(x.r); len(need) != 1 || need[0] != inventory.KindVM {
			t.Fatalf("hello needs %q", need)
		}
		if ack := x.report(wire.Report{Seq: 1, Full: inventory.KindVM, Begin: true, End: true, Upserts: []wire.Resource{x.r}, Digests: digests(x.r)}); len(ack.Need) > 0 {
			t.Fatalf("report needs %q", ack.Need)
		}
	}
	var page api.Resources
	u.call("GET", "/api/v1/resources/compute.vm", nil, &page)
	if len(page.Items) != 2 || page.Items[0].State != "running" || page.Items[1].State != "shut_off" || page.Items[0].Stale {
		t.Fatalf("list: %+v", page)
	}

	// A change is seen by a watch that follows the list.
	req, err := http.NewRequestWithContext(t.Context(), "GET", u.base+"/api/v1/watch?kind=compute.vm&since="+page.Revision, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	res, err := u.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	began := time.Now()
	webA = vm("web", "paused")
	a.report(wire.Report{Seq: 2, Upserts: []wire.Resource{webA}, Digests: digests(webA)})
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data:") {
			if !strings.Contains(lines.Text(), `"state":"paused"`) || !strings.Contains(lines.Text(), string(hostA)) {
				t.Fatalf("watch: %s", lines.Text())
			}
			break
		}
	}
	t.Logf("a change took %v to the watch", time.Since(began))

	// History is acknowledged, and there for the reading.
	var eack wire.EventsAck
	a.post("http://resmgr/v1/events", wire.Events{Events: []wire.Event{{Epoch: 1, Seq: 7, Time: time.Now(), Type: "state", Detail: "running -> paused"}}}, &eack)
	var events api.Events
	u.call("GET", "/api/v1/events?host="+string(hostA), nil, &events)
	if eack.Seq != 7 || len(events.Items) != 1 || events.Items[0].Detail != "running -> paused" {
		t.Fatalf("events: %+v, %+v", eack, events)
	}

	// The DU dials back, and the host renews its certificate.
	var stats []inventory.VMStats
	if s := u.call("GET", "/api/v1/hosts/"+string(hostB)+"/stats/vms", nil, &stats); s != http.StatusOK || len(stats) != 1 || stats[0].ID != string(hostB) {
		t.Fatalf("dial back: status %d, %+v", s, stats)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	var renewed wire.Certificate
	if s := b.post("http://certrepo/v1/renew", wire.RenewRequest{CSR: string(csr)}, &renewed); s != http.StatusOK || renewed.HostID != hostB {
		t.Fatalf("renew: status %d, %+v", s, renewed)
	}

	// Revocation cuts the tunnel, and the host may not come back.
	cut := time.Now()
	if s := u.call("POST", "/api/v1/hosts/"+string(hostB)+"/revoke", map[string]any{"reason": "stolen"}, nil); s != http.StatusNoContent {
		t.Fatalf("revoke: status %d", s)
	}
	select {
	case <-b.s.Done():
	case <-time.After(time.Second):
		t.Fatal("the tunnel of a revoked host stands after a second")
	}
	t.Logf("revocation took %v to cut the tunnel", time.Since(cut))
	u.eventually("the revoked host is disconnected", func() bool { h := u.host(hostB); return !h.Connected && strings.Contains(h.Reason, "stolen") })

	// The control plane restarts: it knows what it knew, and says it is stale.
	u.stop()
	u = start(t, state)
	a.u, b.u = u, u
	u.call("GET", "/api/v1/resources/compute.vm?host="+string(hostA), nil, &page)
	if len(page.Items) != 1 || !page.Items[0].Stale || page.Items[0].State != "paused" {
		t.Fatalf("after a restart: %+v", page)
	}
	a.connect()
	if need := a.hello(webA); len(need) != 0 {
		t.Fatalf("after a restart hello needs %q", need)
	}
	u.call("GET", "/api/v1/resources/compute.vm?host="+string(hostA), nil, &page)
	if len(page.Items) != 1 || page.Items[0].Stale {
		t.Fatalf("after the host is back: %+v", page)
	}

	// Deleting a host revokes it and forgets it.
	if s := u.call("DELETE", "/api/v1/hosts/"+string(hostA), nil, nil); s != http.StatusNoContent {
		t.Fatalf("delete: status %d", s)
	}
	u.eventually("the deleted host's tunnel ends", func() bool {
		select {
		case <-a.s.Done():
			return true
		default:
			return false
		}
	})
	var hosts api.Hosts
	u.call("GET", "/api/v1/hosts", nil, &hosts)
	if len(hosts.Items) != 1 || hosts.Items[0].ID != hostB {
		t.Fatalf("after the deletion: %+v", hosts)
	}
}

func TestRefusedTunnelsAreExplainedAndAudited(t *testing.T) {
	u := start(t, t.TempDir())
	elsewhere := start(t, t.TempDir()).enroll(hostA) // the same name, another authority
	revoked := u.enroll(hostB)
	u.call("POST", "/api/v1/hosts/"+string(hostB)+"/revoke", nil, nil)
	for _, tc := range []struct {
		cert *tls.Certificate
		want string
	}{
		{nil, "no client certificate"},
		{&elsewhere.cert, "another authority"},
		{&revoked.cert, "was revoked"},
	} {
		_, err := u.dial(tc.cert, nil)
		se, ok := errors.AsType[*tunnel.StatusError](err)
		if !ok || se.Code != http.StatusForbidden || !strings.Contains(se.Message, tc.want) {
			t.Errorf("got %v, want status 403 with %q", err, tc.want)
		}
		u.eventually("the audit tells of "+tc.want, func() bool {
			var list struct {
				Entries []struct{ Outcome, Reason string }
			}
			u.call("GET", "/api/v1/audit?action=tunnel.refused", nil, &list)
			for _, e := range list.Entries {
				if e.Outcome == "refused" && strings.Contains(e.Reason, tc.want) {
					return true
				}
			}
			return false
		})
	}
}

func TestOpenAndGuardedPaths(t *testing.T) {
	u := start(t, t.TempDir())
	admin := u.token
	for _, tc := range []struct {
		path, token string
		status      int
	}{
		{"/healthz", "", 200},
		{"/versions", "", 200},
		{"/api/v1/openapi.json", "", 200},
		{"/api/v1/ca", "", 200},
		{"/api/v1/hosts", "", 401},
		{"/metrics", "", 401},
		{"/resmgr/v1/hosts", "", 401},
		{"/api/v1/watch", "", 401},
		{"/metrics", admin, 200},
		{"/api/v1/hosts", admin, 200},
		{"/nowhere", admin, 404},
		{"/api/v1/hosts?x=1", admin, 400},
		{wire.TunnelPath, "", 403},
	} {
		u.token = tc.token
		if s := u.call("GET", tc.path, nil, nil); s != tc.status {
			t.Errorf("GET %s: status %d, want %d", tc.path, s, tc.status)
		}
	}
	u.token = admin
	var doc struct{ Paths map[string]map[string]any }
	u.call("GET", "/api/v1/openapi.json", nil, &doc)
	for _, p := range []string{"/api/v1/hosts/{id}/resources/{kind}/{rid}", "/resmgr/v2/hosts", "/api/v1/enroll", "/metrics", "/api/v1/hosts/{host}/actions/{id}"} {
		if doc.Paths[p] == nil {
			t.Errorf("the OpenAPI document lacks %s", p)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"no state":   {FQDN: "du.test"},
		"no name":    {State: "x"},
		"odd name":   {State: "x", FQDN: "Du.test"},
		"odd listen": {State: "x", FQDN: "du.test", Listen: "443"},
	} {
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
