package session

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

const (
	replyHead = `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns="urn:vim25"><soapenv:Body>`
	replyTail = `</soapenv:Body></soapenv:Envelope>`
	content   = replyHead + `<RetrieveServiceContentResponse><returnval><rootFolder type="Folder">g</rootFolder><propertyCollector type="PropertyCollector">p</propertyCollector>` +
		`<about><name>v</name><fullName>v</fullName><vendor>v</vendor><version>8</version><build>1</build><osType>l</osType><productLineId>vpx</productLineId><apiType>VirtualCenter</apiType><apiVersion>8.0.0.0</apiVersion></about>` +
		`<sessionManager type="SessionManager">s</sessionManager></returnval></RetrieveServiceContentResponse>` + replyTail
	welcome = replyHead + `<LoginResponse><returnval><key>k</key><userName>u</userName><fullName>f</fullName><loginTime>2026-01-01T00:00:00Z</loginTime>` +
		`<lastActiveTime>2026-01-01T00:00:00Z</lastActiveTime><locale>en</locale><messageLocale>en</messageLocale></returnval></LoginResponse>` + replyTail
)

// properties is a reply with one property of that type.
func properties(typ, inner string) string {
	return replyHead + `<RetrievePropertiesExResponse><returnval><objects><obj type="SessionManager">s</obj><propSet><name>sessionList</name><val xsi:type="` + typ + `">` +
		inner + `</val></propSet></objects></returnval></RetrievePropertiesExResponse>` + replyTail
}

// fill repeats a text up to a size.
func fill(text string, size int) string { return strings.Repeat(text, size/len(text)) }

// peak runs f with the collector as in the daemon, and returns by how much the heap
// grew meanwhile.
func peak(f func()) (bytes uint64) {
	defer debug.SetGCPercent(debug.SetGCPercent(40))
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, done := m.HeapAlloc, make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for most := before; ; most = max(most, m.HeapAlloc) {
		select {
		case <-done:
			return most - before
		case <-time.After(time.Millisecond):
			runtime.ReadMemStats(&m)
		}
	}
}

// The gateway has 512 MiB, for other vCenters too.
func TestAReplyDoesNotFillTheMemory(t *testing.T) {
	for name, test := range map[string]struct{ reply string }{
		"too large":             {properties("ArrayOfString", fill("<string/>", 2*maxReply))},
		"heavy type":            {properties("ArrayOfAnyType", fill(`<anyType xsi:type="VirtualMachineConfigInfo"/>`, maxReply-2000))},
		"heavy type inside":     {properties("HostConnectInfo", fill("<vm/>", maxReply-2000))},
		"heaviest that is read": {properties("ArrayOfPhysicalNic", fill("<PhysicalNic/>", maxReply-2000))},
		"many objects":          {replyHead + "<RetrievePropertiesExResponse><returnval>" + fill("<objects/>", maxReply-2000) + "</returnval></RetrievePropertiesExResponse>" + replyTail},
	} {
		t.Run(name, func(t *testing.T) {
			vc := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Header().Set("Content-Type", "text/xml")
				switch {
				case strings.Contains(string(b), "<Login "):
					http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: "x", Path: "/"})
					_, _ = io.WriteString(w, welcome)
				case strings.Contains(string(b), "<RetrievePropertiesEx"):
					_, _ = io.WriteString(w, test.reply)
				default:
					_, _ = io.WriteString(w, content)
				}
			}))
			defer vc.Close()
			s := connect(t, Options{URL: vc.URL, Pin: Fingerprint(vc.Certificate()), Account: right, Owner: "gateway-1", Name: "east"})
			grew := peak(func() {
				if _, err := s.Client(t.Context()); err != nil {
					t.Error(err) // who else has sessions there is no reason to do without
				}
			})
			t.Logf("the heap grew by %d MiB", grew>>20)
			if grew > 200<<20 {
				t.Errorf("the heap grew by %d MiB", grew>>20)
			}
		})
	}
}

func TestAReplyOfTheWrongTypeIsAnError(t *testing.T) {
	vc := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, replyHead+`<soapenv:Fault><faultcode>x</faultcode><faultstring>x</faultstring><detail><NotAuthenticatedFault xsi:type="NotAuthenticated">`+
			`<faultCause><fault xsi:type="ArrayOfInt"/></faultCause></NotAuthenticatedFault></detail></soapenv:Fault>`+replyTail)
	}))
	defer vc.Close()
	s := connect(t, Options{URL: vc.URL, Pin: Fingerprint(vc.Certificate()), Account: right})
	if _, err := s.Client(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be decoded") {
		t.Errorf("Client: %v", err)
	}
}

func TestALongFaultIsCut(t *testing.T) {
	vc := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(b), "<Login ") {
			_, _ = io.WriteString(w, content)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, replyHead+`<soapenv:Fault><faultcode>x</faultcode><faultstring>`+strings.Repeat("x", 1<<20)+`</faultstring>`+
			`<detail><InvalidLoginFault xsi:type="InvalidLogin"/></detail></soapenv:Fault>`+replyTail)
	}))
	defer vc.Close()
	s := connect(t, Options{URL: vc.URL, Pin: Fingerprint(vc.Certificate()), Account: right})
	if _, err := s.Client(t.Context()); !errors.Is(err, ErrRefused) || len(err.Error()) > 5000 {
		t.Errorf("Client: %d bytes, %.200v", len(err.Error()), err)
	}
}

func TestWhatIsRewrittenMayBeLargerBefore(t *testing.T) {
	v := start(t)
	s := connect(t, pinned(v))
	for name, test := range map[string]struct {
		size, left int
		want       string
	}{
		"large":               {2 * maxReply, 10, ""},
		"too large":           {maxRewritten + 1, 10, "larger than 16 MiB"},
		"large still, though": {2 * maxReply, 2 * maxReply, "larger than 3 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", test.size)) }))
			defer far.Close()
			ctx := Rewriting(t.Context(), func(b []byte) []byte { return b[:test.left] })
			n, err := read(ctx, replyLimit{s.transport}, far.URL)
			if test.want == "" && (err != nil || n != test.left) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("read %d bytes, %v; want %q", n, err, test.want)
			}
		})
	}
}

func read(ctx context.Context, transport http.RoundTripper, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return len(b), err
}
