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
	"github.com/vmware/govmomi/vim25"
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
	sum := sha1.Sum(s.server.Certificate().Raw)
	if want := "<sslThumbprint>" + strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":") + "</sslThumbprint>"; !strings.Contains(s.wire.String(), want) {
		t.Errorf("the client was not told %s", want)
	}
	s.noSecret(t)
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

// hostStand is a stand with three hosts of the inventory, all of which are one:
// known by its SHA-256, known by its SHA-1, and taken for another.
type hostStand struct {
	*stand
	esx   *esx
	known hosts
	vc    *vim25.Client
}

const file = "/folder/a%20b/x.iso?dcPath=ha-datacenter&dsName=LocalDS_0"

func newHostStand(t *testing.T) *hostStand {
	h := &hostStand{esx: newESX(t), known: make(hosts)}
	h.stand = newStand(t, func(s *stand, o *vcproxy.Options) {
		raw := h.esx.server.Certificate().Raw
		long, brief := sha256.Sum256(raw), sha1.Sum(raw)
		for name, pin := range map[string]string{
			"esx1.example": fmt.Sprintf("%x", long),
			"esx2.example": strings.ReplaceAll(fmt.Sprintf("% X", brief), " ", ":"),
			"esx3.example": strings.Repeat("00", 32),
		} {
			h.known[name] = vcproxy.Host{Ref: s.read(t).ref(t, "HostSystem", "DC0_H0"), Address: h.esx.server.Listener.Addr().String(), Thumbprint: pin}
		}
		o.Hosts, o.HostTickets = h.known, true
	})
	h.vc = h.client(t)
	return h
}

func (h *hostStand) ticket(t *testing.T, address string) (string, error) {
	t.Helper()
	got, err := methods.AcquireGenericServiceTicket(t.Context(), h.vc, &types.AcquireGenericServiceTicket{
		This: *h.vc.ServiceContent.SessionManager,
		Spec: &types.SessionManagerHttpServiceRequestSpec{Method: string(types.SessionManagerHttpServiceRequestSpecMethodHttpPut), Url: address},
	})
	if err != nil {
		return "", err
	}
	return got.Returnval.Id, nil
}

// send sends some content and returns the status.
func (h *hostStand) send(t *testing.T, method, target, id string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.server.URL+target, strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		req.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: id, Quoted: true})
	}
	resp, err := h.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestFilesGoToHostsWithTheirCertificates(t *testing.T) {
	h := newHostStand(t)
	for _, name := range []string{"esx1.example", "esx2.example"} {
		id, err := h.ticket(t, "https://"+name+file)
		if err != nil {
			t.Fatal(err)
		}
		clear(h.esx.got)
		if status := h.send(t, http.MethodPut, file, id); status != http.StatusCreated || h.esx.got[file] != "content" || h.esx.ticket != id {
			t.Errorf("%s: status %d, the host has %v by ticket %q", name, status, h.esx.got, h.esx.ticket)
		}
	}
	id, err := h.ticket(t, "https://esx3.example"+file)
	if err != nil {
		t.Fatal(err)
	}
	clear(h.esx.got)
	if status := h.send(t, http.MethodPut, file, id); status != http.StatusBadGateway || len(h.esx.got) != 0 {
		t.Errorf("to a host with another certificate: status %d, it has %v", status, h.esx.got)
	}
}

func TestATicketIsForOneFileInOneWay(t *testing.T) {
	h := newHostStand(t)
	id, err := h.ticket(t, "https://esx1.example"+file)
	if err != nil {
		t.Fatal(err)
	}
	for what, other := range map[string][3]string{
		"another file":          {http.MethodPut, strings.Replace(file, "x.iso", "y.iso", 1), id},
		"another datastore":     {http.MethodPut, strings.Replace(file, "LocalDS_0", "LocalDS_1", 1), id},
		"another way":           {http.MethodGet, file, id},
		"a deletion":            {http.MethodDelete, file, id},
		"a ticket that is none": {http.MethodPut, file, "made-up"},
		"no ticket":             {http.MethodPut, file, ""},
		"a lease that is none":  {http.MethodPut, "/nfc/made-up/disk.vmdk", ""},
	} {
		if status := h.send(t, other[0], other[1], other[2]); status != http.StatusForbidden {
			t.Errorf("%s: status %d", what, status)
		}
	}
	for _, address := range []string{
		"https://evil.example" + file, "https://user:pw@esx1.example" + file, "http://esx1.example" + file, "https://esx1.example/sdk",
		"https://esx1.example/folder/../etc/x?dsName=LocalDS_0", "https://esx1.example/folder/x?dsName=nowhere",
		"https://esx1.example/folder/x?dsName=LocalDS_0&dsName=LocalDS_1",
	} {
		_, err := h.ticket(t, address)
		refused(t, err, "AcquireGenericServiceTicket")
	}
}

func TestLeaveEndsWithTheHostAndTheSession(t *testing.T) {
	h := newHostStand(t)
	first, err := h.ticket(t, "https://esx1.example"+file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.ticket(t, "https://esx2.example"+file)
	if err != nil {
		t.Fatal(err)
	}
	delete(h.known, "esx1.example")
	if status := h.send(t, http.MethodPut, file, first); status != http.StatusForbidden {
		t.Errorf("to a host that left the inventory: status %d", status)
	}
	if err := vsession.NewManager(h.vc).Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := h.send(t, http.MethodPut, file, second); status != http.StatusForbidden {
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
