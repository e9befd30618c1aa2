package power

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/libvirt"
	"github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A site is a host with libvirt's test driver, and an executor that is spoken to
// over a socket.
type site struct {
	t       *testing.T
	conn    *libvirt.Conn
	journal string
	control error
	last    int
}

func newSite(t *testing.T) *site {
	d := testlibvirt.Start(t)
	s := &site{t: t, conn: libvirt.New(libvirt.Options{Socket: d.Socket(), URI: "test:///default"}), journal: filepath.Join(t.TempDir(), "journal")}
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// vm returns the driver's one VM. The driver forgets everything when nobody is
// connected, so the connection stays.
func (s *site) vm() plugin.Resource {
	s.t.Helper()
	var all []plugin.Resource
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	if err := s.conn.VMs().List(ctx, func(r plugin.Resource) { all = append(all, r) }); err != nil || len(all) != 1 {
		s.t.Fatalf("%d VMs, %v", len(all), err)
	}
	return all[0]
}

func (s *site) state() string { return s.vm().Spec.(inventory.VM).State }

// host runs an executor until the function that it returns is called.
func (s *site) host() (url string, stop func()) {
	s.t.Helper()
	x, err := New(Options{Conn: func() *libvirt.Conn { return s.conn }, Control: func() error { return s.control }, Journal: s.journal})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.Run(ctx) })
	web := httptest.NewServer(x.Handler())
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait(); web.Close() }) }
	s.t.Cleanup(stop)
	return web.URL, stop
}

func (s *site) request(action string, k plugin.Key) *wire.ActionRequest {
	s.last++
	now := time.Now()
	return &wire.ActionRequest{ID: fmt.Sprintf("test-action-%d", s.last), Action: action, Target: k, Requested: now, Deadline: now.Add(20 * time.Second)}
}

// do carries an action out and returns its end.
func (s *site) do(url, path string, q any) (last wire.ActionOutcome) {
	s.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.Post(url+path, "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for d := json.NewDecoder(res.Body); ; {
		if err := d.Decode(&last); errors.Is(err, io.EOF) {
			return last
		} else if err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestPower(t *testing.T) {
	s := newSite(t)
	url, _ := s.host()
	key := s.vm().Key
	for _, step := range []struct {
		action, state, after string
		unchanged            bool
		reason               string // part of it
	}{
		{wire.ActionPowerOn, wire.ActionSucceeded, inventory.VMRunning, true, "already on"},
		{wire.ActionReboot, wire.ActionSucceeded, "", false, ""},
		{wire.ActionPowerOff, wire.ActionSucceeded, inventory.VMShutOff, false, ""},
		{wire.ActionPowerOff, wire.ActionSucceeded, inventory.VMShutOff, true, "already off"},
		{wire.ActionShutdown, wire.ActionSucceeded, inventory.VMShutOff, true, "already off"},
		{wire.ActionReset, wire.ActionRefused, inventory.VMShutOff, false, "start it first"},
		{wire.ActionPowerOn, wire.ActionSucceeded, inventory.VMRunning, false, ""},
		{wire.ActionShutdown, wire.ActionSucceeded, inventory.VMShutOff, false, ""},
		{wire.ActionPowerOn, wire.ActionSucceeded, inventory.VMRunning, false, ""},
		{wire.ActionSuspend, wire.ActionSucceeded, inventory.VMShutOff, false, ""},
		{wire.ActionSuspend, wire.ActionSucceeded, inventory.VMShutOff, true, "already suspended"},
		{wire.ActionPowerOn, wire.ActionSucceeded, inventory.VMRunning, false, ""},
		{wire.ActionConsole, wire.ActionRefused, inventory.VMRunning, false, "no action"},
	} {
		o := s.do(url, "/v1/actions", s.request(step.action, key))
		if o.State != step.state || !strings.Contains(o.Reason, step.reason) || (o.Result != nil && o.Result.Unchanged) != step.unchanged {
			t.Errorf("%s: %+v, %+v", step.action, o, o.Result)
		}
		if got := s.state(); step.after != "" && got != step.after {
			t.Errorf("%s: the VM is %s, want %s", step.action, got, step.after)
		}
		if step.action == wire.ActionReboot && s.state() == inventory.VMShutOff { // as the test driver does
			s.do(url, "/v1/actions", s.request(wire.ActionPowerOn, key))
		}
	}
	none := plugin.Key{Kind: inventory.KindVM, ID: "00000000-0000-4000-8000-000000000000"}
	if o := s.do(url, "/v1/actions", s.request(wire.ActionPowerOn, none)); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "no such VM") {
		t.Errorf("an unknown VM: %+v", o)
	}
	none.ID = "vm-12"
	if o := s.do(url, "/v1/actions", s.request(wire.ActionPowerOn, none)); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "no VM of a KVM host") {
		t.Errorf("a VM of a vCenter: %+v", o)
	}
}

func TestNothingIsDoneUnlessAllowed(t *testing.T) {
	s := newSite(t)
	s.control = errors.New("this host lets the deployment unit look and not act")
	url, _ := s.host()
	if o := s.do(url, "/v1/actions", s.request(wire.ActionPowerOff, s.vm().Key)); o.State != wire.ActionRefused || o.Reason != s.control.Error() {
		t.Errorf("got %+v", o)
	}
	res, err := http.Get(url + "/v1/actions")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var offer wire.ActionsOffer
	if err := json.NewDecoder(res.Body).Decode(&offer); err != nil || offer.Reason != s.control.Error() {
		t.Errorf("the offer: %+v, %v", offer, err)
	}
	if got := s.state(); got != inventory.VMRunning {
		t.Errorf("the VM is %s", got)
	}
}

// What was not sent was not done, and people are told so.
func TestLibvirtIsOutOfReach(t *testing.T) {
	d := testlibvirt.Start(t)
	s := &site{t: t, conn: libvirt.New(libvirt.Options{Socket: d.Socket(), URI: "test:///default"}), journal: filepath.Join(t.TempDir(), "journal")}
	t.Cleanup(func() { _ = s.conn.Close() })
	url, _ := s.host()
	key := s.vm().Key
	d.Kill()
	o := s.do(url, "/v1/actions", s.request(wire.ActionPowerOff, key))
	if o.State != wire.ActionFailed || o.Uncertain || !strings.HasPrefix(o.Reason, "libvirt cannot be asked (") || !strings.Contains(o.Reason, "), nothing was done; try again when it answers") {
		t.Errorf("got %+v", o)
	}
}

func TestAnInterruptedActionIsLookedAt(t *testing.T) {
	for name, test := range map[string]struct {
		action, state string
		uncertain     bool
	}{
		"that was done":        {wire.ActionPowerOn, wire.ActionSucceeded, false},
		"that was not":         {wire.ActionPowerOff, wire.ActionFailed, true},
		"that cannot be seen":  {wire.ActionReset, wire.ActionFailed, true},
		"that was never begun": {"", wire.ActionFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			key := s.vm().Key
			// The earlier run stops between its note and libvirt's answer.
			noted := make(chan struct{})
			x, err := actions.New(actions.Options{
				Actions: wire.Actions(), Target: target, Control: func() error { return nil }, Journal: s.journal,
				Do: func(ctx context.Context, a *actions.Action) {
					if test.action != "" {
						if err := a.Note(actions.Memo{Asked: time.Now()}); err != nil {
							t.Error(err)
						}
					}
					close(noted)
					<-ctx.Done()
				},
				Resume: func(context.Context, *actions.Action) {},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = x.Run(ctx) })
			web := httptest.NewServer(x.Handler())
			action := test.action
			if action == "" {
				action = wire.ActionPowerOff
			}
			q := s.request(action, key)
			wg.Go(func() { s.do(web.URL, "/v1/actions", q) })
			<-noted
			cancel()
			wg.Wait()
			web.Close()
			url, _ := s.host()
			if o := s.do(url, "/v1/actions/"+q.ID+"/settle", nil); o.State != test.state || o.Uncertain != test.uncertain {
				t.Errorf("got %+v", o)
			}
			if got := s.state(); got != inventory.VMRunning {
				t.Errorf("the VM is %s", got)
			}
		})
	}
}
