package actions

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A site is a simulated vCenter behind a TLS front that can lose messages, and
// an executor in front of it.
type site struct {
	t       *testing.T
	model   *simulator.Model
	front   *httptest.Server
	ca      string
	account *url.Userinfo
	journal string
	client  *vim25.Client // ours, not the executor's
	vms     []mo.VirtualMachine

	mu     sync.Mutex // guards the fields below
	calls  []string   // methods that reached vCenter
	lose   map[string]string
	off    error
	inside func(types.ManagedObjectReference) bool
	audit  []actions.AuditLine
	logins int
}

// Ways to lose a call, once: before it reaches vCenter, or its answer, at once
// or when the caller has gone.
const (
	loseCall   = "call"
	loseAnswer = "answer"
	holdAnswer = "hold"
	closeFront = "close" // it is answered, and nobody listens from then on
)

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, journal: filepath.Join(t.TempDir(), "actions.journal"), lose: map[string]string{}}
	s.inside = func(ref types.ManagedObjectReference) bool { return ref.ServerGUID == s.uuid() }
	t.Cleanup(func() { simulator.TaskDelay.MethodDelay = nil }) // when the simulator has ended
	s.model = simulator.VPX()
	if err := s.model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.model.Remove)
	s.model.Service.TLS = new(tls.Config)
	sim := s.model.Service.NewServer()
	t.Cleanup(sim.Close)
	s.account = sim.URL.User
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: sim.URL.Host})
	pass.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the simulator's own certificate, in this process
	pass.ErrorLog = log.New(io.Discard, "", 0)                                               // calls are given up on purpose
	s.front = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.forward(w, r, pass) }))
	t.Cleanup(s.front.Close)
	s.ca = writeCA(t, s.front)
	s.client = s.login()
	s.lookAtAll()
	return s
}

// forward passes a call on, unless it is to be lost.
func (s *site) forward(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	_, after, _ := strings.Cut(string(body), "Body")
	_, after, _ = strings.Cut(after, "<")
	method := strings.FieldsFunc(after, func(c rune) bool { return c == ' ' || c == '>' })[0]
	s.mu.Lock()
	how := s.lose[method]
	delete(s.lose, method)
	if how != loseCall {
		s.calls = append(s.calls, method)
	}
	s.mu.Unlock()
	switch how {
	case "":
		pass.ServeHTTP(w, r)
		return
	case closeFront:
		_ = s.front.Listener.Close()
		w.Header().Set("Connection", "close")
		pass.ServeHTTP(w, r)
		return
	case loseAnswer:
		pass.ServeHTTP(httptest.NewRecorder(), r)
	case holdAnswer:
		pass.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
		<-r.Context().Done()
	}
	panic(http.ErrAbortHandler) // the connection breaks
}

// host is the front's address.
func (s *site) host() string { return s.front.Listener.Addr().String() }

func (s *site) uuid() string { return s.client.ServiceContent.About.InstanceUuid }

func (s *site) login() *vim25.Client {
	s.t.Helper()
	c, err := login(s.t.Context(), s.front.URL, s.ca, s.account)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func login(ctx context.Context, front, ca string, account *url.Userinfo) (*vim25.Client, error) {
	u, err := url.Parse(front + "/sdk")
	if err != nil {
		return nil, err
	}
	sc := soap.NewClient(u, false)
	if err := sc.SetRootCAs(ca); err != nil {
		return nil, err
	}
	c, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, err
	}
	password, _ := account.Password()
	_, err = methods.Login(ctx, c, &types.Login{This: *c.ServiceContent.SessionManager, UserName: account.Username(), Password: password})
	return c, err
}

// lookAtAll lists the VMs by name.
func (s *site) lookAtAll() {
	s.t.Helper()
	m := s.model.Map().All("VirtualMachine")
	refs := make([]types.ManagedObjectReference, 0, len(m))
	for _, e := range m {
		refs = append(refs, e.Reference())
	}
	s.vms = nil
	if err := property.DefaultCollector(s.client).Retrieve(s.t.Context(), refs, []string{"name", "runtime", "snapshot", "guest"}, &s.vms); err != nil {
		s.t.Fatal(err)
	}
	slices.SortFunc(s.vms, func(a, b mo.VirtualMachine) int { return strings.Compare(a.Name, b.Name) })
}

func (s *site) target(vm int) plugin.Key {
	return plugin.Key{Kind: inventory.KindVM, ID: s.uuid() + "/" + s.vms[vm].Self.Value}
}

func (s *site) power(vm int) types.VirtualMachinePowerState {
	s.t.Helper()
	s.lookAtAll()
	return s.vms[vm].Runtime.PowerState
}

// set changes a VM in the simulator, which has no call for it.
func (s *site) set(vm int, changes ...types.PropertyChange) {
	s.model.Service.Context.Update(s.model.Map().Get(s.vms[vm].Self), changes)
}

func (s *site) setPower(vm int, state types.VirtualMachinePowerState) {
	s.set(vm, types.PropertyChange{Name: "runtime.powerState", Val: state})
}

func (s *site) tools(vm int) {
	s.set(vm, types.PropertyChange{Name: "guest.toolsRunningStatus", Val: string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)})
}

func (s *site) losing(method, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose[method] = how
}

// called counts how often a method reached vCenter.
func (s *site) called(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if c == method {
			n++
		}
	}
	return n
}

// works says whether vCenter has tasks that have not ended.
func (s *site) works() bool {
	s.t.Helper()
	var m mo.TaskManager
	pc := property.DefaultCollector(s.client)
	if err := pc.RetrieveOne(s.t.Context(), *s.client.ServiceContent.TaskManager, []string{"recentTask"}, &m); err != nil {
		s.t.Fatal(err)
	}
	var tasks []mo.Task
	if err := pc.Retrieve(s.t.Context(), m.RecentTask, []string{"info"}, &tasks); err != nil {
		s.t.Fatal(err)
	}
	return slices.ContainsFunc(tasks, func(t mo.Task) bool {
		return t.Info.State != types.TaskInfoStateSuccess && t.Info.State != types.TaskInfoStateError
	})
}

func (s *site) options() Options {
	var mu sync.Mutex // guards c
	var c *vim25.Client
	return Options{
		Resolve: func(ctx context.Context, target plugin.Key) (*vim25.Client, types.ManagedObjectReference, error) {
			_, ref, err := ParseTarget(target)
			if err != nil {
				return nil, ref, err
			}
			mu.Lock()
			defer mu.Unlock()
			if c == nil {
				s.mu.Lock()
				s.logins++
				s.mu.Unlock()
				if c, err = login(ctx, s.front.URL, s.ca, s.account); err != nil {
					return nil, ref, &AtError{s.host(), err}
				}
			}
			return c, ref, nil
		},
		Lost: func(lost *vim25.Client) {
			mu.Lock()
			defer mu.Unlock()
			if c == lost {
				c = nil
			}
		},
		Permit: func(ref types.ManagedObjectReference) error {
			if !s.inside(ref) {
				return Denied("it is outside of what was delegated")
			}
			return s.switched()
		},
		Control: s.switched,
		Journal: s.journal,
		Audit: func(l actions.AuditLine) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.audit = append(s.audit, l)
		},
	}
}

// switched says whether control is switched off.
func (s *site) switched() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.off
}

// A gateway is an executor that runs and is spoken to over a socket.
type gateway struct {
	s    *site
	x    *Executor
	web  *httptest.Server
	stop func()
}

func (s *site) gateway(change func(*Options)) *gateway {
	s.t.Helper()
	o := s.options()
	if change != nil {
		change(&o)
	}
	x, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	x.settleAfter = 200 * time.Millisecond
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := x.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	g := &gateway{s: s, x: x, web: httptest.NewServer(x.Handler())}
	var once sync.Once
	g.stop = func() { once.Do(func() { cancel(); wg.Wait(); g.web.Close() }) }
	s.t.Cleanup(g.stop)
	return g
}

var lastID int

func request(s *site, vm int, action string) *wire.ActionRequest {
	lastID++
	now := time.Now().Add(time.Hour) // the deployment unit's clock is not ours
	return &wire.ActionRequest{
		ID: fmt.Sprintf("test-action-%d", lastID), Action: action, Target: s.target(vm), RequestedBy: "tester",
		Requested: now, Deadline: now.Add(20 * time.Second),
	}
}

// ask sends a message and returns all that is said. It may be called from any
// goroutine; a status of 0 says that the test has failed.
func (g *gateway) ask(path string, in any) (all []wire.ActionOutcome, status int) {
	g.s.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		g.s.t.Error(err)
		return nil, 0
	}
	res, err := http.Post(g.web.URL+path, "application/json", bytes.NewReader(body))
	if err != nil {
		g.s.t.Error(err)
		return nil, 0
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, res.StatusCode
	}
	for d := json.NewDecoder(res.Body); ; {
		var o wire.ActionOutcome
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all, res.StatusCode
		} else if err != nil {
			g.s.t.Error(err)
			return all, 0
		}
		all = append(all, o)
	}
}

// do carries an action out and returns its end.
func (g *gateway) do(q *wire.ActionRequest) (last wire.ActionOutcome) {
	g.s.t.Helper()
	all, status := g.ask("/v1/actions", q)
	if status != http.StatusOK || len(all) == 0 {
		g.s.t.Errorf("%s: status %d, %d lines", q.Action, status, len(all))
		return last
	}
	return all[len(all)-1]
}

// eventually waits for a condition.
func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	late := time.After(20 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !holds(); {
		select {
		case <-tick:
		case <-late:
			s.t.Fatalf("it never comes about that %s", what)
		}
	}
}

// delayed has the simulator take its time for a task.
func (s *site) delayed(task string, d time.Duration) {
	simulator.TaskDelay.MethodDelay = map[string]int{task: int(d / time.Millisecond), "LockHandoff": 0}
}

// sessions are the keys of all sessions but the client's own.
func (s *site) sessions(c *vim25.Client) (keys []string) {
	s.t.Helper()
	var m mo.SessionManager
	if err := property.DefaultCollector(c).RetrieveOne(s.t.Context(), *c.ServiceContent.SessionManager, []string{"sessionList", "currentSession"}, &m); err != nil {
		s.t.Fatal(err)
	}
	for _, x := range m.SessionList {
		if x.Key != m.CurrentSession.Key {
			keys = append(keys, x.Key)
		}
	}
	return keys
}
