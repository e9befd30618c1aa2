package vcenter

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

var (
	faults = flag.Int("faults", 40, "how many faults to inject")
	seed   = flag.Uint64("seed", 0, "of the faults; 0: the test's own")
	report = flag.String("report", "", "a file for the figures, as JSON")
)

// figures are what the bars look at.
type figures struct {
	Faults      int            `json:"faults"`
	ByKind      map[string]int `json:"by_kind"`
	Deleted     int            `json:"deleted"` // live objects that were said to be gone
	Recovery    time.Duration  `json:"recovery"`
	SlowestKind string         `json:"slowest_kind"`
	Sessions    int            `json:"sessions"`
	Collectors  int            `json:"collectors"`
	REST        int            `json:"rest_sessions"`
	RESTPeak    int            `json:"rest_sessions_at_once"` // at most
	Refused     int            `json:"refused"`
}

// observer looks at what a source says, and whether it takes anything for gone
// that is not.
type observer struct {
	w    *watched
	v    *testvcenter.Server
	seen map[string]bool // ids of what was listed
	lost []string
}

// look lists and compares. It says whether the list was there.
func (o *observer) look() bool {
	all, err := list(o.w.t.Context(), o.w.Source)
	if err != nil {
		return false
	}
	for id := range o.seen {
		if !o.listed(all, id) && slices.Contains(o.v.IDs(""), id) {
			o.lost = append(o.lost, fmt.Sprintf("%s under %v", id, o.v.InForce()))
			delete(o.seen, id)
		}
	}
	for k := range all {
		if _, id, ok := strings.Cut(k.ID, "/"); ok {
			o.seen[id] = true
		}
	}
	return true
}

func (o *observer) listed(all map[plugin.Key]plugin.Resource, id string) bool {
	for _, kind := range Kinds() {
		if _, ok := all[key(o.v, kind, id)]; ok {
			return true
		}
	}
	return false
}

// tagWatcher lists the tags again and again.
type tagWatcher struct {
	lists atomic.Int64 // that were there
	lost  []string     // when stop has returned
	stop  func()
}

func watchTags(w *watched) *tagWatcher {
	ctx, cancel := context.WithCancel(w.t.Context())
	t, done := &tagWatcher{}, make(chan struct{})
	t.stop = func() { cancel(); <-done }
	w.t.Cleanup(t.stop)
	go func() {
		defer close(done)
		again := time.NewTicker(30 * time.Millisecond)
		defer again.Stop()
		for ctx.Err() == nil {
			n := 0
			if w.Tags().List(ctx, func(plugin.Resource) { n++ }) == nil {
				t.lists.Add(1)
				if n != 1 {
					t.lost = append(t.lost, fmt.Sprintf("%d tags are listed, and not one: this", n))
				}
			}
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
	}()
	return t
}

// true says whether the list shows the inventory as it is.
func (o *observer) true() bool {
	all, err := list(o.w.t.Context(), o.w.Source)
	if err != nil {
		return false
	}
	ids := o.v.IDs("VirtualMachine")
	n := 0
	for k := range all {
		if k.Kind == inventory.KindVM {
			n++
		}
	}
	if n != len(ids) {
		return false
	}
	for _, id := range ids {
		r := all[key(o.v, inventory.KindVM, id)]
		vm, ok := r.Spec.(inventory.VM)
		power, _ := o.v.Get(id, "runtime.powerState").(types.VirtualMachinePowerState)
		name, _ := o.v.Get(id, "name").(string)
		cpus, _ := o.v.Get(id, "config.hardware.numCPU").(int32)
		if !ok || r.Name != name || vm.State != vmState(power, "") || vm.VCPUs != int(cpus) {
			return false
		}
	}
	return true
}

// What has gone wrong is over at the latest after so long, by the timing quick.
const lasts = 40 * time.Millisecond

func TestNoFaultDeletesWhatIsThere(t *testing.T) {
	const restIdle = 50 * time.Millisecond // a login may arrive when its client has long given up
	v := start(t, testvcenter.Options{VMs: 70, Hosts: 4, Clusters: 2, RESTIdle: restIdle})
	s, err := session.New(session.Options{
		Name: "east", URL: v.URL(), Pin: v.Pin(), Account: account, Owner: "gateway-1", RESTIdle: 10 * restIdle,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	often := quick
	often.sweepEvery, often.fillsEvery, often.beat = 50*time.Millisecond, 30*time.Millisecond, 20*time.Millisecond
	w := watch(t, v, Options{Session: s}, often)
	w.list()
	o := &observer{w: w, v: v, seen: make(map[string]bool)}
	tags := watchTags(w)
	r := rand.New(rand.NewPCG(*seed, 9))
	f := figures{Faults: *faults, ByKind: make(map[string]int)}
	kinds := testvcenter.Faults()
	for i := range *faults {
		kind := kinds[r.IntN(len(kinds))]
		switch {
		case i%100 == 10:
			kind = testvcenter.Freeze // each may take the whole limit of a wait
		case i%100 == 30:
			kind = testvcenter.Drop
		case kind == testvcenter.Freeze, kind == testvcenter.Drop:
			kind = testvcenter.LooksEmpty
		}
		f.ByKind[kind.String()]++
		took := o.suffer(r, kind)
		if took > f.Recovery {
			f.Recovery, f.SlowestKind = took, kind.String()
		}
		if t.Failed() {
			t.Fatalf("fault %d, %v, seed %d", i, kind, *seed)
		}
		if (i+1)%500 == 0 {
			t.Logf("%d faults, %d VMs, slowest recovery %v (%s)", i+1, len(v.IDs("VirtualMachine")), f.Recovery, f.SlowestKind)
		}
	}
	tagged := tags.lists.Load()
	until(t, "the tags are read again", func() bool { return tags.lists.Load() > tagged })
	tags.stop()
	o.lost = append(o.lost, tags.lost...)
	f.Deleted = len(o.lost)
	for _, l := range o.lost {
		t.Errorf("%s was said to be gone", l)
	}
	f.Sessions, f.Collectors, f.Refused = v.Sessions(), v.Collectors(), v.Counts().Refused
	f.REST, f.RESTPeak = v.RESTSessions()
	if f.Sessions != 1 || f.REST > 1 || f.Collectors > 4 || f.Refused > 0 {
		t.Errorf("%d sessions, %d by REST, %d collectors, %d refused logins", f.Sessions, f.REST, f.Collectors, f.Refused)
	}
	t.Logf("%+v", f)
	if *report != "" {
		b, err := json.Marshal(f)
		if err == nil {
			err = os.WriteFile(*report, b, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// suffer injects one fault while the inventory changes, and returns how long it
// took after the fault's end until everything was right again.
func (o *observer) suffer(r *rand.Rand, kind testvcenter.Fault) time.Duration {
	o.v.Mutate(r)
	if r.IntN(4) == 0 { // two in a row
		o.v.Inject(testvcenter.Expire)
	}
	o.v.Inject(kind)
	over := time.NewTimer(time.Duration(r.Int64N(int64(lasts))))
	defer over.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for on := true; on; {
		select {
		case <-over.C:
			on = false
		case <-again.C:
			o.v.Mutate(r)
			o.look()
		}
	}
	o.v.Clear()
	cleared := time.Now()
	until(o.w.t, "recovery", func() bool { o.look(); return o.true() })
	return time.Since(cleared)
}

func TestMuchThatVanishesTakesASecondLook(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 300})
	w := watch(t, v, Options{}, quick)
	o := &observer{w: w, v: v, seen: make(map[string]bool)}
	w.list()
	o.look()
	vms := v.IDs("VirtualMachine")
	calls := v.Counts().Calls
	v.Remove(vms[:200]...) // really
	until(t, "200 VMs are gone", func() bool { o.look(); return o.true() })
	if n := v.Counts().Calls - calls; n < 5 {
		t.Errorf("%d calls: the loss was believed without a look", n)
	}
	calls = v.Counts().Calls
	v.Inject(testvcenter.Restart)
	v.Inject(testvcenter.Amnesia)
	until(t, "all are read again", func() bool { o.look(); return v.Counts().Calls > calls+10 && o.true() })
	if len(o.lost) > 0 {
		t.Errorf("%q were said to be gone", o.lost)
	}
}

func TestTheLastVMsTakeASecondLookToo(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	w := watch(t, v, Options{}, quick)
	o := &observer{w: w, v: v, seen: make(map[string]bool)}
	w.list()
	o.look()
	calls := v.Counts().Calls
	v.Inject(testvcenter.Restart)
	v.Inject(testvcenter.Amnesia)
	until(t, "all are read again", func() bool { o.look(); return v.Counts().Calls > calls+10 && o.true() })
	if len(o.lost) > 0 {
		t.Errorf("%q were said to be gone", o.lost)
	}
	v.Inject(testvcenter.Refuse)
	v.Remove(v.IDs("VirtualMachine")...)
	v.Clear()
	until(t, "no VM is left", func() bool { o.look(); return o.true() })
}

func TestStaleSaysSinceWhenAndWhy(t *testing.T) {
	for kind, want := range map[testvcenter.Fault]string{
		testvcenter.Refuse:      "stale since 20",
		testvcenter.Certificate: "is not the pinned one",
		testvcenter.Unavailable: "503",
		testvcenter.Freeze:      "no answer within 2s",
	} {
		t.Run(kind.String(), func(t *testing.T) {
			v := start(t, testvcenter.Options{VMs: 3})
			w := watch(t, v, Options{}, quick)
			w.list()
			id := v.IDs("VirtualMachine")[0]
			v.Inject(kind)
			v.Mutate(rand.New(rand.NewPCG(1, 2)))
			var why error
			until(t, "an error", func() bool { _, why = list(t.Context(), w.Source); return why != nil })
			until(t, "the reason", func() bool {
				_, why = list(t.Context(), w.Source)
				return why != nil && strings.Contains(why.Error(), want) && strings.Contains(why.Error(), "stale since 20")
			})
			if _, _, err := w.Get(t.Context(), key(v, inventory.KindVM, id)); err == nil {
				t.Error("Get answers though nobody knows")
			}
			if st := w.State(); st.OK || st.Problem == nil {
				t.Errorf("State %+v", st)
			}
			v.Clear()
			until(t, "recovery", func() bool { _, err := list(t.Context(), w.Source); return err == nil })
		})
	}
}

func TestASessionThatIsGoneIsNoticedInWhateverPlace(t *testing.T) {
	for _, kind := range []testvcenter.Fault{testvcenter.LooksEmpty, testvcenter.SessionGone, testvcenter.Expire, testvcenter.Terminate} {
		t.Run(kind.String(), func(t *testing.T) {
			v := start(t, testvcenter.Options{VMs: 3})
			w := watch(t, v, Options{}, quick)
			w.list()
			v.Inject(kind)
			v.Mutate(rand.New(rand.NewPCG(3, 4)))
			until(t, "another login", func() bool { return v.Counts().Logins == 2 })
			until(t, "recovery", func() bool { _, err := list(t.Context(), w.Source); return err == nil })
			if n := v.Sessions(); n != 1 {
				t.Errorf("%d sessions", n)
			}
		})
	}
}

func TestAnotherVCenterIsRefused(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	w := watch(t, v, Options{}, quick)
	before := w.list()
	v.Replace()
	v.Inject(testvcenter.Reset)
	until(t, "an error that says so", func() bool {
		_, err := list(t.Context(), w.Source)
		return err != nil && strings.Contains(err.Error(), "another vCenter answers")
	})
	if len(before) == 0 || len(w.store.all()) != len(before) {
		t.Errorf("%d resources, %d before", len(w.store.all()), len(before))
	}
}

func TestARefusedAccountWaitsForAnother(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	password := make(chan string, 1)
	password <- "wrong"
	s, err := session.New(session.Options{Name: "east", URL: v.URL(), Pin: v.Pin(), Account: func() (session.Account, error) {
		p := <-password
		password <- p
		return session.Account{User: "gw@vsphere.local", Password: p}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, v, Options{Session: s}, quick)
	until(t, "an error that says so", func() bool {
		_, err := list(t.Context(), w.Source)
		return err != nil && strings.Contains(err.Error(), "refuses the account")
	})
	until(t, "some tries", func() bool { _, err := list(t.Context(), w.Source); return err != nil && v.Counts().Calls >= 1 })
	<-password
	password <- "secret"
	until(t, "a list", func() bool { _, err := list(t.Context(), w.Source); return err == nil })
	if n := v.Counts().Refused; n != 1 {
		t.Errorf("the wrong password was tried %d times", n)
	}
}

func TestWatchLogsOut(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	s := newSession(t, v)
	t.Run("while it is watched", func(t *testing.T) { watch(t, v, Options{Session: s}, quick).list() })
	if n := v.Sessions(); n != 0 {
		t.Errorf("%d sessions are left behind", n)
	}
}
