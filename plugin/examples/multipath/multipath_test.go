package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/examples/internal/fixture"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

func TestListsTheWaysToStorage(t *testing.T) {
	got, err := lines(t, record(t))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/array.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStateFollowsTheWays(t *testing.T) {
	const (
		lun1    = "devices/platform/host3/session1/target3:0:0/3:0:0:1/"
		lun2    = "devices/platform/host4/session2/target4:0:0/4:0:0:1/"
		nvme    = "devices/virtual/nvme-fabrics/ctl/"
		mapping = `"name":"mpatha","spec":{"state":`
		array   = `"name":"nvme-subsys1","spec":{"state":`
	)
	tests := []struct{ name, change, want string }{
		{"both paths run", lun2 + "state = running", mapping + `"ok"`},
		{"one is in standby", lun2 + "state = running\n" + lun2 + "access_state = standby", mapping + `"ok"`},
		{"the array refuses one", lun2 + "state = running\n" + lun2 + "access_state = unavailable", mapping + `"degraded"`},
		{"no path", lun1 + "state = offline", mapping + `"failed"`},
		{"suspended", "devices/virtual/block/dm-1/dm/suspended = 1", mapping + `"suspended"`},
		{"a controller connects again", nvme + "nvme2/state = connecting", array + `"degraded"`},
		{"no controller", nvme + "nvme1/state = connecting\n" + nvme + "nvme2/state = dead", array + `"failed"`},
		{"a namespace out of reach", nvme + "nvme1/nvme1c1n1/ana_state = inaccessible", array + `"degraded"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sys := record(t)
			if err := fixture.Unpack(sys, test.change); err != nil {
				t.Fatal(err)
			}
			if got, err := lines(t, sys); err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got %v and\n%s\nwant %s", err, got, test.want)
			}
		})
	}
}

func TestSessionIDs(t *testing.T) {
	long := session{Target: strings.Repeat("x", 223), Portal: strings.Repeat("p", 47), Interface: "a"}
	other := long
	other.Interface = "b"
	if a, b := sessionID(long), sessionID(other); len(a) > 255 || a == b {
		t.Errorf("long names give %q and %q, want two of at most 255 bytes", a, b)
	}
	sys := record(t)
	const twin = "class/iscsi_session/session10/"
	err := fixture.Unpack(sys, twin+"targetname = iqn.1992-08.com.netapp:sn.8a4f:vs.3\n"+twin+"tpgt = 1028\n"+twin+"ifacename = default\n"+
		twin+"device/connection10:0/\nclass/iscsi_connection/connection10:0/persistent_address = 192.0.2.10\n"+
		"class/iscsi_connection/connection10:0/persistent_port = 3260\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := lines(t, sys); err != nil || !strings.Contains(got, ` default#2"`) {
		t.Errorf("got %v and\n%s\nwant a second session between the same ends as #2", err, got)
	}
}

func TestNotSysfs(t *testing.T) {
	if got, err := lines(t, t.TempDir()); err == nil || got != "" {
		t.Errorf("listing an empty folder gives %q and %v, want an error", got, err)
	}
}

func TestThisHostCanBeListed(t *testing.T) {
	if _, err := os.Stat("/sys/class"); err != nil {
		t.Skip("no sysfs here")
	}
	if _, err := lines(t, "/sys"); err != nil {
		t.Error(err)
	}
}

func TestWatchHintsWhenTheKernelTellsOfAChange(t *testing.T) {
	sys := record(t)
	synctest.Test(t, func(t *testing.T) {
		s := &source{sys: sys, poll: time.Second}
		hints, ended := 0, make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- s.Watch(ctx, func(...plugin.Key) { hints++ }) }()
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if hints != 0 {
			t.Errorf("%d hints while nothing changes", hints)
		}
		if err := fixture.Unpack(sys, "kernel/uevent_seqnum = 4712"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if hints != 1 {
			t.Errorf("%d hints after a change, want 1", hints)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch ended with %v", err)
		}
	})
}

func TestPlugin(t *testing.T) {
	binary, sys := filepath.Join(t.TempDir(), "multipath"), record(t)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	config, err := json.Marshal(map[string]string{"sys": sys})
	if err != nil {
		t.Fatal(err)
	}
	class, away := filepath.Join(sys, "class"), filepath.Join(sys, "away")
	plugintest.RunBinary(t, plugintest.CheckOptions{
		Command: []string{binary}, Config: config, Slack: 5 * time.Second,
		BreakList: func() (func(), error) {
			return func() { _ = os.Rename(away, class) }, os.Rename(class, away)
		},
	})
}

// record unpacks the recording and returns where.
func record(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/array.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := fixture.Unpack(dir, string(text)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lines lists and returns a line of JSON for each resource.
func lines(t *testing.T, sys string) (string, error) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	err := (&source{sys: sys}).List(context.Background(), func(r plugin.Resource) {
		if err := e.Encode(r); err != nil {
			t.Error(err)
		}
	})
	return b.String(), err
}

// Each example stands alone, to be copied. What both have is written once, and
// shown twice.
func TestLookIsTheOneOfSRIOV(t *testing.T) {
	ours, err := os.ReadFile("look.go")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile("../sriov/look.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("look.go and ../sriov/look.go differ")
	}
}
