package vcproxy

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// envelope puts a method's call around the words of tests.
func envelope(body string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soapenv:Body>` + body + `</soapenv:Body></soapenv:Envelope>`
}

const powerOn = `<PowerOnVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this></PowerOnVM_Task>`

func TestCallIsWrittenInOneForm(t *testing.T) {
	const want = `<PowerOnVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this></PowerOnVM_Task></soapenv:Body>`
	for name, body := range map[string]string{
		"govmomi's": envelope(powerOn),
		"suds's": `<SOAP-ENV:Envelope xmlns:ns0="urn:vim25" xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
			<SOAP-ENV:Header/><SOAP-ENV:Body><ns0:PowerOnVM_Task><ns0:_this type="VirtualMachine">vm-1</ns0:_this></ns0:PowerOnVM_Task></SOAP-ENV:Body></SOAP-ENV:Envelope>`,
		"with a type that is no news":   envelope(strings.Replace(powerOn, "<_this", `<_this xsi:type="ManagedObjectReference"`, 1)),
		"with a character data section": envelope(strings.Replace(powerOn, "vm-1", "<![CDATA[vm-1]]>", 1)),
		"with references to characters": envelope(strings.Replace(powerOn, "vm-1", "&#118;m-1", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parseCall([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			f, err := newSchema().collect(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Ref{Type: "VirtualMachine", Value: "vm-1"}, f.target); diff != "" {
				t.Error(diff)
			}
			if got := string(c.encode("")); !strings.Contains(got, want) {
				t.Errorf("written as %s", got)
			}
		})
	}
}

// Each of these might be read in one way here and in another by vCenter.
func TestTricksAreNotAccepted(t *testing.T) {
	long := strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)
	tests := map[string]string{
		"document type":               `<!DOCTYPE x [<!ENTITY e "vm-2">]>` + envelope(powerOn)[len(`<?xml version="1.0" encoding="UTF-8"?>`):],
		"own entity":                  envelope(strings.Replace(powerOn, "vm-1", "&e;", 1)),
		"comment in a value":          envelope(strings.Replace(powerOn, "vm-1", "vm-<!-- -->1", 1)),
		"comment beside elements":     envelope("<!-- -->" + powerOn),
		"instruction":                 envelope("<?x y?>" + powerOn),
		"two methods":                 envelope(powerOn + strings.ReplaceAll(powerOn, "PowerOn", "PowerOff")),
		"two bodies":                  strings.Replace(envelope(powerOn), "</soapenv:Body>", "</soapenv:Body><soapenv:Body>"+powerOn+"</soapenv:Body>", 1),
		"header after the body":       strings.Replace(envelope(powerOn), "</soapenv:Body>", "</soapenv:Body><soapenv:Header/>", 1),
		"two envelopes":               envelope(powerOn) + envelope(powerOn)[len(`<?xml version="1.0" encoding="UTF-8"?>`):],
		"text behind":                 envelope(powerOn) + "x",
		"no method":                   envelope(""),
		"no body":                     `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"/>`,
		"SOAP 1.2":                    strings.Replace(envelope(powerOn), "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope", 1),
		"unknown namespace":           envelope(strings.Replace(powerOn, "urn:vim25", "urn:internalvim25", 1)),
		"no namespace":                envelope(strings.Replace(powerOn, ` xmlns="urn:vim25"`, "", 1)),
		"other namespace inside":      envelope(strings.Replace(powerOn, "<_this", `<_this xmlns="urn:x"`, 1)),
		"namespace declared twice":    envelope(strings.Replace(powerOn, `xmlns="urn:vim25"`, `xmlns="urn:vim25" xmlns="urn:vim25"`, 1)),
		"prefix that is not bound":    envelope(strings.ReplaceAll(strings.ReplaceAll(powerOn, "<PowerOn", "<v:PowerOn"), "</PowerOn", "</v:PowerOn")),
		"two targets":                 envelope(strings.Replace(powerOn, "<_this", `<_this type="VirtualMachine">vm-2</_this><_this`, 1)),
		"no target":                   envelope(`<PowerOnVM_Task xmlns="urn:vim25"/>`),
		"target without a type":       envelope(strings.Replace(powerOn, ` type="VirtualMachine"`, "", 1)),
		"two types":                   envelope(strings.Replace(powerOn, `type=`, `type="Folder" type=`, 1)),
		"another vCenter's object":    envelope(strings.Replace(powerOn, `type=`, `serverGuid="x" type=`, 1)),
		"null":                        envelope(strings.Replace(powerOn, `type=`, `xsi:nil="true" type=`, 1)),
		"space in a reference":        envelope(strings.Replace(powerOn, "vm-1", " vm-1", 1)),
		"children in a reference":     envelope(strings.Replace(powerOn, "vm-1", "<a>vm-1</a>", 1)),
		"text beside elements":        envelope(strings.Replace(powerOn, "<_this", "x<_this", 1)),
		"element of no such method":   envelope(strings.Replace(powerOn, "</_this>", "</_this><vm type=\"VirtualMachine\">vm-2</vm>", 1)),
		"unknown method":              envelope(strings.ReplaceAll(powerOn, "PowerOnVM_Task", "FormatEverything")),
		"data type as a method":       envelope(`<VirtualMachineConfigSpec xmlns="urn:vim25"/>`),
		"type of another element":     envelope(strings.Replace(powerOn, "<_this", `<_this xsi:type="xsd:string"`, 1)),
		"too deep":                    envelope(`<PowerOnVM_Task xmlns="urn:vim25">` + long + `</PowerOnVM_Task>`),
		"cut":                         envelope(powerOn)[:200],
		"UTF-16":                      "\xff\xfe<\x00",
		"another character set":       strings.Replace(envelope(powerOn), "UTF-8", "ISO-8859-1", 1),
		"header that nobody knows":    strings.Replace(envelope(powerOn), "<soapenv:Body>", `<soapenv:Header><Security xmlns="urn:x"/></soapenv:Header><soapenv:Body>`, 1),
		"operation with a line break": strings.Replace(envelope(powerOn), "<soapenv:Body>", "<soapenv:Header><operationID>a&#10;b</operationID></soapenv:Header><soapenv:Body>", 1),
		"type of no schema":           envelope(`<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this><spec><deviceChange><device xsi:type="Backdoor"/></deviceChange></spec></ReconfigVM_Task>`),
		"type that does not fit":      envelope(`<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this><spec><deviceChange><device xsi:type="OptionValue"/></deviceChange></spec></ReconfigVM_Task>`),
		"value twice":                 envelope(`<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this><spec><name>a</name><name>b</name></spec></ReconfigVM_Task>`),
		"no number":                   envelope(`<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this><spec><numCPUs>two</numCPUs></spec></ReconfigVM_Task>`),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := parseCall([]byte(body))
			if err == nil {
				_, err = newSchema().collect(c)
			}
			if err == nil {
				t.Errorf("accepted, and written as %s", c.encode(""))
			}
		})
	}
}

func TestElementsAreCountedBeforeTheyAreDecoded(t *testing.T) {
	many := func(n int, text string) string { return "<a" + strings.Repeat(text, n) + ">" }
	tests := map[string]struct {
		text     string
		elements int // -1: refused
	}{
		"nothing":                {"", 0},
		"nested":                 {"<?xml version='1.0'?><a><b/><c d='e'>f</c></a>", 4},
		"as many as may be":      {many(maxAttributes, ` b="c"`), 1},
		"one more":               {many(maxAttributes+1, ` b="c"`), -1},
		"namespaces":             {many(maxAttributes+1, ` xmlns:b=""`), -1},
		"no blanks":              {many(maxAttributes+1, `b=""`), -1},
		"cut":                    {strings.TrimSuffix(many(maxAttributes+1, ` b="c"`), ">"), -1},
		"in a value":             {`<a b="` + strings.Repeat("=", 99) + `">`, 1},
		"in a value with the > ": {`<a b=">` + strings.Repeat("=", 99) + `">`, 1},
		"in a text":              {"<a>" + strings.Repeat("=", 99) + "</a>", 1},
		"behind an open quote":   {`<a b="><` + many(maxAttributes+1, ` b="c"`)[1:], -1},
		"behind character data":  {`<![CDATA[<a b="]]>` + many(maxAttributes+1, ` b="c"`), -1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := scan([]byte(test.text))
			if test.elements < 0 && err == nil || test.elements >= 0 && (err != nil || got != test.elements) {
				t.Errorf("%d elements, %v; want %d", got, err, test.elements)
			}
		})
	}
}

// What is reserved for a call must do for it.
func TestACallTakesNoMoreMemoryThanIsCounted(t *testing.T) {
	around := func(inner string) []byte {
		return []byte(envelope(`<RetrievePropertiesEx xmlns="urn:vim25"><_this type="PropertyCollector">p</_this><specSet>` + inner + `</specSet><options/></RetrievePropertiesEx>`))
	}
	for name, body := range map[string][]byte{
		"small elements":  around("<propSet><type>VirtualMachine</type>" + strings.Repeat("<pathSet/>", maxElements-100) + "</propSet>"),
		"structs":         around(strings.Repeat(`<objectSet><obj type="Folder">b</obj></objectSet>`, maxElements/2-100)),
		"types":           around(`<objectSet><obj type="Folder">b</obj>` + strings.Repeat(`<selectSet xsi:type="SelectionSpec"/>`, maxElements-100) + "</objectSet>"),
		"one long text":   around("<propSet><type>VirtualMachine</type><pathSet>" + strings.Repeat("x", 2<<20) + "</pathSet></propSet>"),
		"a common answer": around("<propSet><type>VirtualMachine</type><pathSet>name</pathSet></propSet>"),
	} {
		t.Run(name, func(t *testing.T) {
			elements, err := scan(body)
			if err != nil {
				t.Fatal(err)
			}
			schema := newSchema()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			c, err := parseCall(body)
			if err != nil {
				t.Fatal(err)
			}
			f, err := schema.collect(c)
			if err != nil {
				t.Fatal(err)
			}
			written := c.encode("")
			runtime.GC()
			runtime.ReadMemStats(&after)
			took, counted := int(after.HeapAlloc)-int(before.HeapAlloc)+len(body), perByte*len(body)+perElement*elements
			t.Logf("%d elements in %d bytes take %d, counted are %d", elements, len(body), took, counted)
			if took > counted+1<<20 { // of the schema's, which is remembered
				t.Errorf("%d elements in %d bytes take %d, more than %d", elements, len(body), took, counted)
			}
			runtime.KeepAlive(f)
			runtime.KeepAlive(written)
		})
	}
}

// What a call says is what is judged: written again, it is read as the same.
func FuzzCall(f *testing.F) {
	f.Add([]byte(envelope(powerOn)))
	f.Add([]byte(envelope(`<RetrievePropertiesEx xmlns="urn:vim25"><_this type="PropertyCollector">p</_this><specSet><propSet><type>VirtualMachine</type><all>0</all><pathSet>name</pathSet></propSet><objectSet><obj type="VirtualMachine">vm-1</obj><selectSet xsi:type="TraversalSpec"><type>Folder</type><path>childEntity</path></selectSet></objectSet></specSet><options><maxObjects>1</maxObjects></options></RetrievePropertiesEx>`)))
	f.Add([]byte(envelope(`<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this><spec><memoryMB>512.0</memoryMB><extraConfig xsi:type="OptionValue"><key>nvp.x</key><value xsi:type="xsd:string">a&amp;b</value></extraConfig></spec></ReconfigVM_Task>`)))
	f.Add([]byte(`<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><operationID>x</operationID></e:Header><e:Body><p:PbmRetrieveServiceContent xmlns:p="urn:pbm"><p:_this type="PbmServiceInstance">ServiceInstance</p:_this></p:PbmRetrieveServiceContent></e:Body></e:Envelope>`))
	schema := newSchema()
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseCall(body)
		if err != nil {
			return
		}
		facts, err := schema.collect(c)
		if err != nil {
			return
		}
		written := c.encode("")
		again, err := parseCall(written)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, written)
		}
		second, err := schema.collect(again)
		if err != nil {
			t.Fatalf("what was written is not accepted: %v\n%s", err, written)
		}
		if c.method() != again.method() || facts.target != second.target || len(facts.refs) != len(second.refs) ||
			len(facts.strings) != len(second.strings) || len(facts.structs) != len(second.structs) {
			t.Fatalf("read as another call:\n%s", written)
		}
		if twice := again.encode(""); string(twice) != string(written) {
			t.Fatalf("written otherwise the second time:\n%s\n%s", written, twice)
		}
	})
}
