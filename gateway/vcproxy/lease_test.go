package vcproxy_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// lease asks for an import, and returns where its disk goes.
func (s *stand) lease(t *testing.T, vc *vim25.Client, inv *inventory, name string) (l *nfc.Lease, path string) {
	t.Helper()
	folder := inv.ref(t, "Folder", "vm")
	scsi := new(types.VirtualLsiLogicController)
	scsi.Key, scsi.SharedBus = -100, types.VirtualSCSISharingNoSharing
	spec := device(scsi)
	spec.Name, spec.GuestId, spec.Files = name, "otherGuest", &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"}
	spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd, FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
		Device: &types.VirtualDisk{CapacityInKB: 1024, VirtualDevice: types.VirtualDevice{
			Key: -101, ControllerKey: -100, UnitNumber: new(int32),
			Backing: &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[LocalDS_0]"}},
		}},
	})
	cluster := inv.ref(t, "ClusterComputeResource", "DC0_C0")
	pools := slices.DeleteFunc(inv.Named("Resources"), func(r vcproxy.Ref) bool {
		o, _ := inv.Object(r.Value)
		return !slices.Contains(o.Within, cluster.Value)
	})
	answer, err := methods.ImportVApp(t.Context(), vc, &types.ImportVApp{
		This: pools[0], Folder: &folder, Spec: &types.VirtualMachineImportSpec{ConfigSpec: spec},
	})
	if err != nil {
		t.Fatal(err)
	}
	l = nfc.NewLease(vc, answer.Returnval)
	info, err := l.Wait(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return l, strings.TrimPrefix(info.DeviceUrl[0].Url, "https://*")
}

func (s *stand) put(t *testing.T, path string, body io.Reader) int {
	t.Helper()
	return s.putAs(t, "", path, body)
}

// putAs sends a file in a session and returns the status.
func (s *stand) putAs(t *testing.T, session, path string, body io.Reader) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.server.URL+path, body)
	if err != nil {
		t.Error(err)
		return 0
	}
	if session != "" {
		req.Header.Set("Cookie", "vmware_soap_session="+session)
	}
	resp, err := s.server.Client().Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// OpenStack's client completes a lease when the last bytes have left it.
func TestALeaseIsCompleteWhenItsFilesHaveArrived(t *testing.T) {
	s, inv := partStand(t)
	vc := s.client(t)
	l, path := s.lease(t, vc, inv, "imported")
	arrived, release := make(chan struct{}), make(chan struct{})
	s.tap.hold = func(r *http.Request) {
		if r.Method == http.MethodPut {
			close(arrived)
			<-release
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if status := s.put(t, path, strings.NewReader("a disk")); status != http.StatusOK {
			t.Errorf("the upload is answered with %d", status)
		}
	})
	<-arrived
	wg.Go(func() {
		if err := l.Complete(t.Context()); err != nil {
			t.Errorf("the completion: %v", err)
		}
	})
	eventually(t, "the completion is on its way", func() bool { return s.broker.Sessions()[0].Active == 2 })
	if n := s.tap.count("HttpNfcLeaseComplete"); n != 0 {
		t.Error("vCenter was told before the file had arrived")
	}
	close(release)
	wg.Wait()
	if n := s.tap.count("HttpNfcLeaseComplete"); n != 1 {
		t.Errorf("vCenter was told %d times", n)
	}
}

// nova starts more instances at once than files are sent, and fails those whose
// image is turned away.
func TestFilesWaitForTheirTurn(t *testing.T) {
	s := newStand(t, func(_ *stand, o *vcproxy.Options) { o.Limits.Transfers, o.Limits.Queue = 1, time.Millisecond })
	session := cookie(t, s.client(t))
	release := make(chan struct{})
	s.tap.hold = func(*http.Request) { <-release }
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		wg.Go(func() {
			if status := s.putAs(t, session, "/folder/"+name+"?dsName=LocalDS_0&dcPath=DC0", strings.NewReader("an image")); status != http.StatusOK {
				t.Errorf("an upload is answered with %d", status)
			}
		})
	}
	eventually(t, "both are here", func() bool { return s.broker.Sessions()[0].Active == 2 })
	close(release)
	wg.Wait()
}

func TestLeavesEndWithTheLastLease(t *testing.T) {
	s, inv := partStand(t)
	vc := s.client(t)
	first, one := s.lease(t, vc, inv, "one")
	second, two := s.lease(t, vc, inv, "two")
	if err := first.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := s.put(t, two, strings.NewReader("a disk")); status != http.StatusOK {
		t.Errorf("while a lease is open: status %d", status)
	}
	if err := second.Abort(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{one, two} {
		if status := s.put(t, path, strings.NewReader("a disk")); status != http.StatusForbidden {
			t.Errorf("after the last lease: status %d", status)
		}
	}
}
