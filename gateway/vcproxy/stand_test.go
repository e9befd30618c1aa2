package vcproxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/cli"
	_ "github.com/vmware/govmomi/cli/about"
	_ "github.com/vmware/govmomi/cli/datastore"
	_ "github.com/vmware/govmomi/cli/importx"
	_ "github.com/vmware/govmomi/cli/object"
	_ "github.com/vmware/govmomi/cli/role"
	_ "github.com/vmware/govmomi/cli/session"
	_ "github.com/vmware/govmomi/cli/vm"
	_ "github.com/vmware/govmomi/cli/vm/disk"
	_ "github.com/vmware/govmomi/cli/vm/snapshot"
	_ "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/property"
	vsession "github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// The real account, which no client may ever see, and the one at the broker.
const (
	realUser     = "gateway-control@vsphere.local"
	realPassword = "Real-Passw0rd-Of-vCenter"
	localUser    = "nova"
	localSecret  = "dummy"
)

// TestMain makes this program govc when a test starts it so.
func TestMain(m *testing.M) {
	if os.Getenv("BE_GOVC") == "1" {
		os.Exit(cli.Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// stand is a vCenter with a broker before it.
type stand struct {
	model  *simulator.Model
	vc     *simulator.Server
	broker *vcproxy.Broker
	server *httptest.Server
	dir    string
	log    *lockedBuffer
	wire   *lockedBuffer // what the broker sent to its clients
	stop   context.CancelFunc
	tap    *tap

	mu              sync.Mutex // guards the fields below
	logins, logouts int
}

// tap is the transport to vcsim. It keeps what is sent.
type tap struct {
	base http.RoundTripper
	hold func(*http.Request) // may block a request; nil: none
	// stream is called when a file is sent, which is not read here; nil: it is read
	// like everything else.
	stream func()

	mu   sync.Mutex // guards seen
	seen []sent
}

type sent struct {
	header http.Header
	path   string
	body   string
}

func (p *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	one := sent{header: r.Header.Clone(), path: r.URL.Path}
	if p.stream != nil && r.Method == http.MethodPut {
		p.stream()
		return p.base.RoundTrip(r)
	}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		one.body = string(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	p.mu.Lock()
	p.seen = append(p.seen, one)
	p.mu.Unlock()
	if p.hold != nil {
		p.hold(r)
	}
	return p.base.RoundTrip(r)
}

// count says how many requests with that text were sent.
func (p *tap) count(text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.seen {
		if strings.Contains(one.body, text) {
			n++
		}
	}
	return n
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newStand starts vcsim over TLS, with the real account only, and a broker over
// TLS. change may alter the options.
func newStand(t testing.TB, change func(*stand, *vcproxy.Options)) *stand {
	t.Helper()
	return newStandWith(t, nil, change)
}

// newStandWith does the same after it altered the model.
func newStandWith(t testing.TB, before func(*simulator.Model), change func(*stand, *vcproxy.Options)) *stand {
	t.Helper()
	s := &stand{model: simulator.VPX(), dir: t.TempDir(), log: new(lockedBuffer), wire: new(lockedBuffer)}
	s.model.Datastore = 2
	if err := s.model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.model.Remove)
	s.model.Service.TLS = new(tls.Config)
	s.model.Service.RegisterEndpoints = true
	s.model.Service.Listen = &url.URL{User: url.UserPassword(realUser, realPassword)}
	if before != nil {
		before(s.model)
	}
	s.vc = s.model.Service.NewServer()
	t.Cleanup(s.vc.Close)
	opts := vcproxy.Options{
		Upstream: s.upstream(), AuditFile: filepath.Join(s.dir, "audit.log"), SwitchFile: filepath.Join(s.dir, "switch"),
		Authenticate: vcproxy.LocalSecret(localUser, localSecret), Certificate: ownCertificate(),
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	opts.Scope = s.everything(t)
	if change != nil {
		change(s, &opts)
	}
	b, err := vcproxy.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.broker = b
	s.server = httptest.NewUnstartedServer(s.recorded(b))
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(func() {
		s.server.Close()
		s.stop()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ownCertificate is what all servers of httptest show.
func ownCertificate() []byte {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return server.Certificate().Raw
}

// recorded keeps everything that goes to clients.
func (s *stand) recorded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&recorder{w, s.wire}, r)
	})
}

type recorder struct {
	http.ResponseWriter
	to io.Writer
}

func (r *recorder) WriteHeader(status int) {
	_ = r.Header().Write(r.to)
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	_, _ = r.to.Write(b)
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// upstream is the way to vcsim: pinned to its certificate, logged in by govmomi.
func (s *stand) upstream() vcproxy.Upstream {
	roots := x509.NewCertPool()
	roots.AddCert(s.vc.Certificate())
	u := &url.URL{Scheme: "https", Host: s.vc.URL.Host, Path: "/sdk"}
	connect := func(ctx context.Context) (*soap.Client, *vim25.Client, error) {
		sc := soap.NewClient(u, true)
		vc, err := vim25.NewClient(ctx, sc)
		return sc, vc, err
	}
	s.tap = &tap{base: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	return vcproxy.Upstream{
		URL:       u,
		Transport: s.tap,
		Login: func(ctx context.Context) (vcproxy.Login, error) {
			sc, vc, err := connect(ctx)
			if err != nil {
				return vcproxy.Login{}, err
			}
			m := vsession.NewManager(vc)
			if err := m.Login(ctx, url.UserPassword(realUser, realPassword)); err != nil {
				return vcproxy.Login{}, err
			}
			s.mu.Lock()
			s.logins++
			s.mu.Unlock()
			return vcproxy.Login{Cookies: sc.Jar.Cookies(u), Logout: func(ctx context.Context) error {
				s.mu.Lock()
				s.logouts++
				s.mu.Unlock()
				return m.Logout(ctx)
			}}, nil
		},
	}
}

// admin is a connection to vcsim beside the broker.
func (s *stand) admin(t testing.TB) *vim25.Client {
	t.Helper()
	u := *s.vc.URL
	u.User = nil
	vc, err := vim25.NewClient(t.Context(), soap.NewClient(&u, true))
	if err != nil {
		t.Fatal(err)
	}
	m := vsession.NewManager(vc)
	if err := m.Login(t.Context(), url.UserPassword(realUser, realPassword)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Logout(context.Background()) })
	return vc
}

// inventory is what discovery would know of vcsim.
type inventory struct {
	mu      sync.Mutex // guards the fields below
	objects map[string]vcproxy.Object
	files   map[string][]string // of machines, such as "[ds] dir/disk.vmdk"
}

func (i *inventory) Users(datastore vcproxy.Ref, top string) (refs []vcproxy.Ref) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for id, files := range i.files {
		for _, file := range files {
			if strings.HasPrefix(file, "["+i.objects[datastore.Value].Name+"] "+top+"/") {
				refs = append(refs, vcproxy.Ref{Type: "VirtualMachine", Value: id})
			}
		}
	}
	return refs
}

func (i *inventory) Object(id string) (vcproxy.Object, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	o, ok := i.objects[id]
	return o, ok
}

func (i *inventory) Named(name string) (refs []vcproxy.Ref) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for id, o := range i.objects {
		if o.Name == name {
			refs = append(refs, vcproxy.Ref{Type: o.Type, Value: id})
		}
	}
	return refs
}

// ref finds an object by its type and name.
func (i *inventory) ref(t testing.TB, kind, name string) vcproxy.Ref {
	t.Helper()
	for _, ref := range i.Named(name) {
		if ref.Type == kind {
			return ref
		}
	}
	t.Fatalf("the inventory has no %s %q", kind, name)
	return vcproxy.Ref{}
}

// prefixed finds an object by the beginning of its name.
func (i *inventory) prefixed(t testing.TB, prefix string) vcproxy.Ref {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	for id, o := range i.objects {
		if strings.HasPrefix(o.Name, prefix) {
			return vcproxy.Ref{Type: o.Type, Value: id}
		}
	}
	t.Fatalf("the inventory has no %q", prefix)
	return vcproxy.Ref{}
}

// twins puts another datacenter into the inventory, whose datastore has the name of
// a delegated one.
func (i *inventory) twins() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.objects["datacenter-9999"] = vcproxy.Object{Type: "Datacenter", Name: "Elsewhere"}
	i.objects["datastore-9999"] = vcproxy.Object{Type: "Datastore", Name: "LocalDS_0", Within: []string{"datacenter-9999"}}
}

// read fills the inventory from vcsim.
func (s *stand) read(t testing.TB) *inventory {
	t.Helper()
	vc := s.admin(t)
	ctx := t.Context()
	kinds := []string{
		"Folder", "Datacenter", "ComputeResource", "ClusterComputeResource", "HostSystem", "ResourcePool", "VirtualMachine",
		"Datastore", "Network", "DistributedVirtualPortgroup", "VmwareDistributedVirtualSwitch",
	}
	v, err := view.NewManager(vc).CreateContainerView(ctx, vc.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		t.Fatal(err)
	}
	pc := property.DefaultCollector(vc)
	var listed mo.ContainerView
	if err := pc.RetrieveOne(ctx, v.Reference(), []string{"view"}, &listed); err != nil {
		t.Fatal(err)
	}
	inv := &inventory{objects: make(map[string]vcproxy.Object), files: make(map[string][]string)}
	parents := make(map[string][]string)
	for _, ref := range append(listed.View, vc.ServiceContent.RootFolder) {
		var e mo.ManagedEntity
		if err := pc.RetrieveOne(ctx, ref, []string{"name", "parent"}, &e); err != nil {
			t.Fatal(err)
		}
		o := vcproxy.Object{Type: ref.Type, Name: e.Name}
		if e.Parent != nil {
			parents[ref.Value] = append(parents[ref.Value], e.Parent.Value)
		}
		if ref.Type == "VirtualMachine" {
			var vm mo.VirtualMachine
			if err := pc.RetrieveOne(ctx, ref, []string{"resourcePool", "config.files"}, &vm); err != nil {
				t.Fatal(err)
			}
			if vm.ResourcePool != nil {
				parents[ref.Value] = append(parents[ref.Value], vm.ResourcePool.Value)
			}
			inv.files[ref.Value] = []string{vm.Config.Files.VmPathName}
		}
		if ref.Type == "DistributedVirtualPortgroup" { // vcsim has no name here
			var pg mo.DistributedVirtualPortgroup
			if err := pc.RetrieveOne(ctx, ref, []string{"config.name"}, &pg); err != nil {
				t.Fatal(err)
			}
			o.Name = pg.Config.Name
		}
		inv.objects[ref.Value] = o
	}
	for id, o := range inv.objects {
		o.Within = ancestors(parents, id)
		inv.objects[id] = o
	}
	return inv
}

func ancestors(parents map[string][]string, id string) (all []string) {
	for _, p := range parents[id] {
		all = append(append(all, p), ancestors(parents, p)...)
	}
	return all
}

// everything delegates the whole datacenter.
func (s *stand) everything(t testing.TB) vcproxy.Scope {
	t.Helper()
	inv := s.read(t)
	return vcproxy.Delegation{Inventory: inv, Roots: []vcproxy.Ref{inv.ref(t, "Datacenter", "DC0")}}
}

// govc runs the unmodified program against the broker.
func (s *stand) govc(t *testing.T, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = []string{
		"BE_GOVC=1", "HOME=" + s.dir, "GOVMOMI_HOME=" + s.dir, "PATH=" + os.Getenv("PATH"),
		"GOVC_URL=" + s.server.URL + "/sdk", "GOVC_USERNAME=" + localUser, "GOVC_PASSWORD=" + localSecret, "GOVC_INSECURE=1",
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs govc and wants it to succeed.
func (s *stand) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.govc(t, args...)
	if err != nil {
		t.Fatalf("govc %s: %v\n%s\nlog:\n%s\naudit:\n%s", strings.Join(args, " "), err, out, s.log, s.auditText(t))
	}
	return out
}

// client is a connection to the broker that is logged in.
func (s *stand) client(t testing.TB) *vim25.Client {
	t.Helper()
	vc, err := s.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := vsession.NewManager(vc).Login(t.Context(), url.UserPassword(localUser, localSecret)); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	return vc
}

func (s *stand) connect(t testing.TB) (*vim25.Client, error) {
	t.Helper()
	u, err := url.Parse(s.server.URL + "/sdk")
	if err != nil {
		t.Fatal(err)
	}
	return vim25.NewClient(t.Context(), soap.NewClient(u, true))
}

func (s *stand) auditText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kill ends all sessions in vCenter beside the admin's own.
func (s *stand) kill(t *testing.T) int {
	t.Helper()
	vc := s.admin(t)
	var m mo.SessionManager
	if err := property.DefaultCollector(vc).RetrieveOne(t.Context(), *vc.ServiceContent.SessionManager, []string{"sessionList", "currentSession"}, &m); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, one := range m.SessionList {
		if one.Key == m.CurrentSession.Key {
			continue
		}
		if _, err := methods.TerminateSession(t.Context(), vc, &types.TerminateSession{This: m.Self, SessionId: []string{one.Key}}); err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// noSecret fails if the real password is in what left the broker.
func (s *stand) noSecret(t *testing.T) {
	t.Helper()
	for name, text := range map[string]string{"the wire": s.wire.String(), "the log": s.log.String(), "the audit": s.auditText(t)} {
		if strings.Contains(text, realPassword) || strings.Contains(text, url.QueryEscape(realPassword)) {
			t.Errorf("the real password is in %s", name)
		}
	}
}

// post sends one call to the broker as it is and returns the answer.
func (s *stand) post(t *testing.T, cookie, body string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.server.URL+"/sdk", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("SOAPAction", "urn:vim25/8.0.2.0")
	if cookie != "" {
		req.Header.Set("Cookie", "vmware_soap_session="+cookie)
	}
	if change != nil {
		change(req)
	}
	resp, err := s.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// cookie is the session of a client.
func cookie(t *testing.T, vc *vim25.Client) string {
	t.Helper()
	for _, c := range vc.Jar.Cookies(vc.URL()) {
		if c.Name == "vmware_soap_session" {
			return c.Value
		}
	}
	t.Fatal("the client has no session")
	return ""
}

func envelope(body string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soapenv:Body>` + body + `</soapenv:Body></soapenv:Envelope>`
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not in time", what)
		}
	}
}
