package vcproxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/property"
	vsession "github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

func TestGovcListsAndPowersWithADummyPassword(t *testing.T) {
	s := newStand(t, nil)
	if out := s.must(t, "about"); !strings.Contains(out, "VMware vCenter Server") {
		t.Errorf("about says %q", out)
	}
	if out := s.must(t, "find", "/", "-type", "m"); !strings.Contains(out, "/DC0/vm/DC0_H0_VM0") {
		t.Errorf("find says %q", out)
	}
	if out := s.must(t, "vm.info", "DC0_H0_VM0"); !strings.Contains(out, "poweredOn") {
		t.Errorf("vm.info says %q", out)
	}
	s.must(t, "vm.power", "-off", "DC0_H0_VM0")
	if out := s.must(t, "vm.info", "DC0_H0_VM0"); !strings.Contains(out, "poweredOff") {
		t.Errorf("vm.info says %q", out)
	}
	s.must(t, "vm.power", "-on", "DC0_H0_VM0")
	s.must(t, "snapshot.create", "-vm", "DC0_H0_VM0", "first")
	s.must(t, "vm.clone", "-ds", "LocalDS_0", "-pool", "DC0_H0/Resources", "-vm", "DC0_H0_VM0", "-on=false", "copy")
	s.must(t, "vm.change", "-vm", "copy", "-c", "2") // the inventory does not know it yet
	s.must(t, "vm.destroy", "copy")
	audit := s.auditText(t)
	for _, want := range []string{`"method":"PowerOffVM_Task"`, `"client":"nova"`, `"result":"ok"`, `"method":"Login"`} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit has no %s:\n%s", want, audit)
		}
	}
	s.noSecret(t)
}

func TestSessionsKilledInVCenterAreNotSeen(t *testing.T) {
	s := newStand(t, nil)
	s.must(t, "vm.info", "DC0_H0_VM0") // leaves its session for the next
	vc := s.client(t)
	for range 3 {
		if n := s.kill(t); n == 0 {
			t.Fatal("there was no session to kill")
		}
		if out := s.must(t, "vm.info", "DC0_H0_VM0"); !strings.Contains(out, "poweredOn") {
			t.Errorf("vm.info says %q", out)
		}
		// Without a look at the answer this would be an empty inventory.
		var f mo.Folder
		if err := property.DefaultCollector(vc).RetrieveOne(t.Context(), vc.ServiceContent.RootFolder, []string{"childEntity"}, &f); err != nil || len(f.ChildEntity) == 0 {
			t.Errorf("the root folder has %v, %v", f.ChildEntity, err)
		}
		s.kill(t)
		if _, err := methods.GetCurrentTime(t.Context(), vc); err != nil {
			t.Error(err)
		}
	}
	s.noSecret(t)
}

func TestLostFiltersAreNotHidden(t *testing.T) {
	s := newStand(t, nil)
	vc := s.client(t)
	pc := vc.ServiceContent.PropertyCollector
	if _, err := methods.CreateFilter(t.Context(), vc, &types.CreateFilter{This: pc, Spec: types.PropertyFilterSpec{
		PropSet:   []types.PropertySpec{{Type: "Folder", PathSet: []string{"name"}}},
		ObjectSet: []types.ObjectSpec{{Obj: vc.ServiceContent.RootFolder}},
	}}); err != nil {
		t.Fatal(err)
	}
	s.kill(t)
	_, err := methods.GetCurrentTime(t.Context(), vc)
	if !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("the client is told %v, want that it must log in again", err)
	}
	if n := len(s.broker.Sessions()); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestLoginNeedsTheLocalSecret(t *testing.T) {
	s := newStand(t, nil)
	vc, err := s.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	m := vsession.NewManager(vc)
	for _, u := range []*url.Userinfo{url.UserPassword(localUser, "wrong"), url.UserPassword(realUser, realPassword), url.UserPassword(localUser, "")} {
		if err := m.Login(t.Context(), u); !fault.Is(err, &types.InvalidLogin{}) {
			t.Errorf("login as %s: %v, want InvalidLogin", u.Username(), err)
		}
	}
	if s.logins != 0 {
		t.Errorf("%d logins reached vCenter", s.logins)
	}
	if err := m.Login(t.Context(), url.UserPassword(localUser, localSecret)); err != nil {
		t.Fatal(err)
	}
	us, err := m.UserSession(t.Context())
	if err != nil || us == nil || us.UserName != localUser {
		t.Fatalf("the session is %v, %v", us, err)
	}
	active, err := methods.SessionIsActive(t.Context(), vc, &types.SessionIsActive{This: m.Reference(), SessionID: us.Key, UserName: us.UserName})
	if err != nil || !active.Returnval {
		t.Errorf("the session is active: %v, %v", active, err)
	}
	if strings.Contains(s.wire.String(), realUser) {
		t.Error("the real user's name is on the wire")
	}
}

func TestATunnelSaysWhoItIs(t *testing.T) {
	s := newStand(t, func(_ *stand, o *vcproxy.Options) { o.Limits.Sessions = 2 })
	vc := s.client(t)
	tunnel := httptest.NewUnstartedServer(s.broker)
	tunnel.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return vcproxy.WithClient(ctx, "du-acme") }
	tunnel.StartTLS()
	defer tunnel.Close()
	stolen := cookie(t, vc)
	u, err := url.Parse(tunnel.URL + "/sdk")
	if err != nil {
		t.Fatal(err)
	}
	far, err := vim25.NewClient(t.Context(), soap.NewClient(u, true))
	if err != nil {
		t.Fatal(err)
	}
	far.Jar.SetCookies(u, []*http.Cookie{{Name: "vmware_soap_session", Value: stolen}})
	if _, err := methods.GetCurrentTime(t.Context(), far); !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("another client's cookie is answered with %v", err)
	}
	if err := vsession.NewManager(far).Login(t.Context(), url.UserPassword("any", "any")); err != nil {
		t.Errorf("the tunnel's client: %v", err)
	}
	if !strings.Contains(s.auditText(t), `"client":"du-acme"`) {
		t.Errorf("the audit does not name the tunnel's client:\n%s", s.auditText(t))
	}
	// Both places are taken: the third session takes that of the same client.
	s.client(t)
	if _, err := methods.GetCurrentTime(t.Context(), vc); !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("the older session says %v", err)
	}
	if _, err := methods.GetCurrentTime(t.Context(), far); err != nil {
		t.Errorf("the other client's session says %v", err)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	s := newStand(t, nil)
	vc, err := s.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		err = vsession.NewManager(vc).Login(t.Context(), url.UserPassword(localUser, fmt.Sprint(i)))
	}
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the last of 20 guesses is answered with %v", err)
	}
	// Somebody else on the gateway, from the same address, may have guessed.
	if err := vsession.NewManager(vc).Login(t.Context(), url.UserPassword(localUser, localSecret)); err != nil {
		t.Errorf("the right password after the guesses: %v", err)
	}
}

func TestSessionsEndInVCenter(t *testing.T) {
	s := newStand(t, func(_ *stand, o *vcproxy.Options) { o.Limits.Idle = 100 * time.Millisecond })
	count := func() int { s.mu.Lock(); defer s.mu.Unlock(); return s.logouts }
	vc := s.client(t)
	if err := vsession.NewManager(vc).Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if count() != 1 {
		t.Errorf("after the client's logout there were %d in vCenter", count())
	}
	if _, err := methods.GetCurrentTime(t.Context(), vc); !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("after logout: %v", err)
	}
	s.client(t)
	eventually(t, "the idle session ends", func() bool { return count() == 2 })
	s.client(t)
	s.stop()
	if count() != 3 || s.logins != 3 {
		t.Errorf("%d logins and %d logouts in vCenter, want 3 each", s.logins, count())
	}
}

func TestOnlyWhatIsNeededIsForwarded(t *testing.T) {
	s := newStand(t, nil)
	vc := s.client(t)
	session := cookie(t, vc)
	from := len(s.tap.seen)
	status, _ := s.post(t, session, envelope(`<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>`), func(r *http.Request) {
		for name, value := range map[string]string{
			"Authorization": "Basic x", "X-Forwarded-For": "1.2.3.4", "vmware-api-session-id": "x", "opID": "op-7", "User-Agent": "tester",
			"Accept-Encoding": "gzip", "Referer": "x",
		} {
			r.Header.Set(name, value)
		}
	})
	if status != http.StatusOK || len(s.tap.seen) != from+1 {
		t.Fatalf("status %d, %d requests", status, len(s.tap.seen)-from)
	}
	got := s.tap.seen[from]
	if strings.Contains(got.header.Get("Cookie"), session) || got.header.Get("opID") != "op-7" || got.header.Get("User-Agent") != "tester" {
		t.Errorf("forwarded with %v", got.header)
	}
	for name := range got.header {
		switch name {
		case "Content-Type", "Soapaction", "User-Agent", "Opid", "Cookie":
		default:
			t.Errorf("the header %s was forwarded", name)
		}
	}
	if strings.Count(s.wire.String(), "Set-Cookie") != 1 {
		t.Error("there is another cookie than ours on the wire")
	}
	if !strings.Contains(s.auditText(t), `"op_id":"op-7"`) {
		t.Error("the audit has no opID")
	}
}

func TestRequestsInAnotherForm(t *testing.T) {
	s := newStand(t, nil)
	session := cookie(t, s.client(t))
	body := envelope(`<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>`)
	from := len(s.tap.seen)
	for name, change := range map[string]func(*http.Request){
		"compressed":                    func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
		"another type":                  func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"another character set":         func(r *http.Request) { r.Header.Set("Content-Type", "text/xml; charset=utf-16") },
		"two actions":                   func(r *http.Request) { r.Header["Soapaction"] = []string{"urn:vim25/8.0", "urn:internalvim25/8.0"} },
		"another action":                func(r *http.Request) { r.Header.Set("SOAPAction", "urn:internalvim25/8.0") },
		"two sessions":                  func(r *http.Request) { r.Header.Add("Cookie", "vmware_soap_session=x") },
		"query":                         func(r *http.Request) { r.Method = http.MethodGet },
		"object browser":                func(r *http.Request) { r.URL.Path = "/mob" },
		"other interfaces":              func(r *http.Request) { r.URL.Path = "/api/session" },
		"spelled otherwise":             func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/sdk", "/%73dk" },
		"with a way up":                 func(r *http.Request) { r.URL.Path = "/sdk/../mob" },
		"policies at the wrong address": func(r *http.Request) { r.URL.Path = "/pbm" },
		"too long": func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(body), strings.NewReader(strings.Repeat(" ", 17<<20)))), -1
		},
	} {
		t.Run(name, func(t *testing.T) {
			if status, answer := s.post(t, session, body, change); status < 400 {
				t.Errorf("answered with %d %s", status, answer)
			}
		})
	}
	if n := len(s.tap.seen) - from; n != 0 {
		t.Errorf("%d requests reached vCenter", n)
	}
	if status, answer := s.post(t, session, body, nil); status != http.StatusOK {
		t.Errorf("the plain request is answered with %d %s", status, answer)
	}
}

// Bytes on the wire that two readers could cut at different places.
func TestRequestsThatHideOthers(t *testing.T) {
	s := newStand(t, nil)
	session := cookie(t, s.client(t))
	body := envelope(`<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>`)
	hidden := envelope(`<PowerOffVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this></PowerOffVM_Task>`)
	head := "POST /sdk HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nConnection: close\r\nCookie: vmware_soap_session=" + session + "\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for name, text := range map[string]string{
		"a length and chunks": head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", len(chunked)+len(hidden)) + chunked + hidden,
		"two lengths":         head + fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n", len(body), len(body)+len(hidden)) + body + hidden,
		"an upgrade":          head + fmt.Sprintf("Upgrade: h2c\r\nContent-Length: %d\r\n\r\n", len(body)) + body,
		"chunks in capitals":  head + "Transfer-Encoding: xchunked\r\n\r\n" + chunked,
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", s.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn) // a refused request may end in a reset
			if strings.Count(string(answer), "HTTP/1.1 ") != 1 {
				t.Errorf("answered with %s", answer)
			}
		})
	}
	if n := s.tap.count("PowerOffVM_Task"); n != 0 {
		t.Errorf("%d hidden calls reached vCenter", n)
	}
}

func TestWaitsEnd(t *testing.T) {
	s := newStand(t, nil)
	vc := s.client(t)
	for name, test := range map[string]struct {
		options *types.WaitOptions
		want    string
	}{
		"without options": {nil, "<maxWaitSeconds>60</maxWaitSeconds>"},
		"without a time":  {&types.WaitOptions{MaxObjectUpdates: 5}, "<maxWaitSeconds>60</maxWaitSeconds><maxObjectUpdates>5</maxObjectUpdates>"},
		"too long":        {&types.WaitOptions{MaxWaitSeconds: types.NewInt32(86400)}, "<maxWaitSeconds>60</maxWaitSeconds>"},
		"negative":        {&types.WaitOptions{MaxWaitSeconds: types.NewInt32(-1)}, "<maxWaitSeconds>60</maxWaitSeconds>"},
		"short":           {&types.WaitOptions{MaxWaitSeconds: types.NewInt32(7)}, "<maxWaitSeconds>7</maxWaitSeconds>"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			before := s.tap.count(test.want)
			s.tap.hold = func(*http.Request) { cancel() }
			_, _ = methods.WaitForUpdatesEx(ctx, vc, &types.WaitForUpdatesEx{This: vc.ServiceContent.PropertyCollector, Options: test.options})
			if s.tap.count(test.want) != before+1 {
				t.Errorf("forwarded as %s", s.tap.seen[len(s.tap.seen)-1].body)
			}
		})
	}
}

func TestStoragePoliciesAreReadNotChanged(t *testing.T) {
	s := newStand(t, nil)
	c, err := pbm.NewClient(t.Context(), s.client(t))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := c.QueryProfile(t.Context(), pbmtypes.PbmProfileResourceType{ResourceType: "STORAGE"}, "")
	if err != nil || len(ids) == 0 {
		t.Fatalf("policies: %v, %v", ids, err)
	}
	if _, err := c.RetrieveContent(t.Context(), ids); err != nil {
		t.Error(err)
	}
	if _, err = c.DeleteProfile(t.Context(), ids); err == nil || !strings.Contains(err.Error(), "PbmDelete") {
		t.Errorf("the deletion of policies says %v", err)
	}
	if n := s.tap.count("PbmDelete"); n != 0 {
		t.Errorf("%d deletions reached vCenter", n)
	}
}

func TestCallsAtOnceAreBounded(t *testing.T) {
	s := newStand(t, func(_ *stand, o *vcproxy.Options) {
		o.Limits.Concurrent, o.Limits.Queue = 3, 50*time.Millisecond
	})
	vc := s.client(t)
	var inside, most atomic.Int32
	release := make(chan struct{})
	s.tap.hold = func(*http.Request) {
		n := inside.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		inside.Add(-1)
	}
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 8 {
		wg.Go(func() {
			if _, err := methods.GetCurrentTime(t.Context(), vc); err != nil {
				failed.Add(1)
			}
		})
	}
	eventually(t, "five calls are turned away", func() bool { return failed.Load() == 5 })
	close(release)
	wg.Wait()
	if most.Load() != 3 || failed.Load() != 5 {
		t.Errorf("%d calls were on their way at once and %d turned away, want 3 and 5", most.Load(), failed.Load())
	}
}

func TestSwitch(t *testing.T) {
	s := newStand(t, nil)
	inv := s.read(t)
	vc := s.client(t)
	machine := inv.ref(t, "VirtualMachine", "DC0_H0_VM0")
	arrived := make(chan struct{}, 8)
	s.tap.hold = func(r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}
	var wg sync.WaitGroup
	var writeErr, readErr error
	readCtx, endRead := context.WithCancel(t.Context())
	defer endRead()
	wg.Go(func() { _, writeErr = methods.PowerOffVM_Task(t.Context(), vc, &types.PowerOffVM_Task{This: machine}) })
	<-arrived
	var reader sync.WaitGroup
	reader.Go(func() { _, readErr = methods.GetCurrentTime(readCtx, vc) })
	<-arrived
	if err := s.broker.SetMode(t.Context(), vcproxy.ModeReadOnly, "console"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	refused(t, writeErr, "switched off")
	_, err := methods.PowerOffVM_Task(t.Context(), vc, &types.PowerOffVM_Task{This: machine})
	refused(t, err, "read-only")
	if err := s.broker.SetMode(t.Context(), vcproxy.ModeOff, "console"); err != nil {
		t.Fatal(err)
	}
	reader.Wait()
	refused(t, readErr, "switched off")
	s.tap.hold = nil
	if len(s.broker.Sessions()) != 0 || s.logouts != 1 {
		t.Errorf("%d sessions are left, %d logouts in vCenter", len(s.broker.Sessions()), s.logouts)
	}
	_, err = methods.GetCurrentTime(t.Context(), vc)
	refused(t, err, "switched off")
	refused(t, vsession.NewManager(vc).Login(t.Context(), url.UserPassword(localUser, localSecret)), "switched off")
	if again, err := vcproxy.OpenSwitch(filepath.Join(s.dir, "switch")); err != nil || again.Mode() != vcproxy.ModeOff {
		t.Errorf("after a restart the mode is %s, %v", again.Mode(), err)
	}
	if err := s.broker.SetMode(t.Context(), vcproxy.ModeOpen, "console"); err != nil {
		t.Fatal(err)
	}
	s.must(t, "vm.power", "-off", "DC0_H0_VM0")
	for _, want := range []string{`"result":"cut"`, `"method":"switch"`, `"client":"console"`} {
		if !strings.Contains(s.auditText(t), want) {
			t.Errorf("the audit has no %s", want)
		}
	}
}

func TestNoAuditNoChange(t *testing.T) {
	s := newStand(t, func(s *stand, o *vcproxy.Options) {
		o.AuditFile = "/dev/full"
	})
	inv := s.read(t)
	vc := s.client(t)
	_, err := methods.PowerOffVM_Task(t.Context(), vc, &types.PowerOffVM_Task{This: inv.ref(t, "VirtualMachine", "DC0_H0_VM0")})
	refused(t, err, "cannot write its audit")
	if _, err := methods.GetCurrentTime(t.Context(), vc); err != nil {
		t.Errorf("a read: %v", err)
	}
}

func TestNothingIsChangedByAStaleInventory(t *testing.T) {
	var stale atomic.Bool
	s := newStand(t, func(_ *stand, o *vcproxy.Options) {
		o.Stale = func() error {
			if stale.Load() {
				return errors.New("the inventory is stale")
			}
			return nil
		}
	})
	machine, vc := s.read(t).ref(t, "VirtualMachine", "DC0_H0_VM0"), s.client(t)
	off := func() error {
		_, err := methods.PowerOffVM_Task(t.Context(), vc, &types.PowerOffVM_Task{This: machine})
		return err
	}
	stale.Store(true)
	refused(t, off(), "the inventory is stale")
	if _, err := methods.GetCurrentTime(t.Context(), vc); err != nil {
		t.Errorf("what changes nothing: %v", err)
	}
	stale.Store(false)
	if err := off(); err != nil {
		t.Error(err)
	}
}
