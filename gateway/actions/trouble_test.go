package actions

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// A troubledVM is a simulated VM that gives tickets, and refuses what it is told to.
type troubledVM struct {
	*simulator.VirtualMachine
	task  types.BaseMethodFault // of power-off's task
	call  types.BaseMethodFault // of power-on's call
	guard func()                // before power-on is refused
}

func (vm *troubledVM) PowerOffVMTask(ctx *simulator.Context, req *types.PowerOffVM_Task) soap.HasFault {
	task := simulator.CreateTask(req.This, "powerOff", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, vm.task })
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: task.Run(ctx)}}
}

func (vm *troubledVM) PowerOnVMTask(_ *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	if vm.guard != nil {
		vm.guard()
	}
	return &methods.PowerOnVM_TaskBody{Fault_: simulator.Fault("no", vm.call)}
}

func (vm *troubledVM) AcquireTicket(req *types.AcquireTicket) soap.HasFault {
	if req.TicketType != "webmks" {
		return &methods.AcquireTicketBody{Fault_: simulator.Fault("", &types.InvalidArgument{})}
	}
	return &methods.AcquireTicketBody{Res: &types.AcquireTicketResponse{Returnval: types.VirtualMachineTicket{
		Ticket: "sesame", Host: "esx1.example", Port: 443, SslThumbprint: "AA:BB",
	}}}
}

func (s *site) trouble(vm int) *troubledVM {
	t := &troubledVM{VirtualMachine: s.model.Map().Get(s.vms[vm].Self).(*simulator.VirtualMachine)}
	s.model.Map().Put(t)
	return t
}

func TestFaultsOfVCenter(t *testing.T) {
	s := newSite(t)
	g := s.gateway(nil)
	vm := s.trouble(0)
	vm.task = &types.TaskInProgress{}
	if o := g.do(request(s, 0, wire.ActionPowerOff)); o.State != wire.ActionFailed || o.Uncertain || o.Reason != "vCenter's task failed: it does something else with the VM: try again when that has ended (TaskInProgress)" {
		t.Errorf("a task that fails: %+v", o)
	}
	s.setPower(0, off)
	vm.call = &types.NoPermission{PrivilegeId: "VirtualMachine.Interact.PowerOn"}
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionRefused || o.Uncertain ||
		o.Reason != "vCenter "+s.host()+" refuses: the gateway's account lacks the privilege VirtualMachine.Interact.PowerOn: grant it in vCenter (NoPermission)" {
		t.Errorf("a missing privilege: %+v", o)
	}
	vm.call = &types.NotAuthenticated{}
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionFailed || o.Uncertain || o.Reason != "vCenter "+s.host()+" has ended the gateway's session, nothing was done; try again" {
		t.Errorf("a session that ends right then: %+v", o)
	}
	vm.call = &types.InvalidPowerState{RequestedState: on, ExistingState: on}
	vm.guard = func() { vm.Runtime.PowerState = on } // somebody was faster
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionSucceeded || o.Result == nil || !o.Result.Unchanged {
		t.Errorf("a race: %+v", o)
	}
}

// What was not sent was not done, and people are told so.
func TestVCenterIsOutOfReach(t *testing.T) {
	s := newSite(t)
	reach := "vCenter " + s.host() + " cannot be reached (connection refused), nothing was done; try again when it answers"
	failed := func(o wire.ActionOutcome, want string) {
		t.Helper()
		if o.State != wire.ActionFailed || o.Uncertain || !strings.HasPrefix(o.Reason, want) || strings.Contains(o.Reason, "https://") {
			t.Errorf("got %+v\nwant a failure with %q", o, want)
		}
	}
	t.Run("when it is to be asked", func(t *testing.T) {
		s := newSite(t)
		g := s.gateway(nil)
		if o := g.do(request(s, 1, wire.ActionPowerOff)); o.State != wire.ActionSucceeded { // it has logged in
			t.Fatalf("got %+v", o)
		}
		s.losing("CurrentTime", closeFront) // the last answer before
		failed(g.do(request(s, 0, wire.ActionPowerOff)), "vCenter "+s.host()+" cannot be reached (connection refused), nothing was done; try again when it answers")
		if n := s.called("PowerOffVM_Task"); n != 1 {
			t.Errorf("vCenter was asked %d times", n)
		}
	})
	g := s.gateway(nil)
	if o := g.do(request(s, 1, wire.ActionPowerOff)); o.State != wire.ActionSucceeded {
		t.Fatalf("got %+v", o)
	}
	s.front.Close()
	t.Run("when the VM is looked at", func(t *testing.T) {
		failed(g.do(request(s, 0, wire.ActionPowerOff)), reach)
	})
	t.Run("at the login", func(t *testing.T) {
		failed(s.gateway(func(o *Options) { o.Journal += "2" }).do(request(s, 0, wire.ActionPowerOff)), reach)
	})
}

func TestTheAccountIsNotTaken(t *testing.T) {
	s := newSite(t)
	s.account = url.UserPassword("nobody", "")
	o := s.gateway(nil).do(request(s, 0, wire.ActionPowerOff))
	if o.State != wire.ActionFailed || o.Uncertain || !strings.HasPrefix(o.Reason, "vCenter "+s.host()+" does not let the gateway in: the user's name or password is wrong (InvalidLogin") ||
		!strings.HasSuffix(o.Reason, "nothing was done; set the right account on the appliance by pf9-gateway pair") {
		t.Errorf("got %+v", o)
	}
}

// Waiting mends neither: the remedy is a command.
func TestWhatAPersonHasToMend(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"an account that was refused before": {
			&session.RefusedError{VCenter: "lab/control", User: "pf9", Until: time.Unix(2e9, 0)},
			"vCenter vc.example:443: vCenter refuses the account pf9: the user name or the password is wrong, or the account is locked or disabled; lest the directory lock it, it is not tried again before 03:33:20 UTC, nothing was done; " +
				"on the appliance: once it is right in vCenter, pf9-gateway pair lab tries it again at once; for another password: pf9-gateway pair lab --user pf9, or --control-user if it is for control alone",
		},
		"another certificate": {
			&url.Error{Op: "Post", URL: "https://vc.example/sdk", Err: &session.CertificateError{VCenter: "lab/control", Server: "vc.example", Pinned: "AB", Shown: "CD"}},
			"vCenter vc.example:443 shows the certificate CD, and pinned is AB, nothing was done; " +
				"compare it on vCenter's own console and, if it is right, trust it on the appliance: pf9-gateway pair lab --thumbprint CD",
		},
	} {
		o := s.gateway(func(o *Options) {
			o.Journal += name
			o.Resolve = func(context.Context, plugin.Key) (*vim25.Client, types.ManagedObjectReference, error) {
				return nil, types.ManagedObjectReference{}, &AtError{Address: "vc.example:443", Err: fmt.Errorf("log in: %w", test.err)}
			}
		}).do(request(s, 0, wire.ActionPowerOff))
		if o.State != wire.ActionFailed || o.Uncertain || o.Reason != test.want {
			t.Errorf("%s:\n got %+v\nwant %s", name, o, test.want)
		}
	}
}

func TestTicketsAreNotKept(t *testing.T) {
	s := newSite(t)
	s.trouble(0)
	g := s.gateway(nil)
	q := request(s, 0, wire.ActionConsole)
	o := g.do(q)
	if o.State != wire.ActionSucceeded || o.Result == nil || o.Result.Console == nil {
		t.Fatalf("got %+v", o)
	}
	c := o.Result.Console
	if c.URL != "wss://esx1.example:443/ticket/sesame" || c.Fingerprint != "AA:BB" || time.Until(c.Expires) > time.Minute {
		t.Errorf("the ticket: %+v", c)
	}
	g.stop()
	text, err := os.ReadFile(s.journal)
	if err != nil || strings.Contains(string(text), "sesame") {
		t.Errorf("the journal holds the ticket, %v:\n%s", err, text)
	}
	for _, l := range s.audit {
		if strings.Contains(fmt.Sprintf("%+v", l), "sesame") {
			t.Errorf("the audit holds the ticket: %+v", l)
		}
	}
	if o := s.gateway(nil).do(q); o.State != wire.ActionSucceeded || o.Result != nil {
		t.Errorf("after a restart: %+v", o)
	}
}

// A stop in the middle of a task leaves it to the next run.
func TestARestartFindsTheTask(t *testing.T) {
	s := newSite(t)
	s.delayed("PowerOff", 1500*time.Millisecond)
	g := s.gateway(nil)
	q := request(s, 0, wire.ActionPowerOff)
	go g.ask("/v1/actions", q)
	s.eventually("the task is followed", func() bool { return s.called("WaitForUpdatesEx") > 0 })
	g.stop()
	g = s.gateway(nil)
	if o := g.do(request(s, 0, wire.ActionPowerOn)); o.State != wire.ActionRefused || !strings.Contains(o.Reason, "under way") {
		t.Errorf("another while it is open: %+v", o)
	}
	all, _ := g.ask("/v1/actions/"+q.ID+"/settle", nil)
	if o := all[len(all)-1]; o.State != wire.ActionSucceeded {
		t.Errorf("settled: %+v", o)
	}
	if n := s.called("PowerOffVM_Task"); n != 1 || s.power(0) != off {
		t.Errorf("vCenter was asked %d times, and the VM is %s", n, s.power(0))
	}
}

// What vCenter has done while nobody looked is found when the deadline is over.
func TestARestartAfterTheDeadline(t *testing.T) {
	s := newSite(t)
	s.delayed("Reset", 800*time.Millisecond) // of which the VM's state tells nothing
	g := s.gateway(nil)
	q := request(s, 0, wire.ActionReset)
	q.Deadline = q.Requested.Add(400 * time.Millisecond)
	began := time.Now()
	go g.ask("/v1/actions", q)
	s.eventually("the task is followed", func() bool { return s.called("WaitForUpdatesEx") > 0 })
	g.stop()
	s.eventually("the deadline is over, and the task, too", func() bool { return time.Since(began) > time.Second && !s.works() })
	all, _ := s.gateway(nil).ask("/v1/actions/"+q.ID+"/settle", nil)
	if len(all) == 0 || all[len(all)-1].State != wire.ActionSucceeded {
		t.Errorf("settled: %+v", all)
	}
}

const victimEnv = "PF9_TEST_VICTIM"

// The victim is a gateway in a process of its own, to be killed.
type victim struct {
	Front, CA, User, Password, Journal string
	Request                            wire.ActionRequest
}

func TestMain(m *testing.M) {
	if text := os.Getenv(victimEnv); text != "" {
		if err := runVictim(text); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runVictim(text string) error {
	var v victim
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := login(ctx, v.Front, v.CA, url.UserPassword(v.User, v.Password))
	if err != nil {
		return err
	}
	x, err := New(Options{
		Journal: v.Journal, Control: func() error { return nil },
		Permit: func(types.ManagedObjectReference) error { return nil },
		Resolve: func(_ context.Context, k plugin.Key) (*vim25.Client, types.ManagedObjectReference, error) {
			_, ref, err := ParseTarget(k)
			return c, ref, err
		},
	})
	if err != nil {
		return err
	}
	go func() { _ = x.Run(ctx) }()
	web := httptest.NewServer(x.Handler())
	defer web.Close()
	body, err := json.Marshal(v.Request)
	if err != nil {
		return err
	}
	res, err := http.Post(web.URL+"/v1/actions", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	for d := json.NewDecoder(res.Body); ; {
		var o wire.ActionOutcome
		if err := d.Decode(&o); err != nil {
			return err
		}
		fmt.Println(o.State)
	}
}

func TestAKillInTheMiddle(t *testing.T) {
	for name, how := range map[string]string{"of the task": "", "before vCenter has answered": holdAnswer} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.delayed("PowerOff", 2*time.Second)
			if how != "" {
				s.losing("PowerOffVM_Task", how)
			}
			q := request(s, 0, wire.ActionPowerOff)
			password, _ := s.account.Password()
			text, err := json.Marshal(victim{s.front.URL, s.ca, s.account.Username(), password, s.journal, *q})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), victimEnv+"="+string(text))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() && lines.Text() != wire.ActionRunning {
			}
			s.eventually("vCenter is asked", func() bool { return s.called("PowerOffVM_Task") == 1 })
			if how == "" {
				s.eventually("the task is followed", func() bool { return s.called("WaitForUpdatesEx") > 0 })
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
			g := s.gateway(nil)
			all, _ := g.ask("/v1/actions/"+q.ID+"/settle", nil)
			if len(all) == 0 || all[len(all)-1].State != wire.ActionSucceeded {
				t.Fatalf("settled: %+v", all)
			}
			if n := s.called("PowerOffVM_Task"); n != 1 || s.power(0) != off {
				t.Errorf("vCenter was asked %d times, and the VM is %s", n, s.power(0))
			}
		})
	}
}
