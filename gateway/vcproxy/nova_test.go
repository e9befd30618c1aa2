package vcproxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

func TestNovaDriverUnchanged(t *testing.T) {
	s := openStack(t)
	kill := func() { s.kill(t) }
	s.script(t, "nova_driver.py", map[string]string{
		"driver":                  "domain",
		"resources":               "6 vcpus, 1024 GB",
		"power off":               "4",
		"power on":                "1",
		"reboot":                  "1",
		"suspend":                 "7",
		"resume":                  "1",
		"create":                  "VirtualMachine",
		"disks":                   "1",
		"made is on":              "1",
		"instances with the mark": "True",
		"made is gone":            "None",
		"destroy":                 "None",
		"cleanup":                 "done",
	}, map[string]func(){"driver": kill, "instances": kill, "power on": kill, "resume": kill, "create": kill})
	audit := s.auditText(t)
	for _, method := range []string{"RegisterExtension", "UnregisterVM", "DeleteDatastoreFile_Task"} {
		if !strings.Contains(audit, `"method":"`+method+`"`) {
			t.Errorf("the audit has no %s", method)
		}
	}
}

// novaCalls are all methods that nova calls in the lives of nova_life.py.
var novaCalls = strings.Fields(`
AcquireGenericServiceTicket AcquireTicket CloneVM_Task CopyVirtualDisk_Task CreateFolder CreateSnapshot_Task CreateVM_Task
CreateVirtualDisk_Task DeleteDatastoreFile_Task DeleteVirtualDisk_Task Destroy_Task ExportVm ExtendVirtualDisk_Task FindExtension
HttpNfcLeaseAbort HttpNfcLeaseComplete ImportVApp Login Logout MakeDirectory MoveDatastoreFile_Task MoveVirtualDisk_Task
PowerOffVM_Task PowerOnVM_Task ReconfigVM_Task RegisterExtension RelocateVM_Task RemoveSnapshot_Task Rename_Task ResetVM_Task
RetrievePropertiesEx RetrieveServiceContent SearchDatastore_Task SuspendVM_Task UnregisterVM file-GET file-PUT`)

func TestNovaLifeUnchanged(t *testing.T) {
	s := openStack(t)
	makeImages(t, s.dir)
	s.script(t, "nova_life.py", map[string]string{
		"sparse":               "1",
		"sparse disks":         "['1048576 KB', '1048576 KB', '65536 KB']",
		"listed":               "True",
		"diagnostics":          "poweredOn",
		"power off":            "4",
		"power on":             "1",
		"reboot":               "1",
		"suspend":              "7",
		"resume":               "1",
		"cards":                "2",
		"cards after one went": "1",
		"snapshot":             "streamOptimized, # Disk DescriptorFile",
		"resize":               "['2097152 KB', '1048576 KB', '65536 KB']",
		"rescue":               "4",
		"unrescue":             "3",
		"live migration":       "1",
		"connector":            "['host', 'initiator', 'instance', 'ip']",
		"stream":               "1",
		"stream disks":         "['1 KB with a parent']", // vcsim keeps nothing of what a lease brings
		"volume":               "4",
		"volume gone":          "3",
		"flat":                 "['1024 KB']",
		"iso":                  "[True]",
		"listed at the end":    "[]",
		"cleanup":              "done",
	}, map[string]func(){"sparse": func() { s.cached(t) }, "vnc": func() { s.kill(t) }})
	s.calledOnly(t, novaCalls)
	stream, err := os.ReadFile(filepath.Join(s.dir, "stream.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	s.transfersAreClean(t, stream)
}

// cached wants the disk of a sparse image in nova's cache, flat and whole.
func (s *stand) cached(t *testing.T) {
	t.Helper()
	for _, e := range s.model.Map().All("Datastore") {
		files, err := filepath.Glob(filepath.Join(e.(*simulator.Datastore).Summary.Url, "*_base", "*", "*-flat.vmdk"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, imageDisk()) {
				t.Errorf("the cached disk has %d bytes, %v", len(got), err)
			}
			return
		}
	}
	t.Error("no disk is in the cache")
}

// calledOnly wants the audit to have these methods and no others, and no refusal
// but that of tickets for hosts, from which nova turns to vCenter.
func (s *stand) calledOnly(t *testing.T, want []string) {
	t.Helper()
	var got []string
	for lines := bufio.NewScanner(strings.NewReader(s.auditText(t))); lines.Scan(); {
		var r vcproxy.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Result != "ok" && r.Method != "AcquireGenericServiceTicket" {
			t.Errorf("%s: %s %s", r.Method, r.Result, r.Detail)
		}
		got = append(got, strings.ReplaceAll(r.Method, " ", "-"))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("the methods that were called (-want +got):\n%s", diff)
	}
}

// transfersAreClean wants one upload by a lease to have arrived as it is, and
// nothing of clients' headers with any file.
func (s *stand) transfersAreClean(t *testing.T, content []byte) {
	t.Helper()
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	whole := 0
	for _, one := range s.tap.seen {
		if !strings.HasPrefix(one.path, "/folder/") && !strings.HasPrefix(one.path, "/nfc/") {
			continue
		}
		if strings.HasPrefix(one.path, "/nfc/") && one.body == string(content) {
			whole++
		}
		for name := range one.header {
			if !slices.Contains([]string{"Content-Type", "Cookie", "Overwrite", "Range"}, name) {
				t.Errorf("the header %s went with %s", name, one.path)
			}
		}
		r := http.Request{Header: one.header}
		if c := r.Cookies(); len(c) > 1 || len(c) == 1 && c[0].Name != "vmware_soap_session" {
			t.Errorf("the cookies %v went with %s", c, one.path)
		}
	}
	if whole != 1 {
		t.Errorf("%d uploads by a lease are whole, want 1", whole)
	}
}

// Two that start at once, with no more sessions than they need; a third program
// takes the place of one of them, which logs in anew.
func TestNovaComputesUnchanged(t *testing.T) {
	s := openStackWith(t, vcproxy.Limits{Sessions: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var started atomic.Int32
	both, third := make(chan struct{}), make(chan struct{})
	wait := func(c chan struct{}) {
		select {
		case <-c:
		case <-ctx.Done():
			t.Error("the others are not there in time")
		}
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			turns := 0
			err := s.program(t, "nova_start.py", func(step, value string) {
				if step == "started" {
					if started.Add(1) == 2 {
						close(both)
					}
					wait(third)
				}
				if value == "6 vcpus, []" {
					turns++
				}
			})
			if err != nil || turns != 3 {
				t.Errorf("%d turns, %v", turns, err)
			}
		})
	}
	wait(both)
	if s.logins != 2 || len(s.broker.Sessions()) != 2 {
		t.Errorf("two that started have %d sessions by %d logins", len(s.broker.Sessions()), s.logins)
	}
	s.must(t, "about")
	close(third)
	wg.Wait()
	if s.logins < 4 || s.logins > 6 {
		t.Errorf("%d logins in vCenter, want one of each and one or two more of each that lost its place", s.logins)
	}
	s.noSecret(t)
}
