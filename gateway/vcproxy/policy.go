package vcproxy

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

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
	port     func(group Ref, key string) bool // whether the port is of the group
	near     func(Ref) Ref                    // what the inventory knows at or around an object
}

// newbornsMax bounds for how many objects of one call vCenter is asked; others
// are not delegated until the inventory has them. portsMax does it for ports: a
// machine has ten cards.
const (
	newbornsMax = 8
	portsMax    = 10
)

func (b *Broker) judge(ctx context.Context, s *session) judge {
	asked, around := 0, make(map[Ref]Ref)
	contains := func(ref Ref) bool {
		if b.opts.Scope.Contains(ref) {
			return true
		}
		if b.opts.Scope.Knows(ref) {
			return false
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
	ports := 0
	port := func(group Ref, key string) bool {
		ports++
		return ports <= portsMax && b.hasPort(ctx, s, group, key)
	}
	return judge{scope: b.opts.Scope, contains: contains, own: s.owns, port: port, near: near}
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
	case r.class == classRead && f.target.Type == ovf:
		object, why = j.objects(f)
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

// objects checks that all objects beside _this are delegated: a descriptor shows
// the options of a machine.
func (j judge) objects(f *facts) (Ref, string) {
	for _, e := range f.refs {
		if ref := e.ref(); ref != f.target && !j.contains(ref) {
			return ref, outside
		}
	}
	return Ref{}, ""
}

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
		if why := calledLike(e); why != "" {
			return f.target, e.local + ": " + why
		}
	}
	for _, st := range f.structs {
		if why := j.structure(f.target, st); why != "" {
			return f.target, st.t.Name() + ": " + why
		}
	}
	return Ref{}, ""
}

// calledLike checks what a machine or its configuration file is called, after which
// vCenter calls its disks.
func calledLike(e *element) string {
	_, file, _ := splitPath(e.text)
	switch {
	case (e.local == "name" || e.local == "newName") && isExtent(strings.TrimSpace(e.text)+".vmdk"):
		return "names in -flat are left to the contents of disks"
	case e.local == "vmPathName" && file != "" && (ending(file) != ".vmx" || isExtent(file)):
		return fmt.Sprintf("%.80q is no file of a machine: its name must end in .vmx", file)
	}
	return ""
}

// ticketTypes are of consoles; others reach into the guest or bring devices.
var ticketTypes = []string{"mks", "webmks"}

// pathElements hold a datastore path or nothing.
var pathElements = []string{
	"fileName", "vmPathName", "snapshotDirectory", "suspendDirectory", "logDirectory", "ftMetadataDirectory", "path", "datastorePath",
}

// path checks a path such as "[datastore1] dir/disk.vmdk".
func (j judge) path(near Ref, text string) string {
	name, file, ok := splitPath(text)
	if !ok {
		return fmt.Sprintf("%.80q is no path on a datastore", text)
	}
	if file != "" && !straight(file) {
		return fmt.Sprintf("the path %.80q leads upward or can be read in several ways", text)
	}
	return j.place(j.named(j.scope.Datastores, near, name), name, file)
}

// place checks a file on what a name of a datastore may mean.
func (j judge) place(stores []Ref, name, file string) string {
	if !j.all(stores) {
		return fmt.Sprintf("the datastore %.80q is not delegated", name)
	}
	top, _, _ := strings.Cut(file, "/")
	if top == "" {
		return ""
	}
	if isReserved(top) {
		return fmt.Sprintf("%.80q is a directory of vCenter or of hosts", top)
	}
	for _, ds := range stores {
		if users := j.scope.Users(ds, top); !j.all(users) && len(users) > 0 {
			return fmt.Sprintf("a machine that is not delegated has files in %.80q", "["+name+"] "+top)
		}
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
	diskSpecTypes = []string{"VirtualDiskSpec", "FileBackedVirtualDiskSpec", "SeSparseVirtualDiskSpec"}
	// extraConfigKeys are beginnings, in lower case. Other keys can point a
	// device at any file or hardware.
	extraConfigKeys = []string{"nvp.", "guestinfo.", "remotedisplay.vnc.", "volume-", "disk.enableuuid", "mks.enable3d", "ctkenabled", "machine.id", "keyboard.typematicmindelay"}
	deviceIface     = reflect.TypeFor[types.BaseVirtualDevice]()
	backingIface    = reflect.TypeFor[types.BaseVirtualDeviceBackingInfo]()
	diskSpecIface   = reflect.TypeFor[types.BaseVirtualDiskSpec]()
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
	case ptr.Implements(diskSpecIface) && !slices.Contains(diskSpecTypes, name):
		return "disks are files, and not devices of a host"
	case ptr.Implements(optionIface) && st.local == "extraConfig":
		return extraConfig(st.element)
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
		if key := port.value("portKey"); key != "" && !j.port(Ref{Type: portGroup, Value: port.value("portgroupKey")}, key) {
			return fmt.Sprintf("the port %.40q is not one of the port group", key)
		}
	default:
		_, file, _ := splitPath(st.value("fileName"))
		if st.value("backingObjectId") != "" && st.value("fileName") == "" {
			return "the backing names an object without a file"
		}
		if strings.HasPrefix(name, "VirtualDisk") && file != "" && !isDisk(file) {
			return notDisk(file)
		}
	}
	return ""
}

// optionKey is what the key of an option is made of: what is not can begin another
// line of the machine's configuration file.
var optionKey = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

func extraConfig(option *element) string {
	key := option.value("key")
	lower := strings.ToLower(key)
	if !optionKey.MatchString(key) || !slices.ContainsFunc(extraConfigKeys, func(known string) bool { return strings.HasPrefix(lower, known) }) {
		return fmt.Sprintf("the option %.80q is not on the gateway's list", key)
	}
	if value, _ := option.child("value"); value != nil && (len(value.children) > 0 || strings.ContainsFunc(value.text, unicode.IsControl)) {
		return fmt.Sprintf("the value of the option %.80q is not one line of text", key)
	}
	return ""
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
		why := j.path(near, e.text)
		if why == "" {
			why = handled(c, f.target.Type, e.text)
		}
		if why != "" {
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

// handled checks what a call does to a file of that path.
func handled(c *call, manager, text string) string {
	_, file, _ := splitPath(text)
	_, from, _ := splitPath(c.root.value("sourceName"))
	switch {
	case manager == browser: // which only lists
	case file == "":
		return "the path is a whole datastore"
	case manager == disks && !isDisk(file):
		return notDisk(file)
	case manager == files && from != "" && isExtent(file):
		return "the contents of disks are copied and moved as disks"
	case manager == files && from != "" && (!slices.Contains(endings, ending(file)) || ending(file) != ending(from)):
		return fmt.Sprintf("files are copied and moved under the same ending of their names, which is one of %q", endings)
	}
	return ""
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
