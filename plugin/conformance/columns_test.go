package conformance

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/protocol"
)

func TestColumnsLeadSomewhere(t *testing.T) {
	const lun = "com.acme.lun"
	object := func(properties string) string { return `{"type":"object","properties":` + properties + `}` }
	for name, test := range map[string]struct {
		kind, schema, path string
		specs              []string
		outcome            string
		want               string
	}{
		"described and there":       {lun, object(`{"wwn":{"type":"string"}}`), "wwn", []string{`{"wwn":"5"}`}, OK, "1 columns"},
		"described, nothing listed": {lun, object(`{"wwn":{}}`), "wwn", nil, OK, ""},
		"a typo":                    {lun, object(`{"wwn":{}}`), "wnn", []string{`{"wwn":"5"}`}, Failed, `neither the schema nor any of 1 specs has "wnn"; there are wwn`},
		"a typo, nothing listed":    {lun, object(`{"wwn":{}}`), "wnn", nil, Failed, `the schema has no "wnn"`},
		"described, never there":    {lun, object(`{"wwn":{}}`), "wwn", []string{`{"size":1}`, `{}`}, Warned, `none of 2 specs has "wwn"; there are size`},
		"there, not described":      {lun, object(`{"wwn":{}}`), "size", []string{`{}`, `{"size":1}`}, Warned, "the schema does not describe it"},
		"no schema":                 {lun, "", "size", []string{`{"size":1}`}, OK, ""},
		"no schema, never there":    {lun, "", "sise", []string{`{"size":1}`}, Warned, `none of 1 specs has "sise"`},
		"within a list":             {lun, object(`{"paths":{"type":"array","items":{"properties":{"state":{}}}}}`), "paths.0.state", nil, OK, ""},
		"no index":                  {lun, object(`{"paths":{"type":"array","items":{"properties":{"state":{}}}}}`), "paths.state", nil, Failed, "paths.state"},
		"below a text":              {lun, object(`{"wwn":{"type":"string"}}`), "wwn.id", nil, Failed, "wwn.id"},
		"below anything":            {lun, object(`{"raw":{}}`), "raw.id", nil, OK, ""},
		"in a map":                  {lun, object(`{"tags":{"additionalProperties":{"type":"string"}}}`), "tags.rack", nil, OK, ""},
		"an unread keyword":         {lun, `{"properties":{"wwn":{}},"anyOf":[{"properties":{"nqn":{}}}]}`, "nqn", nil, OK, ""},
		"nothing else allowed":      {lun, `{"additionalProperties":false}`, "wwn", nil, Failed, "wwn"},
		"of the core":               {inventory.KindVM, "", "vcpus", nil, OK, ""},
		"not of the core":           {inventory.KindVM, "", "vcpu", nil, Failed, "vcpu"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kit{results: make(map[protocol.Rule]*Result)}
			c := &child{kit: k, state: make(map[protocol.Key]protocol.Resource)}
			kind := protocol.Kind{Name: test.kind, Columns: []protocol.Column{{Name: "X", Path: test.path}}}
			if test.schema != "" {
				kind.Schema = json.RawMessage(test.schema)
			}
			c.hello.Kinds = []protocol.Kind{{Name: "com.acme.other"}, kind}
			for i, spec := range test.specs {
				key := protocol.Key{Kind: test.kind, ID: string(rune('a' + i))}
				c.state[key] = protocol.Resource{Key: key, Spec: json.RawMessage(spec)}
			}
			all, err := schemas(c.hello.Kinds)
			if err != nil {
				t.Fatal(err)
			}
			k.columns(c, all)
			if got := k.results[RuleColumns]; got.Outcome != test.outcome || !strings.Contains(got.Reason, test.want) {
				t.Errorf("%+v, want %s with %q", got, test.outcome, test.want)
			}
		})
	}
}
