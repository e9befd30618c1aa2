package vcproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAuditIsBoundedAndSumsUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var told []Record
	a, err := OpenAudit(path, func(r Record) { told = append(told, r) })
	if err != nil {
		t.Fatal(err)
	}
	a.maxSize = 10_000
	for i := range 1000 {
		a.add(Record{Client: "du", Method: "RetrievePropertiesEx", Class: string(classRead), Object: fmt.Sprint(i), Result: resultOK, Took: time.Millisecond})
		a.add(Record{Client: "du", Method: "Destroy_Task", Class: string(classWrite), Object: "VirtualMachine:vm-1", Result: resultRefused, Detail: "no"})
	}
	if len(told) != 2 {
		t.Errorf("%d records of 2000 equal ones were written at once", len(told))
	}
	for i := range 2000 {
		a.add(Record{Client: "du", Method: "PowerOnVM_Task", Class: string(classWrite), Object: fmt.Sprintf("VirtualMachine:vm-%d", i), Result: resultOK})
	}
	if len(told) != 2002 {
		t.Errorf("%d records were told, want each change", len(told))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != auditFiles {
		t.Fatalf("there are %v, %v", files, err)
	}
	var newest Record
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 10_000 {
			t.Errorf("%s has %d bytes", file, len(text))
		}
		for line := range strings.Lines(string(text)) {
			if err := json.Unmarshal([]byte(line), &newest); err != nil {
				t.Errorf("%s: %v in %q", file, err, line)
			}
		}
	}
	if n := len(told); told[n-1].Count+told[n-2].Count != 1998 {
		t.Errorf("the sums are %+v", told[n-2:])
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

// Whoever asks for what is not, or is refused, or reads files without end.
func TestAuditIsNotFlooded(t *testing.T) {
	for name, one := range map[string]Record{
		"refusals":        {Method: "HTTP GET", Result: resultRefused, Detail: "no"},
		"missing files":   {Client: "du", Method: "file HEAD", Class: classTransfer, Result: resultFault, Detail: "the far side answers 404"},
		"files":           {Client: "du", Method: "file GET", Class: classTransfer, Result: resultOK, Bytes: 1},
		"broken files":    {Client: "du", Method: "file GET", Class: classTransfer, Result: resultError, Detail: "broken"},
		"refused uploads": {Client: "du", Method: "file PUT", Class: classTransfer, Result: resultFault, Detail: "the far side answers 403"},
		"faults of reads": {Client: "du", Method: "RetrievePropertiesEx", Class: string(classRead), Result: resultFault},
		"faulty changes":  {Client: "du", Method: "PowerOnVM_Task", Class: string(classWrite), Result: resultFault},
		"busy":            {Method: "unreadable", Result: resultError, Detail: "the gateway has too many calls"},
		"own session":     {Client: "du", Method: "SessionIsActive", Class: string(classLocal), Result: resultOK},
	} {
		t.Run(name, func(t *testing.T) {
			var told []Record
			a, err := OpenAudit(filepath.Join(t.TempDir(), "audit.log"), func(r Record) { told = append(told, r) })
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10_000 {
				one.Object = fmt.Sprint("/", i)
				a.add(one)
			}
			if len(told) > apartMax+1 {
				t.Errorf("%d were written one by one", len(told))
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			if len(told) > apartMax+2 {
				t.Errorf("%d records were written in all", len(told))
			}
			count, bytes := 0, int64(0)
			for _, r := range told {
				count, bytes = count+max(r.Count, 1), bytes+r.Bytes
			}
			if count != 10_000 || bytes != 10_000*one.Bytes {
				t.Errorf("the records are of %d calls and %d bytes", count, bytes)
			}
		})
	}
}

func TestWhatMayHaveBeenDoneIsWritten(t *testing.T) {
	told := 0
	a, err := OpenAudit(filepath.Join(t.TempDir(), "audit.log"), func(Record) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	all := []Record{
		{Method: "PowerOnVM_Task", Class: string(classWrite), Result: resultOK},
		{Method: "PowerOnVM_Task", Class: string(classWrite), Result: resultError},
		{Method: "PowerOnVM_Task", Class: string(classWrite), Result: resultCut},
		{Method: "HttpNfcLeaseAbort", Class: string(classOwn), Result: resultOK},
		{Method: "file PUT", Class: classTransfer, Result: resultOK},
		{Method: "file POST", Class: classTransfer, Result: resultError},
		{Method: "Login", Class: string(classLocal), Result: resultOK},
		{Method: "Logout", Class: string(classLocal), Result: resultOK},
		{Method: "switch", Object: "off", Result: resultOK},
	}
	for range 2 {
		for _, r := range all {
			a.add(r)
		}
	}
	if told != 2*len(all) {
		t.Errorf("%d records were told, want %d", told, 2*len(all))
	}
}

func TestSwitchThatCannotBeReadIsOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "switch")
	if s, err := OpenSwitch(path); err != nil || s.Mode() != ModeOpen {
		t.Errorf("without a file the mode is %s, %v", s.Mode(), err)
	}
	for _, text := range []string{"", "opne", "open\nopen"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenSwitch(path); err == nil || s.Mode() != ModeOff {
			t.Errorf("%q means %s, %v", text, s.Mode(), err)
		}
	}
	if s, err := OpenSwitch(dir); err == nil || s.Mode() != ModeOff {
		t.Errorf("what cannot be read means %s, %v", s.Mode(), err)
	}
}

func TestSwitchThatCannotBeWritten(t *testing.T) {
	s, err := OpenSwitch(filepath.Join(t.TempDir(), "missing", "switch"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave, err := s.pass(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if err := s.set(ModeOff); err == nil || s.Mode() != ModeOff || context.Cause(ctx) != errSwitched {
		t.Errorf("less control: %s, %v, the call's context says %v", s.Mode(), err, context.Cause(ctx))
	}
	if err := s.set(ModeOpen); err == nil || s.Mode() != ModeOff {
		t.Errorf("more control: %s, %v", s.Mode(), err)
	}
}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(10, 5)
		for range 5 {
			if d := b.take(); d != 0 {
				t.Fatalf("a full bucket says wait %s", d)
			}
		}
		if d := b.take(); d != 100*time.Millisecond {
			t.Errorf("the sixth waits %s, want 100ms", d)
		}
		time.Sleep(10 * time.Second)
		for i := range 6 {
			if d := b.take(); (d > 0) != (i == 5) {
				t.Errorf("after a rest token %d waits %s", i, d)
			}
		}
	})
}

func TestAnswersOfADeadSession(t *testing.T) {
	object := func(inner string) string {
		return replyHead + `<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval><objects><obj type="Folder">f</obj>` + inner
	}
	missing := func(fault string) string {
		return `<missingSet><path>name</path><fault><fault xsi:type="` + fault + `"></fault><localizedMessage/></fault></missingSet>`
	}
	for name, test := range map[string]struct {
		text string
		dead bool
	}{
		"all missing":            {object(missing("NotAuthenticated")), true},
		"cut in the middle":      {object(missing("NotAuthenticated") + "<missin"), true},
		"something is there":     {object(`<propSet><name>n</name><val>x</val></propSet>` + missing("NotAuthenticated")), false},
		"not allowed":            {object(missing("NoPermission")), false},
		"empty":                  {replyHead + `<RetrievePropertiesExResponse xmlns="urn:vim25"></RetrievePropertiesExResponse>`, false},
		"a name that looks like": {object(`<propSet><name>n</name><val>NotAuthenticated</val></propSet>`), false},
	} {
		if got := allMissing([]byte(test.text)); got != test.dead {
			t.Errorf("%s: dead is %v", name, got)
		}
	}
	fault := replyHead + `<soapenv:Fault><faultcode>f</faultcode><faultstring>NoPermission</faultstring><detail><NotAuthenticatedFault xmlns="urn:vim25" xsi:type="NotAuthenticated"/></detail></soapenv:Fault>` + replyTail
	if got := faultName([]byte(fault)); got != "NotAuthenticated" {
		t.Errorf("the fault is %q", got)
	}
}

func TestLeaseAddressesAreTheBrokers(t *testing.T) {
	const rest = `<disk>true</disk><targetId>d.vmdk</targetId></deviceUrl>`
	for name, test := range map[string]struct{ from, want string }{
		"a host's":           {`<url>https://esx1/nfc/a/d.vmdk</url><sslThumbprint>AB:CD</sslThumbprint>`, `<url>https://*/nfc/a/d.vmdk</url><sslThumbprint>01:02</sslThumbprint>`},
		"with a certificate": {`<url>https://esx1/nfc/a/d.vmdk</url><sslThumbprint/><sslCertificate>PEM</sslCertificate>`, `<url>https://*/nfc/a/d.vmdk</url><sslThumbprint>01:02</sslThumbprint>`},
		"somebody else's":    {`<url>https://evil/nfc/a/d.vmdk</url><sslThumbprint>AB:CD</sslThumbprint>`, `<url>https://evil/nfc/a/d.vmdk</url><sslThumbprint>AB:CD</sslThumbprint>`},
	} {
		got := leaseURLs([]byte("<deviceUrl><key>k</key>"+test.from+rest), "01:02", func(host, _ string) bool { return host == "esx1" })
		if want := "<deviceUrl><key>k</key>" + test.want + rest; string(got) != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What vCenter or a host answers may be anything.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`<val type="Folder"/>x`))
	f.Add([]byte(replyHead + `<XResponse xmlns="urn:vim25"><returnval type="Task">task-1</returnval></XResponse>` + replyTail))
	f.Add([]byte(replyHead + `<X><returnval><deviceUrl><key>k</key><url>https://h:443/nfc/a&amp;b/d.vmdk</url><sslThumbprint>x</sslThumbprint></deviceUrl></returnval></X>`))
	f.Add([]byte(replyHead + `<soapenv:Fault><faultcode/><detail><A xsi:type="NotAuthenticated"/></detail></soapenv:Fault>` + replyTail))
	f.Fuzz(func(t *testing.T, answer []byte) {
		faultName(answer)
		allMissing(answer)
		contentRef(answer, "propertyCollector")
		referred(answer)
		ref := returned(answer)
		id, inner := ticket(answer)
		if c, err := parseCall([]byte(envelope(`<CancelTask xmlns="urn:vim25"><_this type="` + escaped(ref.Type) + `">` + escaped(ref.Value) + `</_this></CancelTask>`))); err == nil && c.root.children[0].text != ref.Value {
			t.Errorf("%q is written so that it reads %q", ref.Value, c.root.children[0].text)
		}
		if (id == "") != (inner == "") && inner != "" && !strings.Contains(inner, "ticketType") {
			t.Errorf("the ticket %q is told as %q", id, inner)
		}
		leaseURLs(answer, "AB", func(host, _ string) bool {
			if host == "" {
				t.Error("a file is on no host")
			}
			return true
		})
	})
}
