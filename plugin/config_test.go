package plugin

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

type array struct {
	Name  string   `json:"name"`
	Ports []uint16 `json:"ports"`
	Wait  Duration `json:"wait"`
}

type arrays struct {
	Dir     string           `json:"dir"`
	Wait    Duration         `json:"wait"`
	Mode    string           `json:"mode" enum:"fast,slow"`
	Skip    []string         `json:"skip" enum:"disks,tapes"`
	Retries int              `json:"retries" min:"1" max:"9"`
	Arrays  []array          `json:"arrays"`
	Groups  map[string]array `json:"groups"`
	Limit   *int             `json:"limit"`
	Level   *string          `json:"level" enum:"low,high"`
}

// opened returns a program, and what its New is given.
func opened(t *testing.T, defaults arrays) (*program, *arrays) {
	t.Helper()
	var got arrays
	g, err := Plugin[arrays]{
		Name: "test", Version: "1", Kinds: []Kind{{Name: kind}}, Config: defaults,
		New: func(_ context.Context, c arrays) (Source, error) { got = c; return raw{}, nil },
	}.program()
	if err != nil {
		t.Fatal(err)
	}
	return g, &got
}

func TestConfigHasDefaultsAndDurations(t *testing.T) {
	defaults := arrays{Dir: "/srv", Wait: Duration(time.Minute), Mode: "slow", Retries: 3}
	g, got := opened(t, defaults)
	quick := defaults
	quick.Wait = Duration(5 * time.Second)
	for text, want := range map[string]arrays{``: defaults, `{}`: defaults, `{"wait":"5s"}`: quick} {
		if _, err := g.open(t.Context(), []byte(text)); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v, want %+v", text, *got, err, want)
		}
	}
}

// What is nil in Go is published as empty: a list is an array, and nothing else.
func TestPublishedConfigHasNoNullLists(t *testing.T) {
	g, got := opened(t, arrays{Mode: "fast", Retries: 1, Arrays: []array{{Name: "a"}}})
	for _, key := range []string{"skip", "arrays"} {
		if text, err := json.Marshal(g.config.Properties[key].Type); err != nil || string(text) != `"array"` {
			t.Errorf("%s is published as %s, %v, want an array", key, text, err)
		}
	}
	if want := `{"arrays":[{"name":"a","ports":[],"wait":"0s"}],"dir":"","groups":{},"level":null,"limit":null,"mode":"fast","retries":1,"skip":[],"wait":"0s"}`; string(g.config.Defaults()) != want {
		t.Errorf("the defaults are\n%s\nwant\n%s", g.config.Defaults(), want)
	}
	if _, err := g.open(t.Context(), g.config.Defaults()); err != nil || len(got.Arrays) != 1 {
		t.Errorf("its own defaults give %+v, %v", got, err)
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	g, _ := opened(t, arrays{Mode: "fast", Retries: 1})
	for text, want := range map[string]string{
		`{"wait":5}`:                `config.wait: want string, not number`,
		`{"wait":"soon"}`:           `config.wait: "soon" is no duration: want one such as "30s"`,
		`{"mode":"quick"}`:          `config.mode: "quick" is not one of "fast", "slow"`,
		`{"level":"middle"}`:        `config.level: "middle" is not one of "low", "high", null`,
		`{"skip":["disks","dics"]}`: `config.skip[1]: "dics" is not one of "disks", "tapes"`,
		`{"retries":10}`:            `config.retries: 10 is too much: want at most 9`,
		`{"skip":null}`:             `config.skip: want array, not null`,
		`{"arrays":[{"name":"a"},{"wait":"1 hr"}]}`: `config.arrays[1].wait: "1 hr" is no duration`,
		`{"arrays":[{"ports":[1,65536]}]}`:          `config.arrays[0].ports[1]: 65536 is too much: want at most 65535`,
		`{"groups":{"x":{"wait":"-"}}}`:             `config.groups.x.wait: "-" is no duration`,
		`{"arrays":[{"nmae":"a"}]}`:                 `config.arrays[0]: unknown key "nmae"; known are: name, ports, wait`,
		`{"limit":9223372036854775808}`:             `config.limit: want int, not number 9223372036854775808`,
		`[]`:                                        `config: want object, not array`,
		`{`:                                         `config: unexpected end`,
	} {
		if _, err := g.open(t.Context(), []byte(text)); !isBadConfig(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a bad configuration with %q", text, err, want)
		}
	}
}
