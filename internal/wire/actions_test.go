package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

func TestActionRequestsAreChecked(t *testing.T) {
	tests := []struct {
		name   string
		change func(*wire.ActionRequest)
		want   string // part of the error; empty: none
	}{
		{"good", func(*wire.ActionRequest) {}, ""},
		{"newer action", func(q *wire.ActionRequest) { q.Action, q.Arguments.Name = "migrate", "x" }, ""},
		{"short id", func(q *wire.ActionRequest) { q.ID = "x" }, "8 to 64"},
		{"id with a path", func(q *wire.ActionRequest) { q.ID = "../../../x" }, "8 to 64"},
		{"no action", func(q *wire.ActionRequest) { q.Action = "" }, "action"},
		{"no target", func(q *wire.ActionRequest) { q.Target = plugin.Key{} }, "target"},
		{"past deadline", func(q *wire.ActionRequest) { q.Deadline = q.Requested }, "deadline"},
		{"far deadline", func(q *wire.ActionRequest) { q.Deadline = q.Requested.Add(2 * time.Hour) }, "deadline"},
		{"argument without effect", func(q *wire.ActionRequest) { q.Arguments.Memory = true }, "no use"},
		{"long name", func(q *wire.ActionRequest) { q.Arguments.Name = strings.Repeat("x", 256) }, "255 bytes"},
		{"snapshot without name", func(q *wire.ActionRequest) { q.Action = wire.ActionSnapshotCreate }, "name is missing"},
		{"snapshot", func(q *wire.ActionRequest) { q.Action, q.Arguments.Name = wire.ActionSnapshotCreate, "x" }, ""},
		{"memory and quiesce", func(q *wire.ActionRequest) {
			q.Action, q.Arguments = wire.ActionSnapshotCreate, wire.ActionArguments{Name: "x", Memory: true, Quiesce: true}
		}, "exclude"},
		{"remove nothing", func(q *wire.ActionRequest) { q.Action = wire.ActionSnapshotRemove }, "snapshot is missing"},
		{"revert to current", func(q *wire.ActionRequest) { q.Action = wire.ActionSnapshotRevert }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := wire.ActionRequest{ID: "a1b2c3d4", Action: wire.ActionPowerOn, Target: vm.Key, Requested: now, Deadline: now.Add(time.Minute)}
			test.change(&q)
			err := q.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
}

func TestActionsAreReadTolerantly(t *testing.T) {
	var q wire.ActionRequest
	newer := `{"id":"a1b2c3d4","action":"power-on","target":{"kind":"compute.vm","id":"x"},"arguments":{"host":"esx2"},"priority":7,
		"requested":"2026-03-04T05:06:07Z","deadline":"2026-03-04T05:07:07Z"}`
	if err := json.Unmarshal([]byte(newer), &q); err != nil || q.Validate() != nil {
		t.Errorf("a newer request is not read: %v, %v", err, q.Validate())
	}
	var o wire.ActionOutcome
	if err := json.Unmarshal([]byte(`{"id":"a","state":"queued","result":{"place":3}}`), &o); err != nil || o.Done() {
		t.Errorf("a newer outcome is not read as one that goes on: %v", err)
	}
}

func TestSecretsAreTakenOut(t *testing.T) {
	ticket := &wire.ConsoleTicket{URL: "wss://secret"}
	for _, test := range []struct{ in, want *wire.ActionResult }{
		{nil, nil},
		{&wire.ActionResult{Console: ticket}, nil},
		{&wire.ActionResult{Console: ticket, Unchanged: true}, &wire.ActionResult{Unchanged: true}},
		{&wire.ActionResult{Snapshot: "s"}, &wire.ActionResult{Snapshot: "s"}},
	} {
		if diff := cmp.Diff(test.want, test.in.WithoutSecrets()); diff != "" {
			t.Error(diff)
		}
	}
}
