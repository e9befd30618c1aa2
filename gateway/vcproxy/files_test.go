package vcproxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// file exchanges a file on the delegated datastore and returns the status.
func (s *stand) file(t *testing.T, vc *vim25.Client, method, path, content string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.server.URL+"/folder/"+path+"?dcPath=DC0&dsName=LocalDS_0", strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "vmware_soap_session="+cookie(t, vc))
	resp, err := s.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestFilesOfMachinesAreVCentersToWrite(t *testing.T) {
	s, inv := partStand(t)
	vc, dc, fm := s.client(t), inv.ref(t, "Datacenter", "DC0"), vimFiles(s.admin(t))
	for _, name := range []string{"evil.vmx", "evil.VMX", "evil.vmtx", "evil.vmsd", "evil.nvram", "evil.vmsn", "evil.txt"} {
		if got := s.file(t, vc, http.MethodPut, name, "scsi0:0.fileName = \"/vmfs/volumes/LocalDS_1/x.vmdk\"\n"); got != http.StatusForbidden {
			t.Errorf("%s is sent with status %d", name, got)
		}
	}
	for from, to := range map[string]string{
		"a.iso": "a.vmx", "a": "a.vmx", "a.vmx": "b.vmx", "a.vmdk": "a.vmx", "b.iso": "b.vmdk", "b": "b.vmdk", "c-flat.vmdk": "c.vmdk", "d-flat.vmdk": "e-flat.vmdk", "": "all",
	} {
		_, err := methods.CopyDatastoreFile_Task(t.Context(), vc, &types.CopyDatastoreFile_Task{
			This: fm, SourceName: "[LocalDS_0] " + from, SourceDatacenter: &dc, DestinationName: "[LocalDS_0] " + to, Force: types.NewBool(true),
		})
		refused(t, err, "CopyDatastoreFile_Task")
		_, err = methods.MoveDatastoreFile_Task(t.Context(), vc, &types.MoveDatastoreFile_Task{
			This: fm, SourceName: "[LocalDS_0] " + from, SourceDatacenter: &dc, DestinationName: "[LocalDS_0] " + to, Force: types.NewBool(true),
		})
		refused(t, err, "MoveDatastoreFile_Task")
	}
	for from, to := range map[string]string{"images/0a1b": "10.0.0.1_base/0a1b", "a.iso": "b.iso", "a.vmdk": "b.vmdk"} {
		if _, err := methods.MoveDatastoreFile_Task(t.Context(), vc, &types.MoveDatastoreFile_Task{
			This: fm, SourceName: "[LocalDS_0] " + from, SourceDatacenter: &dc, DestinationName: "[LocalDS_0] " + to,
		}); err != nil {
			t.Errorf("%s to %s: %v", from, to, err)
		}
	}
	pool := inv.ref(t, "ResourcePool", "Resources")
	_, err := methods.RegisterVM_Task(t.Context(), vc, &types.RegisterVM_Task{This: inv.ref(t, "Folder", "vm"), Path: "[LocalDS_0] evil.vmx", Name: "evil", Pool: &pool})
	refused(t, err, "RegisterVM_Task", "not on the gateway's list")
}

func vimFiles(vc *vim25.Client) types.ManagedObjectReference { return *vc.ServiceContent.FileManager }

const descriptor = `# Disk DescriptorFile
version=1
CID=12345678
parentCID=fffffffe
createType="vmfsSparse"
parentFileNameHint="/vmfs/volumes/LocalDS_1/DC0_H0_VM0/disk1.vmdk"
RW 2048 VMFSSPARSE "evil-delta.vmdk"
`

func TestDescriptorsOfDisksAreVCentersToWrite(t *testing.T) {
	s, inv := partStand(t)
	vc, in := s.client(t), inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0")
	for name, content := range map[string]string{
		"evil.vmdk": descriptor, "spaced.vmdk": "\n" + descriptor, "evil-flat.vmdk": descriptor, "delta-flat.vmdk": "COWD" + descriptor, "empty.vmdk": "", "raw.vmdk": "\xeb\x63\x90",
		"child.vmdk": sparseDisk(strings.ReplaceAll(descriptor, "VMFSSPARSE", "SPARSE")),
	} {
		if got := s.file(t, vc, http.MethodPut, name, content); got != http.StatusForbidden {
			t.Errorf("%s is sent with status %d", name, got)
		}
	}
	if text := s.auditText(t); !strings.Contains(text, `"result":"refused","detail":"refused by the gateway: this is no sparse disk`) {
		t.Errorf("the audit has no refusal:\n%s", text)
	}
	for name, content := range map[string]string{
		"image-flat.vmdk": "\xeb\x63\x90 and more", "tmp-sparse.vmdk": sparseDisk("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 8 SPARSE \"x.vmdk\"\nddb.uuid = \"a\"\n"), "boot.iso": descriptor,
	} {
		if got := s.file(t, vc, http.MethodPut, name, content); got/100 != 2 {
			t.Errorf("%s is sent with status %d", name, got)
		}
		if got := s.file(t, vc, http.MethodGet, name, ""); got != http.StatusOK {
			t.Errorf("%s is fetched with status %d", name, got)
		}
	}
	for _, name := range []string{"image-flat.vmdk", "boot.iso", "boot"} { // what a guest or a client has written
		refused(t, reconfig(vc, in, disk("[LocalDS_0] "+name)), "is no disk")
	}
	_, err := methods.Rename_Task(t.Context(), vc, &types.Rename_Task{This: in, NewName: "x-Flat "})
	refused(t, err, "left to the contents of disks")
	refused(t, reconfig(vc, in, types.VirtualMachineConfigSpec{Files: &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0] boot.iso"}}), "must end in .vmx")
}

func TestDisksAreFilesAndNotDevicesOfAHost(t *testing.T) {
	s, inv := partStand(t)
	vc, dc := s.client(t), inv.ref(t, "Datacenter", "DC0")
	dm := *vc.ServiceContent.VirtualDiskManager
	raw := &types.DeviceBackedVirtualDiskSpec{VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "rdm", AdapterType: "lsiLogic"}, Device: "/vmfs/devices/disks/naa.600508b1001c4d41"}
	_, err := methods.CreateVirtualDisk_Task(t.Context(), vc, &types.CreateVirtualDisk_Task{This: dm, Name: "[LocalDS_0] rdm.vmdk", Datacenter: &dc, Spec: raw})
	refused(t, err, "not devices of a host")
	_, err = methods.CopyVirtualDisk_Task(t.Context(), vc, &types.CopyVirtualDisk_Task{This: dm, SourceName: "[LocalDS_0] a.vmdk", SourceDatacenter: &dc, DestName: "[LocalDS_0] lun.vmdk", DestSpec: raw})
	refused(t, err, "not devices of a host")
	for _, name := range []string{"a-flat.vmdk", "a.vmx", "a", ""} {
		_, err := methods.CopyVirtualDisk_Task(t.Context(), vc, &types.CopyVirtualDisk_Task{This: dm, SourceName: "[LocalDS_0] " + name, SourceDatacenter: &dc, DestName: "[LocalDS_0] b.vmdk"})
		refused(t, err, "sourceName")
		_, err = methods.CopyVirtualDisk_Task(t.Context(), vc, &types.CopyVirtualDisk_Task{This: dm, SourceName: "[LocalDS_0] b.vmdk", SourceDatacenter: &dc, DestName: "[LocalDS_0] " + name})
		refused(t, err, "destName")
	}
	if n := s.tap.count("VirtualDisk_Task"); n != 0 {
		t.Errorf("%d calls reached vCenter", n)
	}
}

// A datastore is delegated, the directories of other machines on it are not.
func TestFilesOfOthersOnASharedDatastoreAreNotDelegated(t *testing.T) {
	s, inv := partStand(t) // DC0_H0_VM0 is not delegated, and lies on LocalDS_0
	vc, in, dc := s.client(t), inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0"), inv.ref(t, "Datacenter", "DC0")
	fm := vimFiles(vc)
	why := `a machine that is not delegated has files in "[LocalDS_0] DC0_H0_VM0"`
	refused(t, reconfig(vc, in, disk("[LocalDS_0] DC0_H0_VM0/disk1.vmdk")), why)
	refused(t, reconfig(vc, in, types.VirtualMachineConfigSpec{Files: &types.VirtualMachineFileInfo{SnapshotDirectory: "[LocalDS_0] DC0_H0_VM0/"}}), why)
	_, err := methods.CopyVirtualDisk_Task(t.Context(), vc, &types.CopyVirtualDisk_Task{
		This: *vc.ServiceContent.VirtualDiskManager, SourceName: "[LocalDS_0] DC0_H0_VM0/disk1.vmdk", SourceDatacenter: &dc, DestName: "[LocalDS_0] loot.vmdk",
	})
	refused(t, err, "sourceName", why)
	_, err = methods.DeleteDatastoreFile_Task(t.Context(), vc, &types.DeleteDatastoreFile_Task{This: fm, Name: "[LocalDS_0] DC0_H0_VM0", Datacenter: &dc})
	refused(t, err, why)
	_, err = methods.DeleteDatastoreFile_Task(t.Context(), vc, &types.DeleteDatastoreFile_Task{This: fm, Name: "[LocalDS_0]", Datacenter: &dc})
	refused(t, err, "a whole datastore")
	_, err = methods.MoveDatastoreFile_Task(t.Context(), vc, &types.MoveDatastoreFile_Task{This: fm, SourceName: "[LocalDS_0] .", SourceDatacenter: &dc, DestinationName: "[LocalDS_0] x"})
	refused(t, err, "a whole datastore")
	_, err = methods.MoveDatastoreFile_Task(t.Context(), vc, &types.MoveDatastoreFile_Task{This: fm, SourceName: "[LocalDS_0] x", SourceDatacenter: &dc, DestinationName: "[LocalDS_0] DC0_H0_VM0"})
	refused(t, err, why)
	for _, top := range []string{"fcd", "FCD", "catalog", ".vSphere-HA", ".dvsData", "vmkdump", "contentlib-0a1b"} {
		refused(t, reconfig(vc, in, disk("[LocalDS_0] "+top+"/a.vmdk")), "is a directory of vCenter or of hosts")
		if got := s.file(t, vc, http.MethodGet, top+"/a", ""); got != http.StatusForbidden {
			t.Errorf("a file in %s is fetched with status %d", top, got)
		}
	}
	for _, spelled := range []string{"./DC0_H0_VM0/a.vmdk", "/DC0_H0_VM0/a.vmdk", " DC0_H0_VM0/a.vmdk", "DC0_H0_VM0 /a.vmdk", "DC0%5fH0_VM0/a.vmdk", `DC0_H0_VM0\a.vmdk`, "x//a.vmdk", "%2f..%5ca.vmdk", "x/%252e%252e/a.vmdk"} {
		refused(t, reconfig(vc, in, disk("[LocalDS_0] "+spelled)), "can be read in several ways")
	}
	for _, path := range []string{"DC0_H0_VM0/DC0_H0_VM0.vmx", "x/%252e%252e/DC0_H0_VM0/a.vmx", "%252e%252e/a.vmx", "x/%252fa", "%255ca", "DC0%255fH0_VM0/a.vmx", "a%5cb", "x/%2e%2e/y"} {
		if got := s.file(t, vc, http.MethodGet, path, ""); got != http.StatusForbidden {
			t.Errorf("%s is fetched with status %d", path, got)
		}
	}
	s.must(t, "datastore.ls", "-ds", "LocalDS_0")
	if got := s.file(t, vc, http.MethodGet, "DC0_C0_RP0_VM0/DC0_C0_RP0_VM0.vmx", ""); got != http.StatusOK {
		t.Errorf("a file of the client's own machine is fetched with status %d", got)
	}
}

// sparseDisk is the beginning of a sparse disk with a descriptor inside.
func sparseDisk(text string) string {
	head := make([]byte, 1024)
	copy(head, "KDMV")
	head[4], head[28], head[36] = 1, 1, 1
	copy(head[512:], text)
	return string(head)
}
