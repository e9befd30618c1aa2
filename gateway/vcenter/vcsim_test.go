package vcenter

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	tasks "github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	_ "github.com/vmware/govmomi/vapi/simulator" // tags
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// patient is quick, but for a server that takes its time.
var patient = func() timing {
	t := quick
	t.waitLimit, t.callLimit, t.grace = 20*time.Second, 20*time.Second, 5*time.Second
	return t
}()

// vcsim starts VMware's own simulator, which knows how a vCenter behaves when it
// is told to do something, over TLS.
func vcsim(t *testing.T, change func(*simulator.Model)) *session.Session {
	t.Helper()
	model := simulator.VPX()
	if change != nil {
		change(model)
	}
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Remove)
	model.Service.TLS = new(tls.Config)
	model.Service.RegisterEndpoints = true // REST
	server := model.Service.NewServer()
	t.Cleanup(server.Close)
	sum := sha256.Sum256(server.TLS.Certificates[0].Certificate[0])
	s, err := session.New(session.Options{
		Name: "sim", URL: (&url.URL{Scheme: "https", Host: server.URL.Host, Path: "/sdk"}).String(), Pin: hex.EncodeToString(sum[:]), Account: account, Owner: "gateway-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// operator is somebody else who works on the vCenter.
func operator(t *testing.T, s *session.Session) *vim25.Client {
	t.Helper()
	l, err := s.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Logout)
	return l.Client
}

func TestConformanceWithVcsim(t *testing.T) {
	s := vcsim(t, nil)
	plugintest.Run(t, plugintest.Options{Kinds: Kinds(), New: func(t *testing.T) plugin.Source {
		o := Options{Session: sessionLike(t, s)}
		return watch(t, nil, o, patient).Source
	}})
}

// sessionLike is another session with the same vCenter.
func sessionLike(t *testing.T, s *session.Session) *session.Session {
	t.Helper()
	fresh, err := session.New(session.Options{
		Name: s.Name(), URL: s.URL().String(), Pin: strings.ReplaceAll(fingerprint(t, s), ":", ""), Account: account, Owner: "gateway-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fresh.Close() })
	return fresh
}

func fingerprint(t *testing.T, s *session.Session) string {
	t.Helper()
	chain, err := session.Probe(t.Context(), s.URL().Host)
	if err != nil {
		t.Fatal(err)
	}
	return session.Fingerprint(chain[0])
}

func TestVcsimsModelIsListed(t *testing.T) {
	s := vcsim(t, func(m *simulator.Model) { m.Folder, m.Pod, m.App, m.Pool = 1, 1, 1, 1 })
	w := watch(t, nil, Options{Session: s}, patient)
	got := make(map[string]int)
	for k, r := range w.list() {
		got[k.Kind]++
		if r.Name == "" || r.Spec == nil || k.Kind != inventory.KindVCenter && r.Parent.Kind == "" {
			t.Errorf("%+v has no name, spec or parent", r)
		}
	}
	for _, kind := range Kinds() {
		if kind != inventory.KindTemplate && got[kind] == 0 {
			t.Errorf("there is no %s: %v", kind, got)
		}
	}
	all := w.list()
	for k, r := range all {
		if k.Kind != inventory.KindVM {
			continue
		}
		vm := r.Spec.(inventory.VM)
		if vm.Host == "" || vm.Path == "" || len(vm.Datastores) == 0 || len(vm.Disks) == 0 || len(vm.NICs) == 0 || vm.NICs[0].Source == "" || vm.VMware.Datacenter == "" {
			t.Errorf("%s: %+v %+v", r.Name, vm, vm.VMware)
		}
	}
}

func TestWhatIsDoneInVcsimShows(t *testing.T) {
	s := vcsim(t, nil)
	w := watch(t, nil, Options{Session: s}, patient)
	w.list()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := operator(t, s)
	vm, err := find.NewFinder(c).VirtualMachine(ctx, "/DC0/vm/DC0_H0_VM0")
	if err != nil {
		t.Fatal(err)
	}
	do := func(task *tasks.Task, err error) {
		t.Helper()
		if err == nil {
			err = task.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k := plugin.Key{Kind: inventory.KindVM, ID: w.State().Instance + "/" + vm.Reference().Value}
	shows := func(what string, f func(plugin.Resource, inventory.VM) bool) {
		t.Helper()
		until(t, what, func() bool {
			r, found, err := w.Get(ctx, k)
			spec, ok := r.Spec.(inventory.VM)
			return err == nil && found && ok && f(r, spec)
		})
	}
	do(vm.PowerOff(ctx))
	shows("off", func(_ plugin.Resource, vm inventory.VM) bool { return vm.State == inventory.VMShutOff })
	do(vm.Rename(ctx, "new name"))
	shows("a name", func(r plugin.Resource, vm inventory.VM) bool {
		return r.Name == "new name" && vm.Path == "/DC0/vm/new name"
	})
	do(vm.CreateSnapshot(ctx, "before", "text", false, false))
	shows("a snapshot", func(_ plugin.Resource, vm inventory.VM) bool {
		return len(vm.Snapshots) == 1 && vm.Snapshots[0].Name == "before" && vm.Snapshots[0].Current
	})
	folder, err := find.NewFinder(c).Folder(ctx, "/DC0/vm")
	if err != nil {
		t.Fatal(err)
	}
	made, err := folder.CreateFolder(ctx, "team")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a folder", func() bool {
		r, found, err := w.Get(ctx, plugin.Key{Kind: inventory.KindFolder, ID: w.State().Instance + "/" + made.Reference().Value})
		return err == nil && found && r.Spec.(inventory.Folder).Path == "/DC0/vm/team"
	})
	do(vm.Destroy(ctx))
	until(t, "nothing", func() bool {
		_, found, err := w.Get(ctx, k)
		return err == nil && !found
	})
}

func TestTagsAreListed(t *testing.T) {
	s := vcsim(t, nil)
	w := watch(t, nil, Options{Session: s}, patient)
	w.list()
	ctx := t.Context()
	c := operator(t, s)
	vm, err := find.NewFinder(c).VirtualMachine(ctx, "/DC0/vm/DC0_H0_VM0")
	if err != nil {
		t.Fatal(err)
	}
	find := func() (r plugin.Resource, ok bool) {
		if err := w.Tags().List(ctx, func(tag plugin.Resource) { r, ok = tag, true }); err != nil {
			t.Fatal(err)
		}
		return r, ok
	}
	var tag string
	err = s.REST(ctx, func(ctx context.Context, c *rest.Client) error {
		m := tags.NewManager(c)
		category, err := m.CreateCategory(ctx, &tags.Category{Name: "tier", Cardinality: "SINGLE"})
		if err == nil {
			tag, err = m.CreateTag(ctx, &tags.Tag{Name: "gold", Description: "fast", CategoryID: category})
		}
		if err == nil {
			err = m.AttachTag(ctx, tag, vm)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a tag", func() bool {
		r, ok := find()
		spec, _ := r.Spec.(inventory.Tag)
		return ok && r.Name == "gold" && spec.Category == "tier" && spec.Description == "fast" && slices.Equal(spec.Objects, []string{vm.Reference().Value})
	})
	if err := s.REST(ctx, func(ctx context.Context, c *rest.Client) error {
		return tags.NewManager(c).DeleteTag(ctx, &tags.Tag{ID: tag, Name: "gold"})
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "no tag", func() bool { _, ok := find(); return !ok })
}

func TestChosenClustersOnly(t *testing.T) {
	s := vcsim(t, func(m *simulator.Model) { m.Cluster, m.Datacenter = 2, 2 })
	w := watch(t, nil, Options{Session: s, Clusters: []string{"DC0_C1", "nowhere"}}, patient)
	ctx := t.Context()
	all := w.list()
	for k, r := range all {
		switch spec := r.Spec.(type) {
		case inventory.VM:
			if spec.Cluster != "DC0_C1" {
				t.Errorf("VM %s is of cluster %q", r.Name, spec.Cluster)
			}
		case inventory.Cluster, inventory.ESXi, inventory.ResourcePool:
			if !strings.Contains(r.Name+spec2cluster(spec), "DC0_C1") {
				t.Errorf("%v %s is listed", k, r.Name)
			}
		case inventory.Datacenter:
			if r.Name != "DC0" {
				t.Errorf("datacenter %s is listed", r.Name)
			}
		case inventory.VCenter:
			if all := strings.Join(spec.Warnings, " "); !strings.Contains(all, `"nowhere" is not there`) || !strings.Contains(all, "vCenter 6.5.0 is not supported") {
				t.Errorf("warnings %q", spec.Warnings)
			}
			if spec.State != "ok" {
				t.Errorf("it is %s, and is followed: what there is to warn of is a warning", spec.State)
			}
		}
	}
	before := len(all)
	cluster, err := find.NewFinder(operator(t, s)).ClusterComputeResource(ctx, "/DC0/host/DC0_C1")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := w.Lookup(cluster.Reference().Value); !ok || !o.Listed || o.Path != "/DC0/host/DC0_C1" {
		t.Errorf("Lookup = %+v, %v", o, ok)
	}
	task, err := cluster.Rename(ctx, "renamed")
	if err == nil {
		err = task.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a warning", func() bool {
		all = w.list()
		r := all[plugin.Key{Kind: inventory.KindVCenter, ID: w.State().Instance}]
		return strings.Contains(strings.Join(r.Spec.(inventory.VCenter).Warnings, " "), `is called "renamed" now`)
	})
	if len(all) != before {
		t.Errorf("%d resources after the cluster was renamed, %d before", len(all), before)
	}
}

func spec2cluster(spec any) string {
	switch spec := spec.(type) {
	case inventory.ESXi:
		return spec.Cluster
	case inventory.ResourcePool:
		return spec.Cluster
	}
	return ""
}

func TestTheBrokerLearnsWhatObjectsAreIn(t *testing.T) {
	s := vcsim(t, nil)
	w := watch(t, nil, Options{Session: s}, patient)
	w.list()
	byName := make(map[string]Object)
	for _, o := range w.Objects() {
		byName[o.Name] = o
	}
	vm, host, cluster, ds, folder := byName["DC0_C0_RP0_VM0"], byName["DC0_H0"], byName["DC0_C0"], byName["LocalDS_0"], byName["vm"]
	for _, test := range []struct {
		in   []string
		want bool
	}{
		{[]string{vm.Moref}, true},
		{[]string{cluster.Moref}, true},
		{[]string{ds.Moref}, false},
		{[]string{folder.Moref}, true},
		{[]string{"group-none", byName["DC0"].Moref}, true},
		{[]string{host.Moref}, false},
		{[]string{"group-none"}, false},
		{nil, false},
	} {
		if vm.In(test.in...) != test.want {
			t.Errorf("%s in %v: not %v (%v)", vm.Name, test.in, test.want, vm.Within)
		}
	}
	if !slices.Contains(vm.Uses, ds.Moref) || !slices.Contains(vm.Within, byName["DC0"].Moref) {
		t.Errorf("%s uses %v and is in %v", vm.Name, vm.Uses, vm.Within)
	}
	if named := w.Named("DC0_C0"); len(named) != 1 || named[0].Moref != cluster.Moref {
		t.Errorf("Named = %+v", named)
	}
	h, ok := w.Host(host.Name)
	if o, _ := w.Lookup(h.Moref); !ok || o.Type != "HostSystem" || o.Name != host.Name || len(h.Addresses) == 0 {
		t.Errorf("Host = %+v, %v", h, ok)
	}
	if h, ok := w.Host("elsewhere"); ok {
		t.Errorf("a host that does not exist is %+v", h)
	}
	if vm.Type != typeVM || vm.Path != "/DC0/vm/DC0_C0_RP0_VM0" {
		t.Errorf("%+v", vm)
	}
	if _, ok := w.Lookup("vm-none"); ok {
		t.Error("an object that does not exist is found")
	}
}
