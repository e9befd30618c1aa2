package tunnel

import (
	"fmt"
	"net"
	"sync"
)

// backlog is how many streams may wait for Accept at one service. When it is
// full, further ones are refused.
const backlog = 256

// Services maps names to listeners that far sides may dial. One Services
// serves any number of sessions.
type Services struct {
	mu        sync.RWMutex // guards listeners
	listeners map[string]*listener
}

// NewServices returns an empty set.
func NewServices() *Services { return &Services{listeners: make(map[string]*listener)} }

// Listen offers a service until the listener is closed. What it accepts are
// *Stream.
func (s *Services) Listen(name string) (net.Listener, error) {
	if name == "" || len(name) > maxService {
		return nil, fmt.Errorf("listen for service %.40q: want a name of 1 to %d bytes", name, maxService)
	}
	l := &listener{services: s, name: name, waiting: make(chan *Stream, backlog), closed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners[name] != nil {
		return nil, fmt.Errorf("service %s is already listened for", name)
	}
	s.listeners[name] = l
	return l, nil
}

// offer hands a stream to the service's listener, or says why not.
func (s *Services) offer(st *Stream) error {
	s.mu.RLock()
	defer s.mu.RUnlock() // so that no stream slips in behind Close
	l := s.listeners[st.service]
	if l == nil {
		return fmt.Errorf("no service %q here", st.service)
	}
	select {
	case l.waiting <- st:
		return nil
	default:
		return fmt.Errorf("service %s is too busy: %d streams wait to be accepted", st.service, backlog)
	}
}

// listener is one service.
type listener struct {
	services *Services
	name     string
	waiting  chan *Stream
	once     sync.Once
	closed   chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case st := <-l.waiting:
		return st, nil
	default:
	}
	select {
	case st := <-l.waiting:
		return st, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the service. Streams that wait are reset, accepted ones go on.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.services.mu.Lock()
		delete(l.services.listeners, l.name)
		l.services.mu.Unlock()
		close(l.closed)
		for {
			select {
			case st := <-l.waiting:
				st.reset("the service has ended")
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return Addr{Service: l.name} }

// Addr is the address of a stream or a listener.
type Addr struct {
	Service string
	Remote  string // the connection's address, if known
}

// Network is "tunnel".
func (Addr) Network() string { return "tunnel" }

// String names the service and where the session comes from.
func (a Addr) String() string {
	if a.Remote == "" {
		return a.Service
	}
	return a.Service + "@" + a.Remote
}
