package vcproxy_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	vsession "github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// anybody lets all clients in by their names.
func anybody(o *vcproxy.Options) {
	o.Authenticate = func(_ *http.Request, user, _ string) (vcproxy.Client, error) { return vcproxy.Client(user), nil }
}

// login logs a client in.
func (s *stand) login(t *testing.T, user string) (*vim25.Client, error) {
	t.Helper()
	vc, err := s.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	return vc, vsession.NewManager(vc).Login(t.Context(), url.UserPassword(user, "x"))
}

func TestOneClientDoesNotTakeAllSessions(t *testing.T) {
	s := newStand(t, func(_ *stand, o *vcproxy.Options) { anybody(o) })
	for range 8 {
		if _, err := s.login(t, "deployment unit"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := s.login(t, "nova"); err != nil {
			t.Errorf("another client: %v", err)
		}
	}
	count := make(map[vcproxy.Client]int)
	for _, one := range s.broker.Sessions() {
		count[one.Client]++
	}
	if count["deployment unit"] != 6 || count["nova"] != 2 {
		t.Errorf("sessions %v, want 6 and 2 of 8", count)
	}
}

// A client whose calls hang, because vCenter does or because it reads no answer,
// leaves the others places and memory.
func TestOneClientDoesNotTakeAllPlaces(t *testing.T) {
	const call = `<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>`
	for name, change := range map[string]func(*vcproxy.Limits){
		"calls":  func(l *vcproxy.Limits) { l.Concurrent = 4 },
		"memory": func(l *vcproxy.Limits) { l.Memory = 4 * int64(4*len(envelope(call))+256*5) }, // for five elements
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, func(_ *stand, o *vcproxy.Options) {
				anybody(o)
				o.Limits.Queue = 50 * time.Millisecond
				change(&o.Limits)
			})
			unit, err := s.login(t, "deployment unit")
			if err != nil {
				t.Fatal(err)
			}
			nova, err := s.login(t, "nova")
			if err != nil {
				t.Fatal(err)
			}
			arrived, release := make(chan struct{}), make(chan struct{})
			s.tap.hold = func(*http.Request) { arrived <- struct{}{}; <-release }
			status := make(chan int, 4)
			go func() {
				for range 4 {
					<-arrived
				}
			}()
			ask := func(vc *vim25.Client) {
				code, _ := s.post(t, cookie(t, vc), envelope(call), nil)
				status <- code
			}
			for range 4 {
				go ask(unit)
			}
			if got := <-status; got != http.StatusServiceUnavailable {
				t.Errorf("the fourth call of one client is answered with %d", got)
			}
			go ask(nova)
			eventually(t, "nova's call is at vCenter", func() bool { return s.tap.count("<CurrentTime") == 4 })
			close(release)
			for range 4 {
				if got := <-status; got != http.StatusOK {
					t.Errorf("a call is answered with %d", got)
				}
			}
		})
	}
}

// Each is a login in vCenter.
func TestLoginsArePaced(t *testing.T) {
	s := newStand(t, nil)
	var err error
	n := 0
	for ; n < 40 && err == nil; n++ {
		var vc *vim25.Client
		if vc, err = s.connect(t); err != nil {
			t.Fatal(err)
		}
		err = vsession.NewManager(vc).Login(t.Context(), url.UserPassword(localUser, localSecret))
	}
	if err == nil || !strings.Contains(err.Error(), "503") || s.logins > 35 {
		t.Errorf("the login %d of one client is answered with %v", n, err)
	}
}

func TestFilesArePaced(t *testing.T) {
	s := newStand(t, func(_ *stand, o *vcproxy.Options) { o.Limits.Reads, o.Limits.Queue = 1, 50*time.Millisecond })
	session := cookie(t, s.client(t))
	var last int
	for range 4 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.server.URL+"/folder/none?dcPath=DC0&dsName=LocalDS_0", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", "vmware_soap_session="+session)
		resp, err := s.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		last = resp.StatusCode
	}
	if last != http.StatusServiceUnavailable {
		t.Errorf("the fourth file in a second, of one, is answered with %d", last)
	}
}

func TestLargeCallsAreRefused(t *testing.T) {
	s := newStand(t, nil)
	vc := s.client(t)
	for says, body := range map[string]string{
		"more than 2097152 bytes":  strings.Repeat(" ", 2<<20+1),
		"more than 50000 elements": envelope(strings.Repeat("<a/>", 50_001)),
		"more than 16 attributes":  envelope("<a" + strings.Repeat(` b=""`, 17) + "/>"),
	} {
		if status, answer := s.post(t, cookie(t, vc), body, nil); status != http.StatusInternalServerError || !strings.Contains(answer, says) {
			t.Errorf("status %d, %s; want %q", status, answer, says)
		}
	}
	if status, answer := s.post(t, "", strings.Repeat(" ", 20<<10), nil); !strings.Contains(answer, "more than 16384 bytes") {
		t.Errorf("without a session: status %d, %s", status, answer)
	}
}
