package vcproxy

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// readable are the types of objects whose properties may be read. What is not
// here holds sessions, permissions, settings, licences or keys.
var readable = []string{
	"ManagedEntity", "Folder", "Datacenter", "ComputeResource", "ClusterComputeResource", "HostSystem", "ResourcePool", "VirtualApp",
	"VirtualMachine", "VirtualMachineSnapshot", "Datastore", "StoragePod", "Network", "OpaqueNetwork", "DistributedVirtualPortgroup",
	"DistributedVirtualSwitch", "VmwareDistributedVirtualSwitch", "ServiceInstance", "PropertyCollector", "PropertyFilter",
	"Task", "TaskManager", "ViewManager", "View", "ContainerView", "InventoryView", "ListView", "ManagedObjectView",
	"HttpNfcLease", "HostDatastoreBrowser", "HostDatastoreSystem", "HostNetworkSystem", "HostVirtualNicManager", "EnvironmentBrowser",
	"PerformanceManager", "CustomFieldsManager", "HostVMotionSystem",
}

// withSecrets are the properties that hold secrets, in lower case: of a virtual
// machine its options and its OVF environment, of a host its options, its
// authentication and the CHAP names of its adapters.
var withSecrets = []string{
	"config.extraconfig", "config.vappconfig", "config.option", "config.storagedevice", "config.authenticationmanagerinfo",
	"config.certificate", "config.ipmi", "vappconfig",
}

// secretTypes have such properties; a base type may stand for them.
var secretTypes = []string{"ManagedEntity", "VirtualMachine", "VirtualMachineSnapshot", "VirtualApp", "HostSystem"}

// portGroup is a type whose config holds no secrets; OpenStack reads it of all port
// groups of its cluster, to find one by its name.
const portGroup = "DistributedVirtualPortgroup"

var propertyPath = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+|\["[^"\]]{1,128}"\]|\[[0-9A-Za-z_-]{1,64}\])*$`)

var filterSpecType = reflect.TypeFor[types.PropertyFilterSpec]()

// read looks at the properties that a reading call asks for.
func (j judge) read(c *call, f *facts) (Ref, string) {
	for _, st := range f.structs {
		if st.t != filterSpecType {
			continue
		}
		if object, why := j.filter(f, st.element); why != "" {
			return object, why
		}
	}
	return Ref{}, ""
}

// filter checks one set of wanted properties. Secrets of delegated objects are
// the client's own, if it names the objects and finds no others by way of them.
func (j judge) filter(f *facts, spec *element) (Ref, string) {
	object, mine := f.target, true
	for _, set := range spec.all("objectSet") {
		obj, _ := set.child("obj")
		if obj == nil {
			return object, "an object set without an object"
		}
		object = obj.ref()
		mine = mine && j.own(object) && len(set.all("selectSet")) == 0 // from an own task one comes to others'
	}
	secrets := ""
	for _, set := range spec.all("propSet") {
		kind := set.value("type")
		if !slices.Contains(readable, kind) {
			return object, fmt.Sprintf("properties of %.64q are not read through the gateway", kind)
		}
		if (kind == lease || kind == "Task") && !mine {
			return object, "it was not made by a call of this client, or others are found by way of it"
		}
		if set.value("all") == "true" && slices.Contains(secretTypes, kind) {
			secrets = fmt.Sprintf("all properties of %s would show secrets; name those that are wanted", kind)
		}
		for _, path := range set.all("pathSet") {
			if !propertyPath.MatchString(path.text) {
				return object, fmt.Sprintf("%.80q is no property", path.text)
			}
			if kind != portGroup && secret(path.text) {
				secrets = fmt.Sprintf("the property %.80q may hold secrets and is read of delegated objects only, each by name", path.text)
			}
		}
	}
	if secrets == "" {
		return Ref{}, ""
	}
	for _, set := range spec.all("objectSet") {
		obj, _ := set.child("obj")
		if traverse, _ := set.child("selectSet"); traverse != nil || !j.contains(obj.ref()) {
			return obj.ref(), secrets
		}
	}
	return Ref{}, ""
}

// secret says whether a property is, has or is inside of one that holds secrets.
func secret(path string) bool {
	path = strings.ToLower(path)
	if allowedOption(path) {
		return false
	}
	for _, s := range withSecrets {
		if path == s || strings.HasPrefix(s, path+".") || strings.HasPrefix(path, s+".") || strings.HasPrefix(path, s+"[") {
			return true
		}
	}
	return false
}

// allowedOption is for single options that OpenStack reads of all machines.
func allowedOption(path string) bool {
	key, ok := strings.CutPrefix(path, `config.extraconfig["`)
	if !ok {
		return false
	}
	for _, known := range []string{"nvp.", "volume-", "remotedisplay.vnc.port", "remotedisplay.vnc.enabled"} {
		if strings.HasPrefix(key, known) {
			return true
		}
	}
	return false
}

// asksForSession says whether a call wants the session's own record, and only
// that; it is answered here.
func asksForSession(c *call) bool {
	if c.method() != "RetrieveProperties" && c.method() != "RetrievePropertiesEx" {
		return false
	}
	specs := c.root.all("specSet")
	if len(specs) != 1 {
		return false
	}
	propSets, objectSets := specs[0].all("propSet"), specs[0].all("objectSet")
	if len(propSets) != 1 || len(objectSets) != 1 || propSets[0].value("all") == "true" {
		return false
	}
	paths := propSets[0].all("pathSet")
	obj, _ := objectSets[0].child("obj")
	traverse, _ := objectSets[0].child("selectSet")
	return propSets[0].value("type") == sessions && len(paths) == 1 && paths[0].text == "currentSession" &&
		obj != nil && obj.refType == sessions && traverse == nil
}

// maxWait bounds how long a call may wait for updates, in seconds. vCenter does
// not count waiting as use of a session.
const maxWait = 60

// clampWait makes a call that may block end in time.
func clampWait(c *call) {
	options, _ := c.root.child("options")
	if options == nil {
		options = &element{local: "options"}
		c.root.children = append(c.root.children, options)
	}
	wait, _ := options.child("maxWaitSeconds")
	if wait == nil {
		wait = &element{local: "maxWaitSeconds", text: fmt.Sprint(maxWait)}
		options.children = slices.Insert(options.children, 0, wait)
		return
	}
	var seconds int
	if _, err := fmt.Sscan(wait.text, &seconds); err != nil || seconds < 0 || seconds > maxWait {
		wait.text = fmt.Sprint(maxWait)
	}
}
