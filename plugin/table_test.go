package plugin

import (
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/protocol"
)

func TestTablesShowDeclaredColumns(t *testing.T) {
	const lun, plain = "com.acme.lun", "com.acme.rack"
	kinds := []protocol.Kind{{Name: plain}, {Name: lun, Columns: []Column{
		{Name: "WWN", Path: "wwn", Wide: true},
		{Name: "STATUS", Path: "state"},
		{Name: "SIZE", Path: "size_bytes"},
		{Name: "FIRST", Path: "paths.0.state"},
		{Name: "TAGS", Path: "tags"},
		{Name: "ON", Path: "on"},
	}}}
	of := func(kind, id, name, spec string) protocol.Resource {
		return protocol.Resource{Key: protocol.Key{Kind: kind, ID: id}, Name: name, Spec: []byte(spec)}
	}
	rs := []protocol.Resource{
		of(lun, "1", "data", `{"state":"ok","size_bytes":1099511627776,"paths":[{"state":"up"}],"tags":["a",7],"wwn":"5000\u001b[2J","on":true}`),
		of(lun, "2", "", `{"size_bytes":512,"paths":[],"wwn":null,"on":{"x":1}}`),
		of(plain, "r", "", `{"height":42}`),
	}
	const first = "KIND           ID  NAME  SPEC\ncom.acme.rack  r         {\"height\":42}\n\n"
	for _, test := range []struct {
		wide bool
		want string
	}{
		{false, first + "KIND          ID  NAME  STATE  SIZE     FIRST  TAGS  ON\n" +
			"com.acme.lun  1   data  ok     1.0 TiB  up     a,7   true\n" +
			"com.acme.lun  2                512 B                 {\"x\":1}\n"},
		{true, first + "KIND          ID  NAME  STATE  SIZE     FIRST  TAGS  ON       WWN\n" +
			"com.acme.lun  1   data  ok     1.0 TiB  up     a,7   true     5000?[2J\n" +
			"com.acme.lun  2                512 B                 {\"x\":1}  \n"},
	} {
		var out strings.Builder
		if err := printTables(&out, kinds, rs, test.wide); err != nil || out.String() != test.want {
			t.Errorf("wide %v: %v\n%s\nwant\n%s", test.wide, err, &out, test.want)
		}
	}
	for want, kinds := range map[string][]protocol.Kind{
		"KIND  ID  NAME  STATE  SIZE  FIRST  TAGS  ON\n": kinds,
		"KIND  ID  NAME  SPEC\n":                         kinds[:1],
	} {
		var none strings.Builder
		if err := printTables(&none, kinds, nil, false); err != nil || none.String() != want {
			t.Errorf("of nothing: %v, %q, want %q", err, &none, want)
		}
	}
}

func TestSizesAreForPeople(t *testing.T) {
	for n, want := range map[string]string{
		"0": "0 B", "1023": "1023 B", "1024": "1.0 KiB", "1536": "1.5 KiB", "1073741823": "1.0 GiB",
		"18446744073709551615": "16.0 EiB", "-1": "-1", "1.5": "1.5", "1e9": "1e9",
	} {
		if got := cells([]byte(`{"x_bytes":`+n+`}`), []Column{{Path: "x_bytes"}}); got[1] != want {
			t.Errorf("%s bytes are %q, want %q", n, got[1], want)
		}
	}
}
