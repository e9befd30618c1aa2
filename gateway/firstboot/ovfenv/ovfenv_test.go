package ovfenv

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// esxi is the form in which vSphere hands an environment over, with a neighbour
// in the same vApp.
const esxi = `<?xml version="1.0" encoding="UTF-8"?>
<Environment
     xmlns="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:ve="http://www.vmware.com/schema/ovfenv"
     oe:id=""
     ve:vCenterId="vm-1207">
   <PlatformSection>
      <Kind>VMware ESXi</Kind>
      <Version>8.0.3</Version>
      <Vendor>VMware, Inc.</Vendor>
      <Locale>en</Locale>
   </PlatformSection>
   <PropertySection>
         <Property oe:key="gw.hostname" oe:value="gw1"/>
         <Property oe:key="gw.ip" oe:value="192.0.2.10/24"/>
         <Property oe:key="gw.proxy" oe:value="http://u:a&amp;b%22@proxy:3128"/>
         <Property oe:key="gw.ntp" oe:value=""/>
   </PropertySection>
   <ve:EthernetAdapterSection>
      <ve:Adapter ve:mac="00:50:56:9a:00:01" ve:network="VM Network" ve:unitNumber="7"/>
   </ve:EthernetAdapterSection>
   <Entity oe:id="neighbour">
      <PropertySection>
         <Property oe:key="gw.hostname" oe:value="not-us"/>
      </PropertySection>
   </Entity>
</Environment>
`

func TestParse(t *testing.T) {
	want := map[string]string{"gw.hostname": "gw1", "gw.ip": "192.0.2.10/24", "gw.proxy": `http://u:a&b%22@proxy:3128`, "gw.ntp": ""}
	for _, behind := range []string{"", "\x00\x00", " \n\x00", "\n<!-- by vCenter -->"} {
		env, err := Parse([]byte(esxi + behind))
		if err != nil {
			t.Fatalf("with %q behind: %v", behind, err)
		}
		if diff := cmp.Diff(want, env.Properties); diff != "" {
			t.Error(diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	property := func(p string) string { return strings.Replace(esxi, `<PropertySection>`, "<PropertySection>"+p, 1) }
	tests := []struct{ name, text, want string }{
		{"nothing", "", "not well-formed"},
		{"a value that was not escaped", property(`<Property oe:key="k" oe:value="tok&"en"/>`), "not well-formed"},
		{"a cut document", esxi[:len(esxi)/2], "not well-formed"},
		{"another document", `<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"/>`, "no OVF environment"},
		{"another name space", strings.ReplaceAll(esxi, "environment/1", "environment/9"), "no OVF environment"},
		{"two documents", esxi + esxi, "second document"},
		{"two roots", esxi + "<a/>", "second document"},
		{"text behind", esxi + "more", "text behind"},
		{"a key twice", property(`<Property oe:key="gw.ip" oe:value="192.0.2.11/24"/>`), `"gw.ip" twice`},
		{"no key", property(`<Property oe:value="x"/>`), "without a key"},
		{"too much", strings.Replace(esxi, "gw1", strings.Repeat("x", MaxBytes), 1), "more than"},
		{"too many", property(manyProperties()), "more than 1000"},
		{"an entity of its own", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + property(`<Property oe:key="k" oe:value="&e;"/>`)[len("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"):], "not well-formed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one with %q", err, test.want)
			}
		})
	}
}

func manyProperties() string {
	var b strings.Builder
	for i := range maxProperties {
		b.WriteString(`<Property oe:key="k` + strings.Repeat("i", i+1) + `" oe:value=""/>`)
	}
	return b.String()
}

func TestMarshalIsParsed(t *testing.T) {
	env := Environment{map[string]string{"gw.proxy": "http://u:a&b\"<>'@p:1", "gw.text": "tab\there", "gw.empty": ""}}
	got, err := Parse(env.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(env, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(esxi))
	f.Add(Environment{map[string]string{"a": "&<\"", "b.c": "\u00e9"}}.Marshal())
	f.Add([]byte(`<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"><PropertySection><Property key="a" value="b"/></PropertySection></Environment>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		env, err := Parse(b)
		if err != nil {
			if env.Properties != nil {
				t.Error("an error came with properties")
			}
			return
		}
		again, err := Parse(env.Marshal())
		if err != nil {
			t.Fatalf("what was parsed cannot be written: %v", err)
		}
		if !maps.Equal(env.Properties, again.Properties) {
			t.Errorf("%q became %q", env.Properties, again.Properties)
		}
		if bytes.Contains(b, []byte{0}) && len(env.Properties) > maxProperties {
			t.Error("too many")
		}
	})
}
