package turns

import (
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

func TestModulesThatTurnAreTold(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.Local)
	vms := func(state, reason string) wire.SourceStatus {
		return wire.SourceStatus{Name: "vcenter-west", State: state, Reason: reason, Since: at, Kinds: []string{"vm", "vsphere.host"}}
	}
	other := wire.SourceStatus{Name: "tags-west", State: "degraded", Reason: "no answer", Since: at, Kinds: []string{"vsphere.tag"}}
	dead := "vCenter west: stale since 2026-03-01T10:00:00Z: vc:443 does not answer: no answer within 5s"
	const stale = "stale vcenter-west on gw1 is degraded since 10:00:00: "
	steps := []struct {
		name string
		is   []wire.SourceStatus
		want string
	}{
		{"well at first", []wire.SourceStatus{vms("ok", "")}, ""},
		{"stale, and another of another kind", []wire.SourceStatus{other, vms("degraded", dead)}, stale + "vc:443 does not answer: no answer within 5s"},
		{"the same", []wire.SourceStatus{vms("degraded", dead)}, ""},
		{"only a figure is another", []wire.SourceStatus{vms("degraded", strings.ReplaceAll(dead, "5s", "7s"))}, ""},
		{"not told of", []wire.SourceStatus{other}, ""},
		{"another cause", []wire.SourceStatus{vms("degraded", "vc:443 shows another certificate")}, stale + "vc:443 shows another certificate"},
		{"well again", []wire.SourceStatus{vms("ok", "")}, "fresh vcenter-west on gw1 is ok since 10:00:00"},
		{"without a cause", []wire.SourceStatus{vms("starting", "")}, "stale vcenter-west on gw1 is starting since 10:00:00"},
	}
	tracker := Tracker{Kind: "vm"}
	for _, step := range steps {
		var got []string
		for _, turn := range tracker.Take(step.is) {
			got = append(got, turn.Word()+" "+turn.Line("gw1"))
		}
		if g := strings.Join(got, "\n"); g != step.want {
			t.Errorf("%s: got %q, want %q", step.name, g, step.want)
		}
	}
}

func TestACauseIsShort(t *testing.T) {
	if c := Cause(strings.Repeat("ä", 500)); len([]rune(c)) != causeMost || !strings.HasSuffix(c, "...") {
		t.Errorf("got %q", c)
	}
	if c := Cause("array 7 does not answer"); c != "array 7 does not answer" {
		t.Errorf("got %q", c)
	}
}

func TestAZeroTrackerLooksAtAll(t *testing.T) {
	var all Tracker
	if got := all.Take([]wire.SourceStatus{{Name: "a", State: "failed"}, {Name: "b", State: "ok"}}); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("got %+v", got)
	}
}
