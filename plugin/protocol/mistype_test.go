package protocol

import (
	"errors"
	"strings"
	"testing"
)

// TestWhatDoesNotDecodeIsNamed by its place, with what is wanted there.
func TestWhatDoesNotDecodeIsNamed(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{
			`{"delta":{"seq":1,"upserts":[{"kind":"a.b","id":7,"spec":{}}]}}`,
			`delta.upserts[0].id: want string, not number, in {"delta":{"seq":1,"upserts":[{"kind":"a.b","id":7,"spec":{}}]}}`,
		},
		{`{"delta":{"upserts":[{"kind":"a.b","id":"x","spec":{"id":[1,{"id":2}]}},{"kind":"a.b","id":true}]}}`, `delta.upserts[1].id: want string, not boolean, in …`},
		{`{"delta":{"upserts":[{"parent":"x"}]}}`, `delta.upserts[0].parent: want object, not string, in `},
		{`{"delta":{"upserts":[{"parent":{"id":{}}}]}}`, `delta.upserts[0].parent.id: want string, not object, in `},
		{`{"delta":{"upserts":{}}}`, `delta.upserts: want array, not object, in `},
		{`{"delta":{"seq":-1}}`, `delta.seq: want an integer from 0, not number, in {"delta":{"seq":-1}}`},
		{`{"delta":{"count":1.5,"begin":true}}`, `delta.count: want integer, not number, in `},
		{`{"delta":{"begin":1}}`, `delta.begin: want boolean, not number, in `},
		{`{"hello":{"protocols":["1"]}}`, `hello.protocols[0]: want integer, not string, in `},
		{`{"hello":{"kinds":["com.acme.lun"]}}`, `hello.kinds[0]: want object, not string, in `},
		{`{"hello":["x"]}`, `hello: want object, not array, in `},
		{`{"pong":7}`, `pong: want object, not number, in `},
		{`{"x":"` + strings.Repeat("y", 1000) + `","pong":7,"z":"` + strings.Repeat("y", 1000) + `"}`, `pong: want object, not number, in …yyy`},
		{`{"pong":{"nonce":1},}`, `a line is no JSON: invalid character '}' looking for beginning of object key string, in {"pong":{"nonce":1},}`},
		{`{"pong":`, `a line is no JSON: unexpected end of JSON input, in {"pong":`},
	} {
		_, err := ParseFrame([]byte(test.line))
		v, ok := errors.AsType[*Violation](err)
		if !ok || v.Rule != RuleJSON || !strings.HasPrefix(v.Text, test.want) || len(v.Text) > 250 {
			t.Errorf("of %.120s\n%v\nwant %s", test.line, err, test.want)
		}
	}
}

func FuzzWhereIs(f *testing.F) {
	f.Add([]byte(`{"delta":{"seq":1,"upserts":[{"kind":"a.b","id":7}]}}`), int64(40))
	f.Fuzz(func(_ *testing.T, line []byte, offset int64) {
		whereIs(line, offset)
		around(line, min(max(offset, 0), int64(len(line))))
	})
}
