package vcenter

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// values are one of each form that a value may have.
func values() []types.PropertyChange {
	ref := types.ManagedObjectReference{Type: "HostSystem", Value: "host-1"}
	assign := func(name string, v any) types.PropertyChange {
		return types.PropertyChange{Name: name, Op: types.PropertyChangeOpAssign, Val: v}
	}
	return []types.PropertyChange{
		assign("name", `a <b> & "c" 'd' é ]]>`), assign("empty", ""), assign("lines", "a\nb\tc"),
		assign("int", int32(-5)), assign("long", int64(1)<<40), assign("short", int16(7)), assign("bool", true),
		assign("time", time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)), assign("ref", ref),
		assign("refs", types.ArrayOfManagedObjectReference{ManagedObjectReference: []types.ManagedObjectReference{ref, {Type: "Datastore", Value: "datastore-2"}}}),
		assign("no refs", types.ArrayOfManagedObjectReference{}), assign("strings", types.ArrayOfString{String: []string{"a", "b&c"}}),
		assign("power", types.VirtualMachinePowerStatePoweredOn), assign("connection", types.VirtualMachineConnectionStateOrphaned),
		assign("drs", types.DrsBehaviorManual), assign("summary", types.DatastoreSummary{Datastore: &ref, Name: "ds", Url: "u", MultipleHostAccess: types.NewBool(true)}),
		assign("storage", types.VirtualMachineStorageSummary{Committed: 1, Uncommitted: 2}),
		{Name: "gone", Op: types.PropertyChangeOpRemove},
		{Name: "indirectly", Op: types.PropertyChangeOpIndirectRemove},
	}
}

func reply(t *testing.T, set *types.UpdateSet) []byte {
	t.Helper()
	b, err := xml.Marshal(soap.Envelope{Body: &methods.WaitForUpdatesExBody{Res: &types.WaitForUpdatesExResponse{Returnval: set}}})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(xml.Header), b...)
}

func decoded(t *testing.T, b []byte) *types.UpdateSet {
	t.Helper()
	var body methods.WaitForUpdatesExBody
	d := xml.NewDecoder(bytes.NewReader(b))
	d.TypeFunc = types.TypeFunc()
	if err := d.Decode(&soap.Envelope{Body: &body}); err != nil {
		t.Fatal(err)
	}
	return body.Res.Returnval
}

// vCenter writes the type in one way, govmomi and vcsim in another.
var spellings = map[string]func(string) string{
	"govmomi's": func(s string) string { return s },
	"vCenter's": func(s string) string {
		s = strings.ReplaceAll(s, ` xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance" XMLSchema-instance:type=`, " xsi:type=")
		s = strings.Replace(s, `<Envelope xmlns=`, `<soapenv:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:soapenv=`, 1)
		return strings.NewReplacer("</Envelope>", "</soapenv:Envelope>", "<Body>", "<soapenv:Body>\n", "</Body>", "\n</soapenv:Body>").Replace(s)
	},
}

func TestScannedRepliesSayTheSame(t *testing.T) {
	set := &types.UpdateSet{Version: "17", Truncated: types.NewBool(true)}
	for i := range 2 {
		f := types.PropertyFilterUpdate{Filter: types.ManagedObjectReference{Type: "PropertyFilter", Value: fmt.Sprint("f", i)}}
		for j, kind := range []types.ObjectUpdateKind{types.ObjectUpdateKindEnter, types.ObjectUpdateKindModify, types.ObjectUpdateKindLeave} {
			u := types.ObjectUpdate{Kind: kind, Obj: types.ManagedObjectReference{Type: typeVM, Value: fmt.Sprint("vm-", j)}}
			if kind != types.ObjectUpdateKindLeave {
				u.ChangeSet = values()
			}
			f.ObjectSet = append(f.ObjectSet, u)
		}
		gone := types.LocalizedMethodFault{Fault: &types.NotAuthenticated{}, LocalizedMessage: "log in & try again"}
		f.ObjectSet[0].MissingSet = []types.MissingProperty{{Path: "config", Fault: gone}, {Path: "guest", Fault: gone}}
		f.MissingSet = []types.MissingObject{{Obj: types.ManagedObjectReference{Type: typeVM, Value: "vm-9"}, Fault: gone}}
		set.FilterSet = append(set.FilterSet, f)
	}
	for name, spell := range spellings {
		t.Run(name, func(t *testing.T) {
			whole := []byte(spell(string(reply(t, set))))
			got, ok := scanReply(bytes.Clone(whole))
			if !ok {
				t.Fatalf("not understood:\n%s", whole)
			}
			if d := cmp.Diff(decoded(t, whole), got); d != "" {
				t.Errorf("reply (-decoded +scanned):\n%s", d)
			}
		})
	}
	if got, ok := scanReply(reply(t, nil)); got != nil || !ok {
		t.Errorf("an empty reply is %v, %v", got, ok)
	}
}

func TestOddRepliesAreLeftToTheDecoder(t *testing.T) {
	good := string(reply(t, &types.UpdateSet{Version: "1"}))
	for name, b := range map[string]string{
		"a fault":   `<Envelope><Body><Fault><faultcode>x</faultcode></Fault></Body></Envelope>`,
		"half":      good[:len(good)/2],
		"a comment": strings.Replace(good, "<version>", "<!-- --><version>", 1),
		"CDATA":     strings.Replace(good, "1</version>", "<![CDATA[1]]></version>", 1),
		"nothing":   "",
		"HTML":      "<html><body>502</body></html>",
	} {
		if set, ok := scanReply([]byte(b)); ok {
			t.Errorf("%s: scanned as %+v", name, set)
		}
	}
}

// A vCenter that is no good fills a reply with what becomes large.
func TestAReplyThatFillsTheMemoryIsNotScanned(t *testing.T) {
	around := func(inner string) []byte {
		return []byte(`<Envelope><Body><WaitForUpdatesExResponse><returnval><version>1</version>` + inner + `</returnval></WaitForUpdatesExResponse></Body></Envelope>`)
	}
	value := func(typ, inner string) []byte {
		return around(`<filterSet><objectSet><kind>enter</kind><obj type="HostSystem">host-1</obj><changeSet><name>x</name><op>assign</op><val type="` + typ + `">` + inner + `</val></changeSet></objectSet></filterSet>`)
	}
	const size = 12 << 20
	fill := func(text string) string { return strings.Repeat(text, size/len(text)) }
	for name, b := range map[string][]byte{
		"filters":    around(fill("<filterSet></filterSet>")),
		"objects":    around("<filterSet>" + fill("<objectSet></objectSet>") + "</filterSet>"),
		"changes":    around("<filterSet><objectSet>" + fill("<changeSet></changeSet>") + "</objectSet></filterSet>"),
		"devices":    value("ArrayOfVirtualDevice", fill(`<a type="VirtualDisk"></a>`)),
		"references": value("ArrayOfManagedObjectReference", fill(`<a type="b">c</a>`)),
		"missing":    around("<filterSet>" + fill("<missingSet></missingSet>") + "</filterSet>"),
		"a value":    value("ArrayOfPhysicalNic", fill("<PhysicalNic/>")),
	} {
		if _, ok := scanReply(b); ok {
			t.Errorf("%s are scanned", name)
		}
	}
	if _, ok := scanReply(value("ArrayOfVirtualDevice", strings.Repeat(`<VirtualDevice type="VirtualDisk"><key>2000</key></VirtualDevice>`, 1000))); !ok {
		t.Error("a thousand devices are not scanned")
	}
}

func TestNothingIsTakenInWithoutMemory(t *testing.T) {
	if err := crowded(); err != nil {
		t.Fatal(err)
	}
	held := make([]byte, maxHeap+1<<20) // which is never touched
	runtime.GC()
	if err := crowded(); err == nil || !strings.Contains(err.Error(), "choose clusters") {
		t.Errorf("crowded: %v", err)
	}
	runtime.KeepAlive(held)
	runtime.GC()
}

// Types that nobody knows, or that are too heavy, leave a hole.
func TestADeviceOfAnUnknownTypeIsLeftOut(t *testing.T) {
	if got := flatten([]types.BaseVirtualDevice{nil, &types.VirtualDisk{}}); len(got) != 1 {
		t.Errorf("devices %+v, want one", got)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(`<Envelope><Body><WaitForUpdatesExResponse><returnval><filterSet><missingSet><fault><fault xsi:type="ArrayOfInt"/></fault></missingSet></filterSet></returnval>`))
	f.Add([]byte(`<Envelope><Body><WaitForUpdatesExResponse><returnval><version>1</version></returnval></WaitForUpdatesExResponse></Body></Envelope>`))
	f.Add([]byte(`<a:Envelope><Body><WaitForUpdatesExResponse/></Body></Envelope>`))
	f.Add([]byte(`<Envelope><Body><WaitForUpdatesExResponse><returnval><filterSet><objectSet><changeSet><val type="string">&#x41;</val></changeSet></objectSet></filterSet></returnval>`))
	f.Fuzz(func(_ *testing.T, b []byte) { scanReply(b) }) // it must not panic
}
