package api_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/plugin"
)

func TestAppendIsMarshal(t *testing.T) {
	if n := reflect.TypeFor[api.Resource]().NumField(); n != 15 {
		t.Errorf("a resource has %d fields now: write the new ones in AppendJSON, and set them here", n)
	}
	full := api.Resource{
		Host: "h", Hostname: "kvm<1>\"\\\n", Key: plugin.Key{Kind: "compute.vm", ID: "ü\x00\xff\u2028"},
		Name: "n", State: "running", Parent: plugin.Key{Kind: "k"}, Source: "libvirt", Revision: 1<<64 - 1, Generation: 7,
		Stale: true, StaleSince: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), StaleReason: "a & b", Invalid: "size: want a number",
		Spec: json.RawMessage(`{"a":[1,2],"b":"x"}`), Ext: json.RawMessage(`{"acme.com/rack":"B7"}`),
	}
	for name, page := range map[string]api.Resources{
		"nothing":     {},
		"empty page":  {Items: []api.Resource{}, Revision: "r"},
		"zero values": {Items: []api.Resource{{}}, Continue: "c", Revision: "r"},
		"all":         {Items: []api.Resource{full, {Host: "h", Spec: json.RawMessage(`null`)}, full}, Continue: "c", Revision: "r"},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := json.Marshal(page)
			if err != nil {
				t.Fatal(err)
			}
			if got := page.AppendJSON([]byte("x"))[1:]; string(got) != string(want) {
				t.Errorf("appended\n%s\nmarshalled\n%s", got, want)
			}
		})
	}
}
