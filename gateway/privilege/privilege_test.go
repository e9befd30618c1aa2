package privilege_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/privilege"
	"github.com/openpf9/openpf9/gateway/session"
)

// authority answers in the place of vcsim's, which grants everything.
type authority struct {
	*simulator.AuthorizationManager
	lacks  map[string][]string // privileges by the object's id; "*": on all
	fault  func(types.ManagedObjectReference) types.BaseMethodFault
	forget bool // does not answer for all
	asked  [][]types.ManagedObjectReference
}

func (a *authority) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	a.asked = append(a.asked, req.Entity)
	body := &methods.HasPrivilegeOnEntitiesBody{Res: &types.HasPrivilegeOnEntitiesResponse{}}
	for _, e := range req.Entity {
		if a.fault != nil {
			if f := a.fault(e); f != nil {
				return &methods.HasPrivilegeOnEntitiesBody{Fault_: simulator.Fault("", f)}
			}
		}
		said := types.EntityPrivilege{Entity: e}
		for _, id := range req.PrivId {
			lacks := slices.Contains(a.lacks[e.Value], id) || slices.Contains(a.lacks["*"], id)
			said.PrivAvailability = append(said.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: !lacks})
		}
		if a.forget {
			said.PrivAvailability = said.PrivAvailability[1:]
		}
		body.Res.Returnval = append(body.Res.Returnval, said)
	}
	return body
}

// vcenter is a vcsim with an authority of ours, and somebody who is logged in.
func vcenter(t *testing.T, change func(*simulator.Model)) (*authority, *session.Login) {
	t.Helper()
	model := simulator.VPX()
	if change != nil {
		change(model)
	}
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Remove)
	ref := *model.ServiceContent.AuthorizationManager
	a := &authority{AuthorizationManager: model.Map().Get(ref).(*simulator.AuthorizationManager)}
	model.Map().Put(a)
	for _, role := range a.RoleList {
		if role.Name == "Admin" {
			for _, id := range role.Privilege {
				a.PrivilegeList = append(a.PrivilegeList, types.AuthorizationPrivilege{PrivId: id})
			}
		}
	}
	for _, o := range model.Map().All("DistributedVirtualPortgroup") {
		if pg := o.(*simulator.DistributedVirtualPortgroup); strings.Contains(pg.Name, "DVUplinks") {
			pg.Tag = []types.Tag{{Key: "SYSTEM/DVS.UPLINKPG"}}
		}
	}
	model.Service.TLS = new(tls.Config)
	server := model.Service.NewServer()
	t.Cleanup(server.Close)
	sum := sha256.Sum256(server.TLS.Certificates[0].Certificate[0])
	s, err := session.New(session.Options{
		URL: "https://" + server.URL.Host, Pin: hex.EncodeToString(sum[:]),
		Account: func() (session.Account, error) { return session.Account{User: "gw", Password: "secret"}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l, err := s.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, l
}

func find(t *testing.T, l *session.Login, clusters ...string) []privilege.Object {
	t.Helper()
	found, err := privilege.Find(t.Context(), l.Client, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// paths are what is found, as "place path".
func paths(found []privilege.Object) []string {
	var out []string
	for _, o := range found {
		out = append(out, string(o.Place)+" "+o.Path)
	}
	return out
}

func TestFindsWhatTheClustersUse(t *testing.T) {
	_, l := vcenter(t, func(m *simulator.Model) { m.Datacenter, m.Cluster = 2, 2 })
	all := paths(find(t, l))
	for _, want := range []string{"root /", "folder /DC0/vm", "folder /DC1/vm", "cluster /DC0/host/DC0_C0", "cluster /DC1/host/DC1_C1", "cluster /DC0/host/DC0_H0", "datastore /DC0/datastore/LocalDS_0", "network /DC0/network/VM Network"} {
		if !slices.Contains(all, want) {
			t.Errorf("%q is not among what is found: %q", want, all)
		}
	}
	for name, chosen := range map[string]string{"by name": "DC1_C0", "by path": "/DC1/host/DC1_C0"} {
		want := []string{"root /", "datastore /DC1/datastore/LocalDS_0", "cluster /DC1/host/DC1_C0", "network /DC1/network/DC1_DVPG0", "network /DC1/network/VM Network", "folder /DC1/vm"}
		if d := cmp.Diff(want, paths(find(t, l, chosen))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := privilege.Find(t.Context(), l.Client, []string{"DC1_C0", "gone"}); err == nil || !strings.Contains(err.Error(), `["gone"]`) {
		t.Errorf("Find of a cluster that is not there: %v", err)
	}
}

func TestVcsimGrantsAndKnowsAllThatIsNeeded(t *testing.T) {
	a, l := vcenter(t, nil)
	needs := slices.Concat(privilege.Discovery(), privilege.Control())
	missing, err := privilege.Check(t.Context(), l.Client, l.User.Key, needs, find(t, l))
	if err != nil || len(missing) > 0 {
		t.Fatalf("Check = %v, %v", missing, err)
	}
	a.lacks = make(map[string][]string)
	want := make(map[string]bool)
	for _, n := range needs {
		a.lacks["*"] = append(a.lacks["*"], n.Privileges...)
		for _, id := range n.Privileges {
			want[id] = true
		}
	}
	missing, err = privilege.Check(t.Context(), l.Client, l.User.Key, needs, find(t, l))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range missing {
		if m.Without == "" || m.Function == "" || m.Object.Path == "" {
			t.Errorf("%+v does not say what and where", m)
		}
		delete(want, m.Privilege)
	}
	if len(want) > 0 {
		t.Errorf("not asked for, or not known by vcsim: %v", want)
	}
}

func TestMissingPrivilegesAreTold(t *testing.T) {
	a, l := vcenter(t, nil)
	on := find(t, l, "DC0_C0")
	i := slices.IndexFunc(on, func(o privilege.Object) bool { return o.Place == privilege.Folder })
	ds := slices.IndexFunc(on, func(o privilege.Object) bool { return o.Place == privilege.Datastore })
	a.lacks = map[string][]string{
		on[i].Ref.Value:  {"VirtualMachine.Interact.PowerOn", "VirtualMachine.State.CreateSnapshot", "Datastore.Browse"},
		on[ds].Ref.Value: {"Datastore.AllocateSpace"},
	}
	missing, err := privilege.Check(t.Context(), l.Client, l.User.Key, privilege.Control(), on)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range missing {
		got = append(got, m.Function+" "+m.Privilege+" "+m.Object.Path)
	}
	want := []string{
		"power VirtualMachine.Interact.PowerOn /DC0/vm", "snapshots VirtualMachine.State.CreateSnapshot /DC0/vm",
		"provisioning Datastore.AllocateSpace /DC0/datastore/LocalDS_0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestObjectsGoneAreLeftOutAndHiddenOnesLackEverything(t *testing.T) {
	a, l := vcenter(t, func(m *simulator.Model) { m.Datastore = 3 })
	on := slices.DeleteFunc(find(t, l, "DC0_C0"), func(o privilege.Object) bool { return o.Place != privilege.Datastore })
	a.fault = func(r types.ManagedObjectReference) types.BaseMethodFault {
		switch r {
		case on[0].Ref:
			return &types.ManagedObjectNotFound{Obj: r}
		case on[2].Ref:
			return &types.NoPermission{Object: &r, PrivilegeId: "System.Read"}
		}
		return nil
	}
	missing, err := privilege.Check(t.Context(), l.Client, l.User.Key, privilege.Control(), on)
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 4 || slices.ContainsFunc(missing, func(m privilege.Missing) bool { return m.Object != on[2] }) {
		t.Errorf("Check = %v, want the 4 privileges on %s", missing, on[2].Path)
	}
}

func TestManyObjectsAreAskedForInBatches(t *testing.T) {
	a, l := vcenter(t, func(m *simulator.Model) { m.Datastore = 130 })
	if _, err := privilege.Check(t.Context(), l.Client, l.User.Key, privilege.Control(), find(t, l, "DC0_C0")); err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, refs := range a.asked {
		if refs[0].Type == "Datastore" {
			sizes = append(sizes, len(refs))
		}
	}
	if d := cmp.Diff([]int{100, 30}, sizes); d != "" {
		t.Error(d)
	}
}

func TestHalfAnAnswerIsNone(t *testing.T) {
	a, l := vcenter(t, nil)
	a.forget = true
	if missing, err := privilege.Check(t.Context(), l.Client, l.User.Key, privilege.Discovery(), find(t, l)); err == nil || !strings.Contains(err.Error(), "answers for 2 of 3") {
		t.Errorf("Check = %v, %v", missing, err)
	}
}

func TestUnknownPrivilegesAreNotAskedFor(t *testing.T) {
	a, l := vcenter(t, nil)
	needs := []privilege.Need{{Function: "new", Place: privilege.Root, Privileges: []string{"Not.Yet.There"}}}
	a.lacks = map[string][]string{"*": {"Not.Yet.There"}}
	if missing, err := privilege.Check(t.Context(), l.Client, l.User.Key, needs, find(t, l)); err != nil || len(missing)+len(a.asked) > 0 {
		t.Errorf("Check = %v, %v", missing, err)
	}
	a.PrivilegeList = nil // it does not say
	if missing, err := privilege.Check(t.Context(), l.Client, l.User.Key, needs, find(t, l)); err != nil || len(missing) != 1 {
		t.Errorf("without the list of privileges Check = %v, %v", missing, err)
	}
}
