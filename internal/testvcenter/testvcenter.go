// Package testvcenter is a vCenter for tests and measurements: as much of its
// SOAP API as discovery uses, over real TLS, with an inventory that costs nothing
// per update. vcsim reads its whole inventory for each update, and cannot fail on
// demand; this one can, in every way that is known from the field, see [Fault].
//
// It knows sessions, property collectors with versions, pages of 100 objects, reads
// of properties, and by REST sessions and one tag. It changes nothing by itself.
package testvcenter

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// pageSize is how many objects vCenter puts into one reply, whatever is asked.
const pageSize = 100

// Options says what the server is. Zero values give a small one.
type Options struct {
	VMs, Hosts, Clusters, Datastores, Networks int
	// Standard is how many networks of the hosts' own switches there are.
	Standard int
	// User and Password are what Login takes.
	User, Password string
	// Listen is the address; empty: any port on loopback.
	Listen string
	// RESTIdle is after how long a REST session that nobody uses ends. Zero: an hour.
	RESTIdle time.Duration
}

// Server is a running vCenter. Its methods may be called from anywhere.
type Server struct {
	o        Options
	listener net.Listener
	proxy    *proxy
	http     *http.Server
	cert     atomic.Pointer[tls.Certificate]
	wg       sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	about     types.AboutInfo
	inventory inventory
	sessions  map[string]*session // by cookie
	rest      restSessions
	next      int           // number of the next session, collector, object
	change    chan struct{} // closed at the next change of the inventory
	fault     *fault        // in force; nil: none
	counts    Counts
}

// Counts are what the server was asked.
type Counts struct {
	Calls         int // by SOAP
	RESTCalls     int
	Waits         int // among them, those for changes that may be held
	Logins        int
	Refused       int // logins
	BytesOut      int
	PasswordsSeen int // logins that reached it, right or wrong
}

type session struct {
	user       types.UserSession
	collectors map[string]*collector
}

// Start starts a server on loopback.
func Start(o Options) (*Server, error) {
	if o.User == "" {
		o.User, o.Password = "gw@vsphere.local", "secret"
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.RESTIdle == 0 {
		o.RESTIdle = time.Hour
	}
	cert, err := NewCertificate("127.0.0.1", time.Hour)
	if err != nil {
		return nil, err
	}
	front, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	back, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, front.Close())
	}
	s := &Server{
		o: o, listener: back, sessions: make(map[string]*session), rest: restSessions{used: make(map[string]time.Time)}, change: make(chan struct{}),
		about: types.AboutInfo{
			Name: "VMware vCenter Server", FullName: "VMware vCenter Server 8.0.3 build-1", Version: "8.0.3", Build: "1",
			ApiType: "VirtualCenter", ApiVersion: "8.0.3.0", OsType: "linux-x64", InstanceUuid: newUUID(1),
		},
	}
	s.cert.Store(&cert)
	s.inventory.fill(o)
	s.proxy = newProxy(front, back.Addr().String())
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.cert.Load(), nil
		}},
	}
	s.wg.Go(func() { _ = s.http.ServeTLS(back, "", "") })
	s.wg.Go(s.proxy.run)
	return s, nil
}

// Close ends the server and all connections.
func (s *Server) Close() {
	s.Clear()
	s.proxy.close()
	_ = s.http.Close()
	s.wg.Wait()
}

// URL is where the server is.
func (s *Server) URL() string { return "https://" + s.proxy.listener.Addr().String() }

// Pin is the SHA-256 of its certificate, in hexadecimal.
func (s *Server) Pin() string { return pinOf(s.cert.Load()) }

// InstanceUUID is what the vCenter calls itself.
func (s *Server) InstanceUUID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.about.InstanceUuid
}

// Counts tells what the server was asked since the last Reset.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Reset sets the counts to zero.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = Counts{}
}

// Sessions counts the sessions that are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Collectors counts the property collectors that are open.
func (s *Server) Collectors() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.sessions {
		n += len(k.collectors)
	}
	return n
}

// Idle lets all sessions seem to have done nothing for so long.
func (s *Server) Idle(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.sessions {
		k.user.LastActiveTime = k.user.LastActiveTime.Add(-d)
	}
}

// SetPassword changes the password that Login takes.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Password = password
}

// SetUser changes the user that Login takes.
func (s *Server) SetUser(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.User = user
}

func newUUID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n) }
