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
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/examples/internal/fixture"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

func TestListsTheFunctionsOfACard(t *testing.T) {
	got, err := lines(t, record(t, "e810"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/e810.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFunctionThatIsGoneMeanwhileIsLeftOut(t *testing.T) {
	sys := record(t, "e810")
	if err := os.Remove(filepath.Join(sys, "bus/pci/devices/0000:3b:01.1")); err != nil {
		t.Fatal(err)
	}
	got, err := lines(t, sys)
	if err != nil || strings.Contains(got, "3b:01.1") || !strings.Contains(got, "3b:01.2") {
		t.Errorf("got %v and\n%s\nwant all but 3b:01.1", err, got)
	}
}

func TestHostsWithoutSuchCards(t *testing.T) {
	tests := []struct{ name, recording, want string }{
		{"no PCI", "bus/virtio/devices/\n", ""},
		{"no sysfs", "", "is sysfs mounted"},
		{"nonsense", "bus/pci/devices/0000:00:01.0/sriov_totalvfs = many\n", "is no number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sys := t.TempDir()
			if err := fixture.Unpack(sys, test.recording); err != nil {
				t.Fatal(err)
			}
			got, err := lines(t, sys)
			if got != "" || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q and %v, want nothing and an error with %q", got, err, test.want)
			}
		})
	}
}

func TestThisHostCanBeListed(t *testing.T) {
	if _, err := os.Stat("/sys/bus"); err != nil {
		t.Skip("no sysfs here")
	}
	if _, err := lines(t, "/sys"); err != nil {
		t.Error(err)
	}
}

func TestPlugin(t *testing.T) {
	binary, sys := filepath.Join(t.TempDir(), "sriov"), record(t, "e810")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	config, err := json.Marshal(config{Sys: sys})
	if err != nil {
		t.Fatal(err)
	}
	bus, away := filepath.Join(sys, "bus"), filepath.Join(sys, "away")
	plugintest.RunBinary(t, plugintest.CheckOptions{
		Command: []string{binary}, Config: config, Slack: 5 * time.Second,
		BreakList: func() (func(), error) {
			return func() { _ = os.Rename(away, bus) }, os.Rename(bus, away)
		},
	})
}

// record unpacks a recording and returns where.
func record(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
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
	err := source{sys: sys}.List(context.Background(), func(r plugin.Resource) {
		if err := e.Encode(r); err != nil {
			t.Error(err)
		}
	})
	return b.String(), err
}
