package vcproxy_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// vcsim does not describe its API as vCenter does, and OpenStack's client reads
// that description before anything else. wsdl writes one from govmomi's types,
// for all methods whose data the schema files of OpenStack's client know.
type wsdl struct {
	known map[string]bool // data types of the schema files
	// returns are the Go types of what methods return; those without are missing.
	returns map[string]string

	types, messages, operations, bindings strings.Builder
	methods                               int
}

var complexType = regexp.MustCompile(`<(?:complexType|simpleType) name="([A-Za-z0-9_]+)"`)

// schemaFiles are the data types of the API, in the versions that OpenStack's
// client carries.
func schemaFiles(t *testing.T, dir string) (map[string][]byte, map[string]bool) {
	t.Helper()
	files, known := make(map[string][]byte), make(map[string]bool)
	for _, name := range []string{"core-types.xsd", "query-types.xsd", "reflect-types.xsd", "vim-types.xsd"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = text
		for _, m := range complexType.FindAllSubmatch(text, -1) {
			known[string(m[1])] = true
		}
	}
	return files, known
}

var xsdNames = map[reflect.Type]string{
	reflect.TypeFor[string](): "xsd:string", reflect.TypeFor[bool](): "xsd:boolean", reflect.TypeFor[int8](): "xsd:byte",
	reflect.TypeFor[int16](): "xsd:short", reflect.TypeFor[int32](): "xsd:int", reflect.TypeFor[int64](): "xsd:long",
	reflect.TypeFor[float32](): "xsd:float", reflect.TypeFor[float64](): "xsd:double", reflect.TypeFor[time.Time](): "xsd:dateTime",
	reflect.TypeFor[[]byte](): "xsd:base64Binary", reflect.TypeFor[types.ByteSlice](): "xsd:byte", reflect.TypeFor[types.AnyType](): "xsd:anyType",
}

// member writes one parameter or result.
func (w *wsdl) member(f reflect.StructField) (string, bool) {
	name, options, _ := strings.Cut(f.Tag.Get("xml"), ",")
	t, most := f.Type, ""
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind, ok := xsdNames[t]
	if !ok && t.Kind() == reflect.Slice {
		t, most = t.Elem(), ` maxOccurs="unbounded"`
		kind, ok = xsdNames[t]
	}
	if !ok {
		base := strings.TrimPrefix(t.Name(), "Base")
		kind, ok = "vim25:"+base, w.known[base]
	}
	least := ""
	if strings.Contains(options, "omitempty") || most != "" {
		least = ` minOccurs="0"`
	}
	if !ok && least != "" {
		return "", true // newer than the schema files, and not needed
	}
	return fmt.Sprintf(`<element name="%s" type="%s"%s%s/>`, name, kind, least, most), ok
}

func (w *wsdl) sequence(name string) (string, bool) {
	t, ok := types.TypeFunc()(name)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for f := range t.Fields() {
		m, ok := w.member(f)
		if !ok {
			return "", false
		}
		b.WriteString(m)
	}
	return "<complexType><sequence>" + b.String() + "</sequence></complexType>", true
}

var goNames = map[string]string{
	"string": "xsd:string", "bool": "xsd:boolean", "int32": "xsd:int", "int64": "xsd:long", "time.Time": "xsd:dateTime", "AnyType": "xsd:anyType",
	"ByteSlice": "xsd:byte",
}

// result describes what a method returns.
func (w *wsdl) result(name string) (string, bool) {
	text, ok := w.returns[name]
	if !ok {
		return "<complexType/>", true
	}
	text, many := strings.CutPrefix(strings.TrimPrefix(text, "*"), "[]")
	kind, ok := goNames[text]
	if !ok {
		base := strings.TrimPrefix(text, "Base")
		kind, ok = "vim25:"+base, w.known[base]
	}
	most := ""
	if many {
		most = ` maxOccurs="unbounded"`
	}
	return fmt.Sprintf(`<complexType><sequence><element name="returnval" type="%s" minOccurs="0"%s/></sequence></complexType>`, kind, most), ok
}

var returnval = regexp.MustCompile(`(?m)^type (\w+)Response struct \{\n\tReturnval (\S+)`)

// returned reads from govmomi's sources what methods return.
func returned(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/vmware/govmomi").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "vim25", "types", "types.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, m := range returnval.FindAllSubmatch(text, -1) {
		found[string(m[1])] = string(m[2])
	}
	return found
}

func (w *wsdl) method(name string) {
	in, ok := w.sequence(name)
	out, ok2 := w.result(name)
	if !ok || !ok2 {
		return
	}
	w.methods++
	fmt.Fprintf(&w.types, `<element name="%s">%s</element><element name="%sResponse">%s</element>`, name, in, name, out)
	for _, m := range []string{name, name + "Response"} {
		fmt.Fprintf(&w.messages, `<message name="%sMsg"><part name="parameters" element="vim25:%s"/></message>`, m, m)
	}
	fmt.Fprintf(&w.operations, `<operation name="%s"><input message="vim25:%sMsg"/><output message="vim25:%sResponseMsg"/></operation>`, name, name, name)
	fmt.Fprintf(&w.bindings, `<operation name="%s"><soap:operation soapAction="urn:vim25/7.0" style="document"/><input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation>`, name)
}

func (w *wsdl) text() string {
	return `<?xml version="1.0" encoding="UTF-8"?><definitions targetNamespace="urn:vim25" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:vim25="urn:vim25" xmlns:xsd="http://www.w3.org/2001/XMLSchema">` +
		`<types><schema targetNamespace="urn:vim25" xmlns="http://www.w3.org/2001/XMLSchema" xmlns:vim25="urn:vim25" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:reflect="urn:reflect" elementFormDefault="qualified">` +
		`<import namespace="urn:reflect" schemaLocation="reflect-types.xsd"/><include schemaLocation="core-types.xsd"/><include schemaLocation="query-types.xsd"/><include schemaLocation="vim-types.xsd"/>` +
		w.types.String() + `</schema></types>` + w.messages.String() +
		`<portType name="VimPortType">` + w.operations.String() + `</portType>` +
		`<binding name="VimBinding" type="vim25:VimPortType"><soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>` + w.bindings.String() + `</binding>` +
		`<service name="VimService"><port binding="vim25:VimBinding" name="VimPort"><soap:address location="https://localhost/sdk/vimService"/></port></service></definitions>`
}

// description makes the files that vCenter serves under /sdk.
func description(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, known := schemaFiles(t, dir)
	w := &wsdl{known: known, returns: returned(t)}
	list, err := os.Open("testdata/methods.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	vim := false
	for lines := bufio.NewScanner(list); lines.Scan(); {
		if name := lines.Text(); strings.HasPrefix(name, "#") {
			vim = strings.HasPrefix(name, "# urn:vim25 ")
		} else if vim {
			w.method(name)
		}
	}
	if w.methods < 800 {
		t.Fatalf("only %d methods can be described", w.methods)
	}
	t.Logf("described %d methods", w.methods)
	files["vimService.wsdl"] = []byte(w.text())
	return files
}
