package vcproxy_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	vsession "github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

func TestGovcSendsAndFetchesFiles(t *testing.T) {
	s, _ := partStand(t)
	local := filepath.Join(s.dir, "image.iso")
	content := strings.Repeat("an image ", 100_000)
	if err := os.WriteFile(local, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must(t, "datastore.upload", "-ds", "LocalDS_0", local, "images/image.iso")
	back := filepath.Join(s.dir, "back.iso")
	s.must(t, "datastore.download", "-ds", "LocalDS_0", "images/image.iso", back)
	if got, err := os.ReadFile(back); err != nil || string(got) != content {
		t.Errorf("the file came back with %d bytes, %v", len(got), err)
	}
	if out, err := s.govc(t, "datastore.upload", "-ds", "LocalDS_1", local, "images/image.iso"); err == nil || !strings.Contains(out, "403 Forbidden") {
		t.Errorf("an upload elsewhere says %q", out)
	}
	if !strings.Contains(s.auditText(t), `"method":"file PUT"`) {
		t.Errorf("the audit has no transfer:\n%s", s.auditText(t))
	}
	s.noSecret(t)
}

const ovf = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
<References><File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="SIZE"/></References>
<DiskSection><Info>d</Info><Disk ovf:capacity="1" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
<VirtualSystem ovf:id="imported"><Info>v</Info><Name>imported</Name>
<VirtualHardwareSection><Info>h</Info>
<System><vssd:ElementName>v</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
<Item><rasd:ElementName>cpu</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>memory</rasd:ElementName><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>64</rasd:VirtualQuantity></Item>
<Item><rasd:Address>0</rasd:Address><rasd:ElementName>scsi</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk</rasd:ElementName><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>`

func TestGovcImportsThroughALease(t *testing.T) {
	s, _ := partStand(t)
	disk := strings.Repeat("disk", 50_000)
	for name, text := range map[string]string{"a.ovf": strings.Replace(ovf, "SIZE", fmt.Sprint(len(disk)), 1), "disk.vmdk": disk} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.must(t, "import.ovf", "-ds", "LocalDS_0", "-pool", "DC0_C0/Resources", filepath.Join(s.dir, "a.ovf"))
	audit := s.auditText(t)
	for _, want := range []string{`"method":"ImportVApp"`, `"method":"HttpNfcLeaseComplete"`, `"object":"/nfc/`} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit has no %s:\n%s", want, audit)
		}
	}
	if n := len(s.tap.seen); n == 0 || strings.Contains(s.wire.String(), s.vc.URL.Host+"/nfc/") {
		t.Error("the client was told to go around the broker")
	}
}

// esx is a host that files can be sent to.
type esx struct {
	server *httptest.Server
	got    map[string]string // by path and query
	ticket string
}

func newESX(t *testing.T) *esx {
	e := &esx{got: make(map[string]string)}
	e.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if c, err := r.Cookie("vmware_cgi_ticket"); err == nil {
			e.ticket = c.Value
		}
		if len(r.Cookies()) != 1 || r.Header.Get("Authorization") != "" {
			http.Error(w, "there is more than a ticket", http.StatusForbidden)
			return
		}
		e.got[r.URL.RequestURI()] = string(body)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(e.server.Close)
	return e
}

type hosts map[string]vcproxy.Host

func (h hosts) Host(name string) (vcproxy.Host, bool) {
	one, ok := h[name]
	return one, ok
}

func TestFilesGoToHostsOfTheInventoryOnly(t *testing.T) {
	e := newESX(t)
	known := make(hosts)
	s := newStand(t, func(s *stand, o *vcproxy.Options) {
		inv := s.read(t)
		raw := e.server.Certificate().Raw
		long, brief := sha256.Sum256(raw), sha1.Sum(raw)
		host := vcproxy.Host{Ref: inv.ref(t, "HostSystem", "DC0_H0"), Address: e.server.Listener.Addr().String(), Thumbprint: fmt.Sprintf("%x", long)}
		known["esx1.example"] = host
		host.Thumbprint = strings.ToUpper(fmt.Sprintf("% X", brief))
		host.Thumbprint = strings.ReplaceAll(host.Thumbprint, " ", ":")
		known["esx2.example"] = host
		host.Thumbprint = strings.Repeat("00", 32)
		known["esx3.example"] = host
		o.Hosts = known
	})
	vc := s.client(t)
	ticket := func(address string) (string, error) {
		got, err := methods.AcquireGenericServiceTicket(t.Context(), vc, &types.AcquireGenericServiceTicket{
			This: *vc.ServiceContent.SessionManager,
			Spec: &types.SessionManagerHttpServiceRequestSpec{Method: string(types.SessionManagerHttpServiceRequestSpecMethodHttpPut), Url: address},
		})
		if err != nil {
			return "", err
		}
		return got.Returnval.Id, nil
	}
	put := func(method, target, id string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.server.URL+target, strings.NewReader("content"))
		if err != nil {
			t.Fatal(err)
		}
		if id != "" {
			req.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: id, Quoted: true})
		}
		resp, err := s.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	const file = "/folder/a%20b/x.vmdk?dcPath=ha-datacenter&dsName=LocalDS_0"
	for _, name := range []string{"esx1.example", "esx2.example"} {
		id, err := ticket("https://" + name + file)
		if err != nil {
			t.Fatal(err)
		}
		clear(e.got)
		if status, text := put(http.MethodPut, file, id); status != http.StatusCreated || e.got[file] != "content" || e.ticket != id {
			t.Errorf("%s: status %d %s, the host has %v by ticket %q", name, status, text, e.got, e.ticket)
		}
		for what, other := range map[string][2]string{
			"another file":      {http.MethodPut, strings.Replace(file, "x.vmdk", "y.vmdk", 1)},
			"another datastore": {http.MethodPut, strings.Replace(file, "LocalDS_0", "LocalDS_1", 1)},
			"another way":       {http.MethodGet, file},
			"a deletion":        {http.MethodDelete, file},
		} {
			if status, _ := put(other[0], other[1], id); status != http.StatusForbidden {
				t.Errorf("%s with the same ticket: status %d", what, status)
			}
		}
	}
	id, err := ticket("https://esx3.example" + file)
	if err != nil {
		t.Fatal(err)
	}
	clear(e.got)
	if status, _ := put(http.MethodPut, file, id); status != http.StatusBadGateway || len(e.got) != 0 {
		t.Errorf("to a host with another certificate: status %d, it has %v", status, e.got)
	}
	for _, address := range []string{
		"https://evil.example" + file, "https://user:pw@esx1.example" + file, "http://esx1.example" + file, "https://esx1.example/sdk",
		"https://esx1.example/folder/../etc/x?dsName=LocalDS_0", "https://esx1.example/folder/x?dsName=nowhere", "https://esx1.example/folder/x?dsName=LocalDS_0&dsName=LocalDS_1",
	} {
		_, err := ticket(address)
		refused(t, err, "AcquireGenericServiceTicket")
	}
	if status, _ := put(http.MethodPut, file, "made-up"); status != http.StatusForbidden {
		t.Errorf("with a ticket that nobody gave: status %d", status)
	}
	if status, _ := put(http.MethodPut, "/nfc/made-up/disk.vmdk", ""); status != http.StatusForbidden {
		t.Errorf("with a lease that nobody gave: status %d", status)
	}
	id, err = ticket("https://esx1.example" + file)
	if err != nil {
		t.Fatal(err)
	}
	delete(known, "esx1.example")
	if status, _ := put(http.MethodPut, file, id); status != http.StatusForbidden {
		t.Errorf("to a host that left the inventory: status %d", status)
	}
	if err := vsession.NewManager(vc).Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, _ := put(http.MethodPut, file, id); status != http.StatusForbidden {
		t.Errorf("after the session ended: status %d", status)
	}
}

func TestTheSwitchCutsUploads(t *testing.T) {
	s := newStand(t, nil)
	session := cookie(t, s.client(t))
	began := make(chan struct{})
	s.tap.stream = func() { close(began) }
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.server.URL+"/folder/slow.iso?dsName=LocalDS_0&dcPath=DC0", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "vmware_soap_session="+session)
	var wg sync.WaitGroup
	wg.Go(func() {
		resp, err := s.server.Client().Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("the upload ended with status %d", resp.StatusCode)
			}
		}
	})
	if _, err := io.WriteString(feed, "the first part"); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := s.broker.SetMode(t.Context(), vcproxy.ModeReadOnly, "console"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	_ = feed.Close()
	eventually(t, "the audit has the cut", func() bool {
		return strings.Contains(s.auditText(t), `"class":"transfer","object":"/folder/slow.iso?dcPath=DC0\u0026dsName=LocalDS_0","result":"cut"`)
	})
}
