package vcproxy

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// refusal is a call that the policy does not let through.
type refusal struct {
	method string
	object Ref
	why    string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the gateway refuses %s on %s %s: %s", r.method, r.object.Type, r.object.Value, r.why)
}

// facts are what a call says, collected by one walk through it.
type facts struct {
	target  Ref // _this
	refs    []*element
	structs []typed
	strings []*element
}

type typed struct {
	*element
	t reflect.Type
}

// collect checks a call against the schema and finds what the policy judges.
func (s *schema) collect(c *call) (*facts, error) {
	f := new(facts)
	err := s.check(c, func(e *element, t reflect.Type) error {
		switch {
		case t == refType:
			f.refs = append(f.refs, e)
		case t.Kind() == reflect.Struct && t != timeType:
			f.structs = append(f.structs, typed{e, t})
		case t.Kind() == reflect.String:
			f.strings = append(f.strings, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	this, _ := c.root.child("_this")
	if this == nil {
		return nil, fmt.Errorf("%s does not say which object it is for", c.method())
	}
	f.target = this.ref()
	return f, nil
}

// judge decides on one call of one session.
type judge struct {
	scope    Scope
	contains func(Ref) bool // scope.Contains, and what is too new for it
	own      func(Ref) bool
	near     func(Ref) Ref // what the inventory knows at or around an object
}

// newbornsMax bounds for how many objects of one call vCenter is asked; others
// are not delegated until the inventory has them.
const newbornsMax = 8

func (b *Broker) judge(ctx context.Context, s *session) judge {
	asked, around := 0, make(map[Ref]Ref)
	contains := func(ref Ref) bool {
		if b.opts.Scope.Contains(ref) {
			return true
		}
		if asked++; asked > newbornsMax {
			return false
		}
		above, ok := b.newborn(ctx, s, ref)
		if ok {
			around[ref] = above
		}
		return ok
	}
	near := func(ref Ref) Ref {
		if above, ok := around[ref]; ok {
			return above
		}
		if ref.Type == browser {
			return b.browsed(ctx, s, ref)
		}
		return ref
	}
	return judge{scope: b.opts.Scope, contains: contains, own: s.owns, near: near}
}

// named finds what a name may mean near an object. If it means several things,
// the object may be one that only vCenter can place.
func (j judge) named(find func(Ref, string) []Ref, near Ref, name string) []Ref {
	refs := find(near, name)
	if len(refs) > 1 && near != (Ref{}) {
		refs = find(j.near(near), name)
	}
	return refs
}

// call returns nil, or the refusal.
func (j judge) call(c *call, r rule, f *facts) error {
	object, why := f.target, ""
	switch {
	case r.class == classDenied:
		why = "the method is not on the gateway's list"
	case !r.allows(f.target.Type):
		why = "the method is not allowed on objects of this type"
	case r.class == classWrite:
		object, why = j.write(c, f)
	case r.class == classFiles:
		object, why = j.files(c, f)
	case r.class == classOwn && !j.own(f.target):
		why = "it was not made by a call of this client"
	case r.class == classRead:
		object, why = j.read(c, f)
	case r.class == classExtension:
		why = extension(c)
	}
	if why == "" {
		return nil
	}
	return &refusal{c.method(), object, why}
}

const outside = "the object is outside of what is delegated, or the gateway's inventory does not have it"

// write checks that everything that a changing call names is delegated.
func (j judge) write(c *call, f *facts) (Ref, string) {
	for _, e := range f.refs {
		if !j.contains(e.ref()) {
			return e.ref(), outside
		}
		if c.method() == "MoveIntoFolder_Task" && e.ref() != f.target && e.refType != vm {
			return e.ref(), "only virtual machines are moved from here"
		}
	}
	if kind := c.root.value("ticketType"); c.method() == "AcquireTicket" && !slices.Contains(ticketTypes, kind) {
		return f.target, fmt.Sprintf("tickets are given for consoles, not for %.32q", kind)
	}
	for _, e := range f.strings {
		if strings.HasPrefix(e.text, "[") && e.local != "annotation" || slices.Contains(pathElements, e.local) && e.text != "" {
			if why := j.path(f.target, e.text); why != "" {
				return f.target, e.local + ": " + why
			}
		}
	}
	for _, st := range f.structs {
		if why := j.structure(f.target, st); why != "" {
			return f.target, st.t.Name() + ": " + why
		}
	}
	return Ref{}, ""
}

// ticketTypes are of consoles; others reach into the guest or bring devices.
var ticketTypes = []string{"mks", "webmks"}

// pathElements hold a datastore path or nothing.
var pathElements = []string{
	"fileName", "vmPathName", "snapshotDirectory", "suspendDirectory", "logDirectory", "ftMetadataDirectory", "path", "datastorePath",
}

// path checks a path such as "[datastore1] dir/disk.vmdk".
func (j judge) path(near Ref, text string) string {
	name, file, ok := strings.Cut(strings.TrimPrefix(text, "["), "]")
	if !ok || text[0] != '[' || name == "" || strings.ContainsAny(name, "[/") || strings.Contains(file, "]") || file != "" && file[0] != ' ' {
		return fmt.Sprintf("%.80q is no path on a datastore", text)
	}
	for part := range strings.FieldsFuncSeq(file, func(r rune) bool { return r == '/' || r == '\\' || r == ' ' }) {
		if part == ".." || strings.Contains(strings.ToLower(part), "%2e") {
			return "the path leads upward"
		}
	}
	if !j.all(j.named(j.scope.Datastores, near, name)) {
		return fmt.Sprintf("the datastore %.80q is not delegated", name)
	}
	return ""
}

// all says whether what a name may mean is delegated, all of it, and something.
func (j judge) all(refs []Ref) bool {
	return len(refs) > 0 && !slices.ContainsFunc(refs, func(r Ref) bool { return !j.scope.Contains(r) })
}

// Devices that a client may give a virtual machine, and what may be behind them:
// disks and images on datastores, network cards, and no hardware of the host.
var (
	deviceTypes = []string{
		"VirtualDisk", "VirtualCdrom", "VirtualE1000", "VirtualE1000e", "VirtualPCNet32", "VirtualVmxnet", "VirtualVmxnet2", "VirtualVmxnet3",
		"VirtualIDEController", "VirtualLsiLogicController", "VirtualLsiLogicSASController", "ParaVirtualSCSIController",
		"VirtualBusLogicController", "VirtualAHCIController", "VirtualNVMEController", "VirtualMachineVideoCard",
		"VirtualKeyboard", "VirtualPointingDevice", "VirtualPCIController", "VirtualPS2Controller",
	}
	backingTypes = []string{
		"VirtualDiskFlatVer2BackingInfo", "VirtualDiskSeSparseBackingInfo", "VirtualDiskSparseVer2BackingInfo",
		"VirtualCdromIsoBackingInfo", "VirtualCdromRemoteAtapiBackingInfo", "VirtualCdromRemotePassthroughBackingInfo",
		"VirtualEthernetCardNetworkBackingInfo", "VirtualEthernetCardDistributedVirtualPortBackingInfo",
		"VirtualEthernetCardOpaqueNetworkBackingInfo",
	}
	// extraConfigKeys are beginnings, in lower case. Other keys can point a
	// device at any file or hardware.
	extraConfigKeys = []string{"nvp.", "guestinfo.", "remotedisplay.vnc.", "volume-", "disk.enableuuid", "mks.enable3d", "ctkenabled", "machine.id", "keyboard.typematicmindelay"}
	deviceIface     = reflect.TypeFor[types.BaseVirtualDevice]()
	backingIface    = reflect.TypeFor[types.BaseVirtualDeviceBackingInfo]()
	optionIface     = reflect.TypeFor[types.BaseOptionValue]()
)

// structure checks one data object of a changing call.
func (j judge) structure(near Ref, st typed) string {
	name, ptr := st.t.Name(), reflect.PointerTo(st.t)
	switch {
	case ptr.Implements(deviceIface) && !slices.Contains(deviceTypes, name):
		return "devices of this type are not allowed"
	case ptr.Implements(backingIface):
		return j.backing(near, st)
	case ptr.Implements(optionIface) && st.local == "extraConfig":
		return extraConfig(st.value("key"))
	case strings.HasPrefix(name, "ServiceLocator"):
		return "other vCenters are not reached from here"
	case strings.HasPrefix(name, "CryptoSpec"):
		return "encryption is not changed from here"
	case name == "VirtualAppImportSpec":
		return "vApps are not imported from here"
	}
	return ""
}

func (j judge) backing(near Ref, st typed) string {
	name := st.t.Name()
	if !slices.Contains(backingTypes, name) {
		return "backings of this type are not allowed"
	}
	switch name {
	case "VirtualEthernetCardNetworkBackingInfo":
		if !j.all(j.named(j.scope.Networks, near, st.value("deviceName"))) {
			return fmt.Sprintf("the network %.80q is not delegated", st.value("deviceName"))
		}
	case "VirtualEthernetCardOpaqueNetworkBackingInfo":
		if !j.all(j.named(j.scope.Networks, near, st.value("opaqueNetworkId"))) {
			return fmt.Sprintf("the opaque network %.80q is not delegated", st.value("opaqueNetworkId"))
		}
	case "VirtualEthernetCardDistributedVirtualPortBackingInfo":
		port, _ := st.child("port")
		if port == nil || !j.scope.Contains(Ref{Type: portGroup, Value: port.value("portgroupKey")}) {
			return "the port group is not named or not delegated"
		}
	default:
		if st.value("backingObjectId") != "" && st.value("fileName") == "" {
			return "the backing names an object without a file"
		}
	}
	return ""
}

func extraConfig(key string) string {
	lower := strings.ToLower(key)
	if slices.ContainsFunc(extraConfigKeys, func(known string) bool { return strings.HasPrefix(lower, known) }) {
		return ""
	}
	return fmt.Sprintf("the option %.80q is not on the gateway's list", key)
}

// datacenterOf is the element that says in which datacenter the datastore of a
// path is; the second is asked when the first is not there.
var datacenterOf = map[string][2]string{
	"name":            {"datacenter", ""},
	"datastorePath":   {"datacenter", ""},
	"sourceName":      {"sourceDatacenter", ""},
	"destName":        {"destDatacenter", "sourceDatacenter"},
	"destinationName": {"destinationDatacenter", "sourceDatacenter"},
}

// files checks a call that names its objects by paths. The datacenters in it
// only say where to look for the datastores; they need not be delegated.
func (j judge) files(c *call, f *facts) (Ref, string) {
	paths := 0
	for _, e := range c.root.children {
		where, ok := datacenterOf[e.local]
		if !ok {
			continue
		}
		paths++
		near := f.target
		if f.target.Type != browser {
			near = Ref{}
		}
		for _, name := range slices.Backward(where[:]) {
			if dc, _ := c.root.child(name); dc != nil {
				near = dc.ref()
			}
		}
		if why := j.path(near, e.text); why != "" {
			return f.target, e.local + ": " + why
		}
	}
	if paths == 0 {
		return f.target, "the call names no path"
	}
	for _, e := range f.refs {
		if ref := e.ref(); ref != f.target && ref.Type != "Datacenter" && !j.contains(ref) {
			return ref, outside
		}
	}
	for _, e := range f.strings {
		if _, top := datacenterOf[e.local]; !top && strings.HasPrefix(e.text, "[") {
			return f.target, e.local + ": a path stands where none belongs"
		}
	}
	for _, st := range f.structs {
		if why := j.structure(f.target, st); why != "" {
			return f.target, st.t.Name() + ": " + why
		}
	}
	return Ref{}, ""
}

// extensionKeys are how OpenStack marks what it made.
var extensionKeys = []string{"org.openstack.compute", "org.openstack.storage"}

// extension lets a client register the mark, and nothing that vCenter would call
// or load.
func extension(c *call) string {
	ext, _ := c.root.child("extension")
	if ext == nil || !slices.Contains(extensionKeys, ext.value("key")) {
		return "only OpenStack's own extensions are registered from here"
	}
	for _, e := range ext.children {
		switch e.local {
		case "key", "version", "company", "type", "description", "managedEntityInfo", "lastHeartbeatTime", "shownInSolutionManager":
		default:
			return fmt.Sprintf("an extension with %q is not registered from here", e.local)
		}
	}
	return ""
}
