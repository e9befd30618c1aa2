package actions

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

func writeCA(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	on        = types.VirtualMachinePowerStatePoweredOn
	off       = types.VirtualMachinePowerStatePoweredOff
	suspended = types.VirtualMachinePowerStateSuspended
)

func TestActionsDoWhatTheySay(t *testing.T) {
	s := newSite(t)
	g := s.gateway(nil)
	tests := []struct {
		action    string
		tools     bool
		before    types.VirtualMachinePowerState
		after     types.VirtualMachinePowerState
		state     string
		unchanged bool
		reason    string // part of it
	}{
		{wire.ActionPowerOff, false, on, off, wire.ActionSucceeded, false, ""},
		{wire.ActionPowerOff, false, off, off, wire.ActionSucceeded, true, "already off"},
		{wire.ActionPowerOn, false, off, on, wire.ActionSucceeded, false, ""},
		{wire.ActionPowerOn, false, on, on, wire.ActionSucceeded, true, "already on"},
		{wire.ActionSuspend, false, on, suspended, wire.ActionSucceeded, false, ""},
		{wire.ActionSuspend, false, suspended, suspended, wire.ActionSucceeded, true, "already suspended"},
		{wire.ActionSuspend, false, off, off, wire.ActionRefused, false, "start it first"},
		{wire.ActionReset, false, on, on, wire.ActionSucceeded, false, ""},
		{wire.ActionReset, false, off, off, wire.ActionRefused, false, "start it first"},
		{wire.ActionShutdown, false, on, on, wire.ActionRefused, false, "VMware Tools do not run"},
		{wire.ActionShutdown, true, on, off, wire.ActionSucceeded, false, ""},
		{wire.ActionShutdown, true, off, off, wire.ActionSucceeded, true, "already off"},
		{wire.ActionReboot, false, on, on, wire.ActionRefused, false, "reset it instead"},
		{wire.ActionReboot, true, on, on, wire.ActionSucceeded, false, ""},
		{wire.ActionConsole, false, off, off, wire.ActionRefused, false, "start it first"},
		{"defrost", false, on, on, wire.ActionRefused, false, `no action "defrost"`},
	}
	for _, test := range tests {
		t.Run(test.action+" of a VM that is "+string(test.before), func(t *testing.T) {
			s.setPower(0, test.before)
			status := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
			if test.tools {
				status = types.VirtualMachineToolsRunningStatusGuestToolsRunning
			}
			s.set(0, types.PropertyChange{Name: "guest.toolsRunningStatus", Val: string(status)})
			o := g.do(request(s, 0, test.action))
			if o.State != test.state || !strings.Contains(o.Reason, test.reason) || (o.Result != nil && o.Result.Unchanged) != test.unchanged {
				t.Errorf("got %+v, result %+v", o, o.Result)
			}
			if o.Ended.IsZero() && o.State != wire.ActionRefused || o.Uncertain {
				t.Errorf("no time or no certainty: %+v", o)
			}
			if got := s.power(0); got != test.after {
				t.Errorf("the VM is %s, want %s", got, test.after)
			}
		})
	}
}

func TestSnapshots(t *testing.T) {
	s := newSite(t)
	g := s.gateway(nil)
	do := func(action string, a wire.ActionArguments) wire.ActionOutcome {
		q := request(s, 0, action)
		q.Arguments = a
		return g.do(q)
	}
	if o := do(wire.ActionSnapshotRevert, wire.ActionArguments{}); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "no current snapshot") {
		t.Errorf("revert without a snapshot: %+v", o)
	}
	first := do(wire.ActionSnapshotCreate, wire.ActionArguments{Name: "one", Description: "of two", Memory: true})
	if first.State != wire.ActionSucceeded || first.Result == nil || !strings.HasPrefix(first.Result.Snapshot, "snapshot-") {
		t.Fatalf("create: %+v", first)
	}
	s.lookAtAll()
	made := s.vms[0].Snapshot.RootSnapshotList[0]
	if made.Name != "one" || !strings.HasPrefix(made.Description, "of two\n[openpf9 action ") || made.Snapshot.Value != first.Result.Snapshot || made.State != on {
		t.Errorf("made: %+v", made)
	}
	twin := do(wire.ActionSnapshotCreate, wire.ActionArguments{Name: "one"})
	if o := do(wire.ActionSnapshotRemove, wire.ActionArguments{Snapshot: "one"}); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "2 snapshots") {
		t.Errorf("remove one of twins: %+v", o)
	}
	if o := do(wire.ActionSnapshotRevert, wire.ActionArguments{Snapshot: first.Result.Snapshot}); o.State != wire.ActionSucceeded {
		t.Errorf("revert: %+v", o)
	}
	if o := do(wire.ActionSnapshotRemove, wire.ActionArguments{Snapshot: twin.Result.Snapshot}); o.State != wire.ActionSucceeded || o.Result != nil {
		t.Errorf("remove: %+v", o)
	}
	if o := do(wire.ActionSnapshotRemove, wire.ActionArguments{Snapshot: twin.Result.Snapshot}); o.State != wire.ActionSucceeded || o.Result == nil || !o.Result.Unchanged {
		t.Errorf("remove again: %+v", o)
	}
	if o := do(wire.ActionSnapshotRemove, wire.ActionArguments{Snapshot: "two"}); o.State != wire.ActionRefused || !strings.Contains(o.Reason, `"one"`) {
		t.Errorf("remove what was never there: %+v", o)
	}
	escaped := do(wire.ActionSnapshotCreate, wire.ActionArguments{Name: "a%2fb 100%25"}) // as vCenter keeps it
	if o := do(wire.ActionSnapshotRevert, wire.ActionArguments{Snapshot: "a/b 100%"}); escaped.State != wire.ActionSucceeded || o.State != wire.ActionSucceeded {
		t.Errorf("a name as lists show it: %+v, %+v", escaped, o)
	}
	s.setPower(0, off)
	if o := do(wire.ActionSnapshotCreate, wire.ActionArguments{Name: "m", Memory: true}); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "leave memory out") {
		t.Errorf("memory of a VM that is off: %+v", o)
	}
}

func TestControlMayEndWhileAnActionIsPrepared(t *testing.T) {
	s := newSite(t)
	var asked atomic.Int32
	g := s.gateway(func(o *Options) {
		o.Permit = func(types.ManagedObjectReference) error {
			if asked.Add(1) > 1 {
				return Denied("control is switched off")
			}
			return nil
		}
	})
	o := g.do(request(s, 0, wire.ActionPowerOff))
	if o.State != wire.ActionRefused || !strings.Contains(o.Reason, "switched off") || s.called("PowerOffVM_Task") > 0 {
		t.Errorf("%+v", o)
	}
}

func TestWhatMayNotBeControlled(t *testing.T) {
	s := newSite(t)
	g := s.gateway(func(o *Options) { o.Limits.Running = 1 })
	outside := s.vms[1].Self
	s.inside = func(ref types.ManagedObjectReference) bool { return ref.Value != outside.Value }
	refused := func(q *wire.ActionRequest, reason string) {
		t.Helper()
		before := s.called("PowerOffVM_Task")
		if o := g.do(q); o.State != wire.ActionRefused || !strings.Contains(o.Reason, reason) {
			t.Errorf("got %+v, want a refusal with %q", o, reason)
		}
		if s.called("PowerOffVM_Task") != before {
			t.Error("vCenter was asked")
		}
	}
	refused(request(s, 1, wire.ActionPowerOff), "outside of what was delegated")
	q := request(s, 0, wire.ActionPowerOff)
	q.Target.Kind = "vsphere.host"
	refused(q, "only VMs")
	q = request(s, 0, wire.ActionPowerOff)
	q.Target.ID = "vm-1"
	refused(q, "no VM of a vCenter")
	q = request(s, 0, wire.ActionPowerOff)
	q.Target.ID = s.uuid() + "/vm-99999"
	refused(q, "has no such VM any more")
	s.set(0, types.PropertyChange{Name: "config.template", Val: true})
	refused(request(s, 0, wire.ActionPowerOff), "is a template")
	s.mu.Lock()
	s.off = errors.New("control is switched off at the gateway")
	s.mu.Unlock()
	refused(request(s, 0, wire.ActionPowerOff), "switched off")
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.audit); n < 6 || s.audit[n-1].State != wire.ActionRefused || s.audit[n-1].By != "tester" {
		t.Errorf("the audit: %+v", s.audit)
	}
}

func TestOneAtATime(t *testing.T) {
	s := newSite(t)
	s.delayed("PowerOff", 700*time.Millisecond)
	g := s.gateway(func(o *Options) { o.Limits.Running = 2 })
	first, second, third := request(s, 0, wire.ActionPowerOff), request(s, 1, wire.ActionPowerOff), request(s, 2, wire.ActionPowerOff)
	ends := make(chan wire.ActionOutcome, 2)
	go func() { ends <- g.do(first) }()
	s.eventually("the first is under way", func() bool { return s.called("PowerOffVM_Task") == 1 })
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionRefused || !strings.Contains(o.Reason, first.ID) {
		t.Errorf("a second on the same VM: %+v", o)
	}
	go func() { ends <- g.do(second) }()
	s.eventually("the second is under way", func() bool { return s.called("PowerOffVM_Task") == 2 })
	if o := g.do(third); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "2 actions are under way") {
		t.Errorf("one too many: %+v", o)
	}
	for range 2 {
		if o := <-ends; o.State != wire.ActionSucceeded {
			t.Errorf("got %+v", o)
		}
	}
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionSucceeded {
		t.Errorf("after the end: %+v", o)
	}
}

func TestAnIDIsDoneOnce(t *testing.T) {
	s := newSite(t)
	g := s.gateway(nil)
	q := request(s, 0, wire.ActionReset)
	first := g.do(q)
	again := g.do(q)
	if first.State != wire.ActionSucceeded || again.State != first.State || !again.Ended.Equal(first.Ended) {
		t.Errorf("first %+v, again %+v", first, again)
	}
	other := *q
	other.Action = wire.ActionPowerOff
	if _, status := g.ask("/v1/actions", &other); status != http.StatusConflict {
		t.Errorf("the id for something else: status %d", status)
	}
	g.stop()
	g = s.gateway(nil)
	if o := g.do(q); !o.Ended.Equal(first.Ended) {
		t.Errorf("after a restart: %+v", o)
	}
	all, _ := g.ask("/v1/actions/"+q.ID+"/settle", nil)
	if len(all) != 1 || all[0].State != wire.ActionSucceeded {
		t.Errorf("settled: %+v", all)
	}
	if n := s.called("ResetVM_Task"); n != 1 {
		t.Errorf("vCenter was asked %d times", n)
	}

	// What never arrived is not done when it arrives later, restart or not.
	late := request(s, 0, wire.ActionPowerOff)
	all, _ = g.ask("/v1/actions/"+late.ID+"/settle", nil)
	if len(all) != 1 || all[0].State != wire.ActionFailed || all[0].Uncertain || !strings.Contains(all[0].Reason, "never arrived, nothing was done") {
		t.Errorf("unknown: %+v", all)
	}
	g.stop()
	g = s.gateway(nil)
	if _, status := g.ask("/v1/actions", late); status != http.StatusConflict {
		t.Errorf("a late request: status %d", status)
	}
	if s.power(0) != on {
		t.Error("a late request was done")
	}
}

func TestLostAnswers(t *testing.T) {
	s := newSite(t)
	g := s.gateway(nil)
	t.Run("of what was done", func(t *testing.T) {
		s.delayed("PowerOff", 500*time.Millisecond)
		s.losing("PowerOffVM_Task", loseAnswer)
		if o := g.do(request(s, 0, wire.ActionPowerOff)); o.State != wire.ActionSucceeded {
			t.Errorf("got %+v", o)
		}
		if n := s.called("PowerOffVM_Task"); n != 1 {
			t.Errorf("vCenter was asked %d times", n)
		}
	})
	t.Run("of what was not done", func(t *testing.T) {
		s.losing("ResetVM_Task", loseCall)
		if o := g.do(request(s, 1, wire.ActionReset)); o.State != wire.ActionFailed || !o.Uncertain {
			t.Errorf("got %+v", o)
		}
		if n := s.called("ResetVM_Task"); n != 0 {
			t.Errorf("vCenter was asked %d times", n)
		}
	})
	t.Run("of a snapshot", func(t *testing.T) {
		s.losing("CreateSnapshot_Task", loseAnswer)
		q := request(s, 2, wire.ActionSnapshotCreate)
		q.Arguments.Name = "s"
		o := g.do(q)
		s.lookAtAll()
		if o.State != wire.ActionSucceeded || o.Result == nil || o.Result.Snapshot != s.vms[2].Snapshot.RootSnapshotList[0].Snapshot.Value {
			t.Errorf("got %+v, %+v", o, o.Result)
		}
	})
	t.Run("of the shutdown of a guest", func(t *testing.T) {
		s.tools(3)
		s.losing("ShutdownGuest", loseAnswer)
		if o := g.do(request(s, 3, wire.ActionShutdown)); o.State != wire.ActionSucceeded {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("of a ticket", func(t *testing.T) {
		s.losing("AcquireTicket", loseCall)
		if o := g.do(request(s, 2, wire.ActionConsole)); o.State != wire.ActionFailed || o.Uncertain || !strings.Contains(o.Reason, "ask again") {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("while it is followed", func(t *testing.T) {
		s.delayed("PowerOff", 500*time.Millisecond)
		s.losing("WaitForUpdatesEx", loseAnswer)
		if o := g.do(request(s, 1, wire.ActionPowerOff)); o.State != wire.ActionSucceeded {
			t.Errorf("got %+v", o)
		}
	})
}

func TestTheSessionIsGone(t *testing.T) {
	s := newSite(t)
	g := s.gateway(nil)
	if o := g.do(request(s, 0, wire.ActionPowerOff)); o.State != wire.ActionSucceeded {
		t.Fatalf("got %+v", o)
	}
	c := s.login() // an administrator ends all other sessions
	var m struct{ types.ManagedObjectReference }
	m.ManagedObjectReference = *c.ServiceContent.SessionManager
	for _, key := range s.sessions(c) {
		if _, err := methods.TerminateSession(t.Context(), c, &types.TerminateSession{This: m.ManagedObjectReference, SessionId: []string{key}}); err != nil {
			t.Fatal(err)
		}
	}
	s.client = c
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionSucceeded {
		t.Errorf("got %+v", o)
	}
	if s.logins != 2 {
		t.Errorf("%d logins", s.logins)
	}
}

func TestADeadlineEndsTheWait(t *testing.T) {
	s := newSite(t)
	s.delayed("PowerOff", 2*time.Second)
	g := s.gateway(nil)
	q := request(s, 0, wire.ActionPowerOff)
	q.Deadline = q.Requested.Add(500 * time.Millisecond)
	if o := g.do(q); o.State != wire.ActionFailed || !o.Uncertain || !strings.Contains(o.Reason, "has not ended it in time, it may have been done") {
		t.Errorf("got %+v", o)
	}
	s.eventually("vCenter is done with it", func() bool { return s.power(0) == off })
}

func TestTargets(t *testing.T) {
	for id, good := range map[string]bool{
		"dc3b3f1c-95d7-4a0d-b9f5-6a1c2d3e4f50/vm-12":   true,
		"dc3b3f1c-95d7-4a0d-b9f5-6a1c2d3e4f50/host-12": false,
		"vm-12": false,
		"DC3B3F1C-95d7-4a0d-b9f5-6a1c2d3e4f50/vm-12":      false,
		"dc3b3f1c-95d7-4a0d-b9f5-6a1c2d3e4f50/vm-12/vm-1": false,
	} {
		if _, _, err := ParseTarget(plugin.Key{Kind: "compute.vm", ID: id}); (err == nil) != good {
			t.Errorf("%s: %v", id, err)
		}
	}
}
