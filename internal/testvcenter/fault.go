package testvcenter

import (
	"fmt"
	"net/http"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// Fault is something that goes wrong.
type Fault int

// What goes wrong, and until when if that is not at once over.
const (
	None        Fault = iota
	Expire            // all sessions idle out: the next call of each is not authenticated
	Terminate         // the same, and waits under way end without a word
	SessionGone       // a live session's next waits are answered with NotAuthenticated, as a fault
	LooksEmpty        // its next answers hold no objects, but "missing: NotAuthenticated" with status 200
	HalfReplies       // until Clear, replies end in their middle
	HalfPass          // the connection is cut after one more page of a whole pass
	Reset             // all connections are reset
	Refuse            // until Clear, connections are refused
	Freeze            // until Clear, packets are swallowed
	Drop              // the same, and what was connected before stays dead, as behind a firewall that has forgotten it
	Restart           // connections, sessions and collectors go; until Clear nobody answers
	Certificate       // until Clear, the certificate is another
	Unavailable       // until Clear, everything is answered with status 503
	Slow              // until Clear, each answer takes half a second
	Amnesia           // the next whole pass of each session shows no VMs at all
	LostLogin         // the next login is not answered, though the session begins
	LostREST          // the same by REST
	lastFault
)

var faultNames = [...]string{
	"none", "expire", "terminate", "session gone", "looks empty", "half replies", "half pass", "reset", "refuse", "freeze", "drop",
	"restart", "certificate", "unavailable", "slow", "amnesia", "lost login", "lost REST login",
}

// String names the fault.
func (f Fault) String() string { return faultNames[f] }

// Faults are all of them but None.
func Faults() []Fault {
	var all []Fault
	for f := Expire; f < lastFault; f++ {
		all = append(all, f)
	}
	return all
}

// slowly is how long an answer takes under Slow.
const slowly = 500 * time.Millisecond

// fault is one in force. Its methods work on nil: nothing goes wrong.
type fault struct {
	s    *Server
	kind Fault
	left int // answers that it spoils; guarded by the server's mu
	old  func()
}

// Inject lets something go wrong, in the place of what went wrong before.
func (s *Server) Inject(kind Fault) {
	s.Clear()
	f := &fault{s: s, kind: kind, left: 1}
	switch kind {
	case Expire, Terminate:
		s.forgetSessions()
	case Reset:
		s.proxy.cut()
	case Refuse:
		s.proxy.setRefuse(true)
		s.proxy.cut()
		f.old = func() { s.proxy.setRefuse(false) }
	case Freeze:
		s.proxy.freeze(true)
		f.old = func() { s.proxy.freeze(false) }
	case Drop:
		s.proxy.freeze(true)
		s.proxy.drop()
		f.old = func() { s.proxy.freeze(false) }
	case Restart:
		s.proxy.setRefuse(true)
		s.proxy.cut()
		s.forgetSessions()
		f.old = func() { s.proxy.setRefuse(false) }
	case Certificate:
		before := s.Certificate()
		other, err := NewCertificate("127.0.0.1", time.Hour)
		if err != nil {
			panic(err) // no randomness: nothing works
		}
		s.SetCertificate(other)
		f.old = func() { s.SetCertificate(before) }
	}
	s.mu.Lock()
	s.fault = f
	s.wake() // waits under way are over, and the next ones see it
	s.mu.Unlock()
}

// Clear ends what goes wrong.
func (s *Server) Clear() {
	s.mu.Lock()
	f := s.fault
	s.fault = nil
	s.mu.Unlock()
	if f != nil && f.old != nil {
		f.old()
	}
}

// InForce says what goes wrong now.
func (s *Server) InForce() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		return None
	}
	return s.fault.kind
}

func (s *Server) forgetSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	clear(s.rest.used)
	s.wake()
}

// spoils says whether the fault is of the kind and has answers left to spoil.
func (f *fault) spoils(kind Fault) bool {
	if f == nil || f.kind != kind {
		return false
	}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.left--
	return f.left >= 0
}

// before answers in the server's place, or lets it.
func (f *fault) before(w http.ResponseWriter, _ *http.Request, c *call) bool {
	if f == nil {
		return false
	}
	switch {
	case f.kind == Unavailable:
		http.Error(w, "no healthy upstream", http.StatusServiceUnavailable)
		return true
	case f.kind == Slow:
		late := time.NewTimer(slowly)
		defer late.Stop()
		select {
		case <-late.C:
		case <-c.done:
		}
	case c.method == "WaitForUpdatesEx" && c.session != nil && f.spoils(SessionGone):
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(faultResponse(&types.NotAuthenticated{}))
		return true
	case c.method == "WaitForUpdatesEx" && c.session != nil && f.spoils(LooksEmpty):
		_, _ = w.Write(response(c.method, looksEmpty()))
		return true
	}
	return false
}

// looksEmpty is an update of a session that is gone.
func looksEmpty() []byte {
	missing := types.MissingObject{Obj: rootFolder, Fault: types.LocalizedMethodFault{Fault: &types.NotAuthenticated{
		NoPermission: types.NoPermission{Object: &rootFolder, PrivilegeId: "System.Read"},
	}}}
	return fmt.Appendf(nil, `<returnval><version>1</version><filterSet><filter type="PropertyFilter">f</filter>%s</filterSet></returnval>`,
		element("missingSet", missing))
}

// write sends an answer, or half of it.
func (f *fault) write(w http.ResponseWriter, r *http.Request, c *call, status int, out []byte) {
	whole := true
	switch {
	case f == nil:
	case f.kind == HalfReplies:
		whole = false
	case f.kind == LostLogin && c.method == "Login" && f.spoils(LostLogin):
		panic(http.ErrAbortHandler) // the client does not even learn the cookie
	case f.kind == LostREST && c.method == restLogin && f.spoils(LostREST):
		panic(http.ErrAbortHandler)
	case f.kind == HalfPass && c.page:
		whole = !f.spoils(HalfPass)
	}
	w.Header().Set("Content-Type", c.kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(out)))
	w.WriteHeader(status)
	if whole {
		_, _ = w.Write(out)
		return
	}
	_, _ = w.Write(out[:len(out)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // cuts the connection
}
