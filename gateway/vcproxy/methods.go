package vcproxy

import "slices"

// A class says what a call may do, and so what is checked of it.
type class string

const (
	// classLocal is answered here and never forwarded.
	classLocal class = "local"
	// classOpen needs no session: vCenter answers everybody.
	classOpen class = "open"
	// classRead changes nothing; properties that hold secrets are looked at.
	classRead class = "read"
	// classWait is a read that may block.
	classWait class = "wait"
	// classWrite changes _this, which is in the delegated scope with all other
	// objects of the call.
	classWrite class = "write"
	// classFiles works on datastores that the call names by paths, through an
	// object that serves the whole vCenter.
	classFiles class = "files"
	// classOwn is for a task or a lease that this client was given.
	classOwn class = "own"
	// classTicket asks for a ticket to read or write one file.
	classTicket class = "ticket"
	// classExtension makes OpenStack known to vCenter as an extension.
	classExtension class = "extension"
	// classDenied is everything else.
	classDenied class = "denied"
)

// rule is the decision on one method: its class, and the types of objects that
// it may be called on. A method such as Destroy_Task means something else for a
// virtual machine than for a datastore.
type rule struct {
	class class
	on    []string
}

const (
	folder   = "Folder"
	vm       = "VirtualMachine"
	snapshot = "VirtualMachineSnapshot"
	sessions = "SessionManager"
	props    = "PropertyCollector"
	views    = "ViewManager"
	index    = "SearchIndex"
	disks    = "VirtualDiskManager"
	files    = "FileManager"
	lease    = "HttpNfcLease"
	browser  = "HostDatastoreBrowser"
	environs = "EnvironmentBrowser"
	perf     = "PerformanceManager"
	ovf      = "OvfManager"
)

// vimRules are the methods of urn:vim25 that are not denied.
var vimRules = rules(map[class]map[string][]string{
	classLocal: {
		sessions: {"Login", "Logout", "SessionIsActive", "TerminateSession"},
	},
	classOpen: {
		"ServiceInstance": {"RetrieveServiceContent"},
	},
	classRead: {
		"ServiceInstance": {"CurrentTime"},
		props: {
			"CancelRetrievePropertiesEx", "CancelWaitForUpdates", "CheckForUpdates", "ContinueRetrievePropertiesEx",
			"CreateFilter", "CreatePropertyCollector", "DestroyPropertyCollector", "RetrieveProperties", "RetrievePropertiesEx",
		},
		"PropertyFilter": {"DestroyPropertyFilter"},
		views:            {"CreateContainerView", "CreateInventoryView", "CreateListView", "CreateListViewFromView"},
		"ContainerView":  {"DestroyView"},
		"InventoryView":  {"CloseInventoryViewFolder", "DestroyView", "OpenInventoryViewFolder"},
		"ListView":       {"DestroyView", "ModifyListView", "ResetListView", "ResetListViewFromView"},
		index: {
			"FindAllByDnsName", "FindAllByIp", "FindAllByUuid", "FindByDatastorePath", "FindByDnsName",
			"FindByInventoryPath", "FindByIp", "FindByUuid", "FindChild",
		},
		environs:                         {"QueryConfigOption", "QueryConfigOptionDescriptor", "QueryConfigOptionEx", "QueryConfigTarget"},
		perf:                             {"QueryAvailablePerfMetric", "QueryPerf", "QueryPerfComposite", "QueryPerfCounter", "QueryPerfProviderSummary"},
		ovf:                              {"CreateDescriptor", "CreateImportSpec", "ParseDescriptor"},
		"ExtensionManager":               {"FindExtension"},
		"DistributedVirtualSwitch":       {"FetchDVPorts"},
		"VmwareDistributedVirtualSwitch": {"FetchDVPorts"},
	},
	classWait: {
		props: {"WaitForUpdatesEx"},
	},
	classWrite: {
		vm: {
			"AcquireTicket", "AnswerVM", "CloneVM_Task", "ConsolidateVMDisks_Task", "CreateSnapshot_Task",
			"CreateSnapshotEx_Task", "CustomizeVM_Task", "Destroy_Task", "ExportVm", "MarkAsTemplate",
			"MarkAsVirtualMachine", "MigrateVM_Task", "PowerOffVM_Task", "PowerOnVM_Task", "RebootGuest", "ReconfigVM_Task",
			"RelocateVM_Task", "RemoveAllSnapshots_Task", "Rename_Task", "ResetVM_Task", "RevertToCurrentSnapshot_Task",
			"ShutdownGuest", "StandbyGuest", "SuspendVM_Task", "UnregisterVM", "UpgradeVM_Task",
		},
		snapshot:       {"ExportSnapshot", "RemoveSnapshot_Task", "RenameSnapshot", "RevertToSnapshot_Task"},
		folder:         {"CreateFolder", "CreateVM_Task", "MoveIntoFolder_Task"},
		"ResourcePool": {"ImportVApp"},
	},
	classFiles: {
		disks: {
			"CopyVirtualDisk_Task", "CreateVirtualDisk_Task", "DeleteVirtualDisk_Task", "ExtendVirtualDisk_Task",
			"InflateVirtualDisk_Task", "MoveVirtualDisk_Task", "QueryVirtualDiskUuid", "ShrinkVirtualDisk_Task",
		},
		files:   {"CopyDatastoreFile_Task", "DeleteDatastoreFile_Task", "MakeDirectory", "MoveDatastoreFile_Task"},
		browser: {"SearchDatastore_Task", "SearchDatastoreSubFolders_Task"},
	},
	classOwn: {
		"Task": {"CancelTask"},
		lease:  {"HttpNfcLeaseAbort", "HttpNfcLeaseComplete", "HttpNfcLeaseGetManifest", "HttpNfcLeaseProgress"},
	},
	classTicket: {
		sessions: {"AcquireGenericServiceTicket"},
	},
	classExtension: {
		"ExtensionManager": {"RegisterExtension"},
	},
})

// pbmRules are the methods of urn:pbm that are not denied: storage policies may
// be read and placed by, not changed.
var pbmRules = rules(map[class]map[string][]string{
	classRead: {
		"PbmServiceInstance": {"PbmRetrieveServiceContent"},
		"PbmProfileProfileManager": {
			"PbmFetchCapabilityMetadata", "PbmFetchResourceType", "PbmQueryAssociatedEntities", "PbmQueryAssociatedEntity",
			"PbmQueryAssociatedProfile", "PbmQueryAssociatedProfiles", "PbmQueryDefaultRequirementProfile",
			"PbmQueryDefaultRequirementProfiles", "PbmQueryProfile", "PbmRetrieveContent",
		},
		"PbmPlacementSolver": {
			"PbmCheckCompatibility", "PbmCheckCompatibilityWithSpec", "PbmCheckRequirements", "PbmQueryMatchingHub", "PbmQueryMatchingHubWithSpec",
		},
		"PbmComplianceManager": {"PbmFetchComplianceResult", "PbmFetchRollupComplianceResult"},
	},
})

// rules turns the lists round: from the method to what may be done with it. A
// method is of one class.
func rules(by map[class]map[string][]string) map[string]rule {
	all := make(map[string]rule)
	for class, objects := range by {
		for object, methods := range objects {
			for _, m := range methods {
				r := all[m]
				if r.class != "" && r.class != class {
					panic("vcproxy: method " + m + " is of two classes")
				}
				all[m] = rule{class, append(r.on, object)}
			}
		}
	}
	return all
}

// decide finds the rule of a method; what has none is denied.
func decide(space, method string) rule {
	table := vimRules
	if space == nsPBM {
		table = pbmRules
	}
	if r, ok := table[method]; ok {
		return r
	}
	return rule{class: classDenied}
}

func (r rule) allows(object string) bool { return slices.Contains(r.on, object) }
