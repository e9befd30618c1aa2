package vcproxy_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// denied lists the methods that the table denies, from the golden file that is
// held to the schema.
func denied(t *testing.T) (vim, pbm []string) {
	t.Helper()
	f, err := os.Open("testdata/methods.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var list *[]string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "# urn:vim25 denied":
			list = &vim
		case line == "# urn:pbm denied":
			list = &pbm
		case strings.HasPrefix(line, "#"):
			list = nil
		case list != nil:
			*list = append(*list, line)
		}
	}
	return vim, pbm
}

func TestEveryMethodOutsideOfTheListIsRefused(t *testing.T) {
	s := newStand(t, nil)
	session := cookie(t, s.client(t))
	before := len(s.tap.seen)
	vim, pbm := denied(t)
	if len(vim) < 800 || len(pbm) < 10 {
		t.Fatalf("only %d and %d methods are denied", len(vim), len(pbm))
	}
	for _, m := range vim {
		status, answer := s.post(t, session, envelope(`<`+m+` xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this></`+m+`>`), nil)
		if status != http.StatusInternalServerError || !strings.Contains(answer, `xsi:type="NoPermission"`) ||
			!strings.Contains(answer, m) || !strings.Contains(answer, `<object type="VirtualMachine">vm-1</object>`) {
			t.Errorf("%s is answered with %d %s", m, status, answer)
		}
	}
	for _, m := range pbm {
		_, answer := s.post(t, session, envelope(`<`+m+` xmlns="urn:pbm"><_this type="PbmProfileProfileManager">p</_this></`+m+`>`),
			func(r *http.Request) { r.URL.Path = "/pbm" })
		if !strings.Contains(answer, `xsi:type="NoPermission"`) || !strings.Contains(answer, m) {
			t.Errorf("%s is answered with %s", m, answer)
		}
	}
	if got := len(s.tap.seen); got != before {
		t.Errorf("%d requests reached vCenter", got-before)
	}
}

// partStand delegates one cluster, one folder of machines, one datastore and one
// port group.
func partStand(t *testing.T) (*stand, *inventory) {
	t.Helper()
	return partStandWith(t, vcproxy.Limits{}, nil)
}

func partStandWith(t *testing.T, limits vcproxy.Limits, before func(*simulator.Model)) (*stand, *inventory) {
	t.Helper()
	var inv *inventory
	s := newStandWith(t, before, func(s *stand, o *vcproxy.Options) {
		inv = s.read(t)
		o.Limits, o.Hosts = limits, anyHost{}
		o.Scope = vcproxy.Delegation{Inventory: inv, Roots: []vcproxy.Ref{
			inv.ref(t, "ClusterComputeResource", "DC0_C0"), inv.ref(t, "Folder", "vm"),
			inv.ref(t, "Datastore", "LocalDS_0"), inv.ref(t, "DistributedVirtualPortgroup", "DC0_DVPG0"),
		}}
	})
	return s, inv
}

// anyHost knows all hosts, and reaches none.
type anyHost struct{}

func (anyHost) Host(string) (vcproxy.Host, bool) {
	return vcproxy.Host{Address: "127.0.0.1:1", Thumbprint: strings.Repeat("00", 32)}, true
}

// refused wants a call to be refused with words.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("the call was let through")
		return
	}
	if !soap.IsSoapFault(err) {
		t.Errorf("the error is no fault: %v", err)
		return
	}
	if _, ok := soap.ToSoapFault(err).VimFault().(types.NoPermission); !ok {
		t.Errorf("the fault is %T: %v", soap.ToSoapFault(err).VimFault(), err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the fault says %q, want %q", err, w)
		}
	}
}

func reconfig(vc *vim25.Client, vm vcproxy.Ref, spec types.VirtualMachineConfigSpec) error {
	_, err := methods.ReconfigVM_Task(context.Background(), vc, &types.ReconfigVM_Task{This: vm, Spec: spec})
	return err
}

func device(d types.BaseVirtualDevice) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d},
	}}
}

func disk(file string) types.VirtualMachineConfigSpec {
	return device(&types.VirtualDisk{VirtualDevice: types.VirtualDevice{
		Key: -1, ControllerKey: 1000,
		Backing: &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}, DiskMode: "persistent"},
	}, CapacityInKB: 1024})
}

func card(b types.BaseVirtualDeviceBackingInfo) types.VirtualMachineConfigSpec {
	return device(&types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{Key: -1, Backing: b},
	}}})
}

func option(key string) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: key, Value: "x"}}}
}

func value(v any) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo.a", Value: v}}}
}

func TestWritesStayInTheDelegatedScope(t *testing.T) {
	s, inv := partStand(t)
	vc := s.client(t)
	ctx := t.Context()
	in, out := inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0"), inv.ref(t, "VirtualMachine", "DC0_H0_VM0")
	elsewhere := inv.ref(t, "Datastore", "LocalDS_1")
	t.Run("a machine of another cluster", func(t *testing.T) {
		_, err := methods.PowerOffVM_Task(ctx, vc, &types.PowerOffVM_Task{This: out})
		refused(t, err, "PowerOffVM_Task", out.Value, "outside of what is delegated")
	})
	t.Run("a machine inside", func(t *testing.T) {
		if _, err := methods.PowerOffVM_Task(ctx, vc, &types.PowerOffVM_Task{This: in}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a type that is a lie", func(t *testing.T) {
		_, err := methods.PowerOffVM_Task(ctx, vc, &types.PowerOffVM_Task{This: vcproxy.Ref{Type: "VirtualMachine", Value: inv.ref(t, "Folder", "vm").Value}})
		refused(t, err, "outside of what is delegated")
	})
	t.Run("a cluster destroyed", func(t *testing.T) {
		_, err := methods.Destroy_Task(ctx, vc, &types.Destroy_Task{This: inv.ref(t, "ClusterComputeResource", "DC0_C0")})
		refused(t, err, "not allowed on objects of this type")
	})
	t.Run("a clone to another datastore", func(t *testing.T) {
		_, err := methods.CloneVM_Task(ctx, vc, &types.CloneVM_Task{This: in, Folder: inv.ref(t, "Folder", "vm"), Name: "x", Spec: types.VirtualMachineCloneSpec{
			Location: types.VirtualMachineRelocateSpec{Datastore: &elsewhere},
		}})
		refused(t, err, elsewhere.Value)
	})
	t.Run("a move to another vCenter", func(t *testing.T) {
		_, err := methods.RelocateVM_Task(ctx, vc, &types.RelocateVM_Task{This: in, Spec: types.VirtualMachineRelocateSpec{
			Service: &types.ServiceLocator{InstanceUuid: "x", Url: "https://evil", Credential: &types.ServiceLocatorNamePassword{Username: "a", Password: "b"}},
		}})
		refused(t, err, "other vCenters")
	})
	t.Run("a ticket into the guest", func(t *testing.T) {
		for _, kind := range []string{"guestControl", "device", ""} {
			_, err := methods.AcquireTicket(ctx, vc, &types.AcquireTicket{This: in, TicketType: kind})
			refused(t, err, "tickets are given for consoles")
		}
	})
	t.Run("many machines that nobody knows", func(t *testing.T) {
		list := make([]vcproxy.Ref, 1000)
		for i := range list {
			list[i] = vcproxy.Ref{Type: "VirtualMachine", Value: fmt.Sprintf("vm-unknown-%d", i)}
		}
		before := len(s.tap.seen)
		_, err := methods.MoveIntoFolder_Task(ctx, vc, &types.MoveIntoFolder_Task{This: inv.ref(t, "Folder", "vm"), List: list})
		refused(t, err, "vm-unknown-0")
		if n := len(s.tap.seen) - before; n > 20 {
			t.Errorf("vCenter was asked %d times", n)
		}
	})
	t.Run("a folder into the machines' folder", func(t *testing.T) {
		_, err := methods.MoveIntoFolder_Task(ctx, vc, &types.MoveIntoFolder_Task{This: inv.ref(t, "Folder", "vm"), List: []vcproxy.Ref{inv.ref(t, "ClusterComputeResource", "DC0_C0")}})
		refused(t, err, "only virtual machines")
	})
	t.Run("a task of somebody else", func(t *testing.T) {
		_, err := methods.CancelTask(ctx, vc, &types.CancelTask{This: vcproxy.Ref{Type: "Task", Value: "task-1"}})
		refused(t, err, "not made by a call of this client")
	})
}

func TestSpecificationsStayInTheDelegatedScope(t *testing.T) {
	s, inv := partStand(t)
	vc, in := s.client(t), inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0")
	for name, test := range map[string]struct {
		spec types.VirtualMachineConfigSpec
		why  string
	}{
		"disk of another datastore":      {disk("[LocalDS_1] DC0_H0_VM0/disk1.vmdk"), `datastore "LocalDS_1" is not delegated`},
		"disk of an unknown datastore":   {disk("[nowhere] a/b.vmdk"), "is not delegated"},
		"disk by a path on the host":     {disk("/vmfs/volumes/LocalDS_1/a.vmdk"), "no path on a datastore"},
		"disk by two datastores":         {disk("[LocalDS_0] [LocalDS_1] a.vmdk"), "no path on a datastore"},
		"disk with a way up in disguise": {disk("[LocalDS_0] %2E%2e/a.vmdk"), "leads upward"},
		"disk by an address":             {disk("ds:///vmfs/volumes/x/a.vmdk"), "no path on a datastore"},
		"disk with a way up":             {disk("[LocalDS_0] ../LocalDS_1/a.vmdk"), "leads upward"},
		"working files elsewhere":        {types.VirtualMachineConfigSpec{Files: &types.VirtualMachineFileInfo{SnapshotDirectory: "[LocalDS_1] x"}}, "is not delegated"},
		"raw device":                     {device(&types.VirtualDisk{VirtualDevice: types.VirtualDevice{Backing: &types.VirtualDiskRawDiskMappingVer1BackingInfo{}}}), "backings of this type"},
		"device of the host":             {device(&types.VirtualPCIPassthrough{}), "devices of this type"},
		"serial port to the network":     {device(&types.VirtualSerialPort{VirtualDevice: types.VirtualDevice{Backing: &types.VirtualSerialPortURIBackingInfo{}}}), "not allowed"},
		"network by name":                {card(&types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"}}), `network "VM Network" is not delegated`},
		"port group without its name":    {card(&types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: "x", PortKey: "1"}}), "port group is not named"},
		"option that points to a file":   {option("scsi0:1.fileName"), "not on the gateway's list"},
		"option that turns on hardware":  {option("pciPassthru0.present"), "not on the gateway's list"},
		"option of two lines":            {option("guestinfo.a = \"b\"\nscsi0:1.fileName"), "not on the gateway's list"},
		"option with a blank":            {option("guestinfo.a b"), "not on the gateway's list"},
		"option without a name":          {option(""), "not on the gateway's list"},
		"value of two lines":             {value("b\nscsi0:1.fileName = \"x\""), "is not one line of text"},
		"value that is no text":          {value(types.ArrayOfString{String: []string{"b"}}), "is not one line of text"},
		"encryption":                     {types.VirtualMachineConfigSpec{Crypto: &types.CryptoSpecDecrypt{}}, "encryption"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, reconfig(vc, in, test.spec), test.why) })
	}
	for name, spec := range map[string]types.VirtualMachineConfigSpec{
		"a new disk beside the machine":         disk(""),
		"a disk of the delegated one":           disk("[LocalDS_0] x/y.vmdk"),
		"an option of OpenStack":                option("nvp.vm-uuid"),
		"a long text":                           value(strings.Repeat("dXNlcmRhdGE=", 4000)),
		"a delegated port group":                card(&types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: "x", PortgroupKey: inv.ref(t, "DistributedVirtualPortgroup", "DC0_DVPG0").Value}}),
		"an annotation that begins like a path": {Annotation: "[LocalDS_1] is not mine"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := reconfig(vc, in, spec); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFilesStayOnDelegatedDatastores(t *testing.T) {
	s, inv := partStand(t)
	vc := s.client(t)
	dc := inv.ref(t, "Datacenter", "DC0")
	fm, dm := *vc.ServiceContent.FileManager, *vc.ServiceContent.VirtualDiskManager
	mkdir := func(path string) error {
		_, err := methods.MakeDirectory(t.Context(), vc, &types.MakeDirectory{This: fm, Name: path, Datacenter: &dc})
		return err
	}
	if err := mkdir("[LocalDS_0] images"); err != nil {
		t.Error(err)
	}
	refused(t, mkdir("[LocalDS_1] images"), "LocalDS_1", "MakeDirectory")
	refused(t, mkdir("https://"+s.vc.URL.Host+"/folder/images?dsName=LocalDS_1"), "no path on a datastore")
	refused(t, mkdir("[LocalDS_0] a/../../b"), "upward")
	_, err := methods.CopyVirtualDisk_Task(t.Context(), vc, &types.CopyVirtualDisk_Task{This: dm, SourceName: "[LocalDS_1] a.vmdk", SourceDatacenter: &dc, DestName: "[LocalDS_0] b.vmdk"})
	refused(t, err, "sourceName", "LocalDS_1")
	_, err = methods.CopyVirtualDisk_Task(t.Context(), vc, &types.CopyVirtualDisk_Task{This: dm, SourceName: "[LocalDS_0] a.vmdk", SourceDatacenter: &dc, DestName: "[LocalDS_1] b.vmdk"})
	refused(t, err, "destName", "LocalDS_1")
	if _, err = methods.CreateVirtualDisk_Task(t.Context(), vc, &types.CreateVirtualDisk_Task{This: dm, Name: "[LocalDS_0] d.vmdk", Datacenter: &dc, Spec: &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}, CapacityKb: 1024,
	}}); err != nil {
		t.Error(err)
	}
}

func TestOnlyOpenStacksExtensionIsRegistered(t *testing.T) {
	s := newStand(t, nil)
	vc := s.client(t)
	register := func(e types.Extension) error {
		e.Description = &types.Description{Label: "l", Summary: "s"}
		_, err := methods.RegisterExtension(t.Context(), vc, &types.RegisterExtension{This: *vc.ServiceContent.ExtensionManager, Extension: e})
		return err
	}
	if err := register(types.Extension{Key: "org.openstack.compute", Version: "1.0"}); err != nil {
		t.Error(err)
	}
	refused(t, register(types.Extension{Key: "com.evil", Version: "1.0"}), "OpenStack's own")
	refused(t, register(types.Extension{Key: "org.openstack.storage", Version: "1.0", Server: []types.ExtensionServerInfo{{Url: "https://evil"}}}), `"server"`)
}

func TestSecretsAreNotRead(t *testing.T) {
	s, inv := partStand(t)
	vc := s.client(t)
	in, out := inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0"), inv.ref(t, "VirtualMachine", "DC0_H0_VM0")
	sm, am := *vc.ServiceContent.SessionManager, *vc.ServiceContent.AuthorizationManager
	read := func(set types.PropertySpec, obj types.ObjectSpec) error {
		_, err := methods.RetrievePropertiesEx(t.Context(), vc, &types.RetrievePropertiesEx{This: vc.ServiceContent.PropertyCollector, SpecSet: []types.PropertyFilterSpec{
			{PropSet: []types.PropertySpec{set}, ObjectSet: []types.ObjectSpec{obj}},
		}})
		return err
	}
	all := types.NewBool(true)
	tree := []types.BaseSelectionSpec{&types.TraversalSpec{Type: "Folder", Path: "childEntity"}}
	for name, test := range map[string]struct {
		set types.PropertySpec
		obj types.ObjectSpec
	}{
		"sessions of others":          {types.PropertySpec{Type: "SessionManager", PathSet: []string{"sessionList"}}, types.ObjectSpec{Obj: sm}},
		"session and sessions":        {types.PropertySpec{Type: "SessionManager", PathSet: []string{"currentSession", "sessionList"}}, types.ObjectSpec{Obj: sm}},
		"all of the sessions":         {types.PropertySpec{Type: "SessionManager", All: all}, types.ObjectSpec{Obj: sm}},
		"sessions by their base type": {types.PropertySpec{Type: "ManagedObject", All: all}, types.ObjectSpec{Obj: sm}},
		"permissions":                 {types.PropertySpec{Type: "AuthorizationManager", PathSet: []string{"roleList"}}, types.ObjectSpec{Obj: am}},
		"settings":                    {types.PropertySpec{Type: "OptionManager", PathSet: []string{"setting"}}, types.ObjectSpec{Obj: *vc.ServiceContent.Setting}},
		"options of a machine":        {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"config.extraConfig"}}, types.ObjectSpec{Obj: out}},
		"in capitals":                 {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"Config.ExtraConfig"}}, types.ObjectSpec{Obj: out}},
		"one option":                  {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{`config.extraConfig["guestinfo.userdata"]`}}, types.ObjectSpec{Obj: out}},
		"what the options are in":     {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"config"}}, types.ObjectSpec{Obj: out}},
		"everything":                  {types.PropertySpec{Type: "VirtualMachine", All: all}, types.ObjectSpec{Obj: out}},
		"everything of a base type":   {types.PropertySpec{Type: "ManagedEntity", All: all}, types.ObjectSpec{Obj: out}},
		"by a way to other machines":  {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"config"}}, types.ObjectSpec{Obj: inv.ref(t, "Folder", "vm"), SelectSet: tree}},
		"no property":                 {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"name,config"}}, types.ObjectSpec{Obj: in}},
		"task of somebody else":       {types.PropertySpec{Type: "Task", PathSet: []string{"info"}}, types.ObjectSpec{Obj: vcproxy.Ref{Type: "Task", Value: "task-1"}}},
		"lease of somebody else":      {types.PropertySpec{Type: "HttpNfcLease", PathSet: []string{"info"}}, types.ObjectSpec{Obj: vcproxy.Ref{Type: "HttpNfcLease", Value: "lease-1"}}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, read(test.set, test.obj), "RetrievePropertiesEx") })
	}
	t.Run("by a filter", func(t *testing.T) {
		_, err := methods.CreateFilter(t.Context(), vc, &types.CreateFilter{This: vc.ServiceContent.PropertyCollector, Spec: types.PropertyFilterSpec{
			PropSet:   []types.PropertySpec{{Type: "SessionManager", PathSet: []string{"sessionList"}}},
			ObjectSet: []types.ObjectSpec{{Obj: sm}},
		}})
		refused(t, err, "CreateFilter")
	})
	for name, test := range map[string]struct {
		set types.PropertySpec
		obj types.ObjectSpec
	}{
		"a delegated machine's own options": {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"config.extraConfig"}}, types.ObjectSpec{Obj: in}},
		"harmless ones of any":              {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"name", "config.hardware.device"}}, types.ObjectSpec{Obj: out}},
		"a port group's settings":           {types.PropertySpec{Type: "DistributedVirtualPortgroup", PathSet: []string{"config"}}, types.ObjectSpec{Obj: inv.prefixed(t, "DVS0-DVUplinks")}},
		"OpenStack's mark":                  {types.PropertySpec{Type: "VirtualMachine", PathSet: []string{`config.extraConfig["nvp.vm-uuid"]`}}, types.ObjectSpec{Obj: in}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := read(test.set, test.obj); err != nil {
				t.Error(err)
			}
		})
	}
}

func ExampleDelegation() {
	fmt.Println(vcproxy.Delegation{Inventory: new(inventory)}.Contains(vcproxy.Ref{Type: "Folder", Value: "group-v3"}))
	// Output: false
}
