package schema

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

type base struct {
	ID string `json:"id"`
}

type spec struct {
	base
	Size  uint64            `json:"size" help:"in bytes"`
	Mode  string            `json:"mode,omitempty" enum:"fast,slow"`
	Since time.Time         `json:"since,omitzero"`
	Tags  []string          `json:"tags"`
	Extra map[string]int    `json:"extra,omitempty"`
	Raw   json.RawMessage   `json:"raw,omitempty"`
	Wait  text              `json:"wait,omitempty"`
	Inner *inner            `json:"inner,omitempty"`
	Skip  int               `json:"-"`
	Any   map[string]string `json:"any,omitempty"`
	inner inner
}

type inner struct {
	On    bool
	Ratio float64 `json:"ratio"`
}

type text string

func (t text) MarshalText() ([]byte, error) { return []byte(t), nil }

func TestOfDescribesWhatIsEncoded(t *testing.T) {
	_ = spec{}.inner
	s := Of(spec{})
	zero, err := json.Marshal(spec{})
	if err != nil {
		t.Fatal(err)
	}
	full, err := json.Marshal(spec{
		base: base{"1"}, Size: 1 << 40, Mode: "fast", Since: time.Now(), Tags: []string{"a"}, Extra: map[string]int{"a": 1},
		Raw: json.RawMessage(`[1]`), Wait: "x", Inner: &inner{}, Any: map[string]string{"x": "y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range [][]byte{zero, full} {
		if err := s.Validate("spec", doc); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for doc, want := range map[string]string{
		`{"size":1,"tags":[]}`:                              `spec: "id" is missing`,
		`{"id":"1","size":-1,"tags":[]}`:                    `spec.size: -1 is too little: want at least 0`,
		`{"id":"1","size":1.5,"tags":[]}`:                   `spec.size: want integer, not number`,
		`{"id":1,"size":1,"tags":[]}`:                       `spec.id: want string, not number`,
		`{"id":"1","size":1,"tags":[1]}`:                    `spec.tags[0]: want string, not number`,
		`{"id":"1","size":1,"tags":{},"mode":"x"}`:          `spec.mode: "x" is not one of "fast", "slow"`,
		`{"id":"1","size":1,"tags":{}}`:                     `spec.tags: want array or null, not object`,
		`{"id":"1","size":1,"tags":null,"inner":{"On":1}}`:  `spec.inner: "ratio" is missing`,
		`{"id":"1","size":1,"tags":null,"extra":{"a":"1"}}`: `spec.extra.a: want integer, not string`,
		`[]`:        `spec: want object, not array`,
		`{"id":"1"`: `unexpected end`,
	} {
		if err := s.Validate("spec", []byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
	if err := s.Validate("spec", []byte(`{"id":"1","size":1,"tags":[],"later":1}`)); err != nil {
		t.Errorf("a later key: %v", err)
	}
}

type config struct {
	Dir   string   `json:"dir" help:"where to look"`
	Skip  []string `json:"skip"`
	Inner inner    `json:"inner"`
}

func TestOfConfigTakesItsDefaultsAndNothingUnknown(t *testing.T) {
	s := OfConfig(config{Dir: "/srv", Inner: inner{Ratio: 0.5}})
	d := s.Defaults()
	if want := `{"dir":"/srv","inner":{"On":false,"ratio":0.5},"skip":[]}`; string(d) != want {
		t.Errorf("Defaults = %s, want %s", d, want)
	}
	for doc, want := range map[string]string{
		string(d):                "",
		`{}`:                     "",
		`{"inner":{"On":true}}`:  "",
		`{"dirr":"/x"}`:          `config: unknown key "dirr"; known are: dir, inner, skip`,
		`{"DIR":"/x"}`:           `config: unknown key "DIR"`,
		`{"inner":{"off":true}}`: `config.inner: unknown key "off"; known are: On, ratio`,
		`{"skip":"all"}`:         `config.skip: want array, not string`,
	} {
		err := s.Validate("config", []byte(doc))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
	if s.Properties["dir"].Description != "where to look" {
		t.Error("the help is lost")
	}
}

func TestTagsBoundValues(t *testing.T) {
	type tree struct {
		Kids []tree `json:"kids,omitempty"`
	}
	s := Of(struct {
		Name  string          `json:"name" min:"1" max:"3"`
		Some  []string        `json:"some" min:"1" max:"2" enum:"a,b"`
		Level int             `json:"level" enum:"1,2"`
		Small int8            `json:"small"`
		Spec  json.RawMessage `json:"spec,omitempty" type:"object"`
		Tree  tree            `json:"tree"`                     // within itself
		Maybe *string         `json:"maybe,omitempty" enum:"a"` // without null: it is left out then
	}{})
	for doc, want := range map[string]string{
		`{"name":"äöü","some":["a","b"],"level":2,"small":-128,"spec":{},"tree":{"kids":[{"kids":[]}]}}`: "",
		`{"name":"","some":["a"],"level":1,"small":0,"tree":{}}`:                                         `doc.name: 0 characters is too little: want at least 1`,
		`{"name":"abcd","some":["a"],"level":1,"small":0,"tree":{}}`:                                     `doc.name: 4 characters is too much: want at most 3`,
		`{"name":"a","some":[],"level":1,"small":0,"tree":{}}`:                                           `doc.some: 0 elements is too little`,
		`{"name":"a","some":null,"level":1,"small":0,"tree":{}}`:                                         `doc.some: want array, not null`,
		`{"name":"a","some":["a","a","a"],"level":1,"small":0,"tree":{}}`:                                `doc.some: 3 elements is too much`,
		`{"name":"a","some":["c"],"level":1,"small":0,"tree":{}}`:                                        `doc.some[0]: "c" is not one of "a", "b"`,
		`{"name":"a","some":["a"],"level":3,"small":0,"tree":{}}`:                                        `doc.level: 3 is not one of 1, 2`,
		`{"name":"a","some":["a"],"level":1,"small":128,"tree":{}}`:                                      `doc.small: 128 is too much: want at most 127`,
		`{"name":"a","some":["a"],"level":1,"small":0,"spec":[],"tree":{}}`:                              `doc.spec: want object, not array`,
		`{"name":"a","some":["a"],"level":1,"small":0,"tree":{},"maybe":null}`:                           `doc.maybe: want string, not null`,
	} {
		if err := s.Validate("doc", []byte(doc)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}

func TestSchemasSurviveJSON(t *testing.T) {
	b, err := json.Marshal(OfConfig(config{}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(s)
	if err != nil || string(again) != string(b) {
		t.Errorf("%s\nbecame\n%s (%v)", b, again, err)
	}
}

func TestForeignSchemas(t *testing.T) {
	s, err := Parse([]byte(`{"type":["object","null"],"anyOf":[{}],"properties":{"n":{"type":"number","maximum":3},"x":true,"y":false},"additionalProperties":true}`))
	if err != nil {
		t.Fatal(err)
	}
	for doc, ok := range map[string]bool{`null`: true, `{"n":3,"x":[],"z":1}`: true, `{"n":4}`: false, `{"y":1}`: false} {
		if err := s.Validate("doc", []byte(doc)); (err == nil) != ok {
			t.Errorf("%s: %v, want ok %v", doc, err, ok)
		}
	}
	if _, err := Parse([]byte(`[]`)); err == nil {
		t.Error("a list is a schema")
	}
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"items":{"minimum":1}}}}`), []byte(`{"a":[0]}`))
	f.Add([]byte(`{"enum":[1,"a",null,[1]]}`), []byte(`[1]`))
	f.Fuzz(func(_ *testing.T, schema, document []byte) {
		s, err := Parse(schema)
		if err != nil {
			return
		}
		_ = s.Validate("document", document) // it must return
		_ = s.Validate("defaults", s.Defaults())
	})
}
