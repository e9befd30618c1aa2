package conformance

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// TestNewsNamesWhatDiffers with both values, wherever that is.
func TestNewsNamesWhatDiffers(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, test := range []struct{ was, now, want string }{
		{`{"a":"` + long + `","free":1,"z":0}`, `{"a":"` + long + `","free":2,"z":0}`, "spec.free was 1 and is 2"},
		{`{"a":"` + long + `1"}`, `{"a":"` + long + `2"}`, `spec.a was …xxxxxxxxxxxxxxxxxxxx1" and is …xxxxxxxxxxxxxxxxxxxx2"`},
		{`{"p":[{"s":1},{"s":"up"}]}`, `{"p":[{"s":1},{"s":"down"}]}`, `spec.p[1].s was "up" and is "down"`},
		{`{"p":[1,2]}`, `{"p":[2]}`, "spec.p was [1,2] and is [2]"},
		{`{"p":{}}`, `{"p":[]}`, "spec.p was {} and is []"},
		{`{"a":1}`, `{"a":1,"b":null}`, "spec.b was not there and is null"},
		{`{"a":1,"b":[9007199254740993]}`, `{"a":1,"b":[9007199254740992]}`, "spec.b[0] was 9007199254740993 and is 9007199254740992"},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, "spec has the same values, written otherwise"},
		{`{"a":1}`, `{"a":1}`, "all that is in it is the same as before"},
	} {
		key := protocol.Key{Kind: "com.acme.lun", ID: "7"}
		c := &child{state: map[protocol.Key]protocol.Resource{key: {Key: key, Spec: json.RawMessage(test.now)}}}
		got := c.news(map[protocol.Key]protocol.Resource{key: {Key: key, Spec: json.RawMessage(test.was)}})
		if !strings.Contains(got, test.want) || len(got) > 300 {
			t.Errorf("from %.60s to %.60s: %q, want %q", test.was, test.now, got, test.want)
		}
	}
	key := protocol.Key{Kind: "com.acme.lun", ID: "7"}
	one := map[protocol.Key]protocol.Resource{key: {Key: key, Name: "a", Ext: json.RawMessage(`{"a/b":1}`)}}
	for want, now := range map[string]map[protocol.Key]protocol.Resource{
		`com.acme.lun 7: name was "a" and is "b"`:       {key: {Key: key, Name: "b", Ext: json.RawMessage(`{"a/b":1}`)}},
		`com.acme.lun 7: ext was {"a/b":1} and is null`: {key: {Key: key, Name: "a"}},
		"com.acme.lun 7 is gone":                        {},
	} {
		if got := (&child{state: now}).news(one); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	if got := (&child{state: one}).news(nil); got != "com.acme.lun 7 is new" {
		t.Errorf("of what is new it says %q", got)
	}
}
