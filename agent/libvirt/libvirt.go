// Package libvirt discovers what libvirt knows: VMs, virtual networks, storage
// pools and their volumes. It is for the host agent. It only reads, and prefers
// libvirt's read-only socket.
//
// One [Conn] serves three sources, [Conn.VMs], [Conn.Networks] and
// [Conn.Storage], and answers [Conn.Stats]. It connects when first needed and
// again after each failure, when somebody next asks.
//
// What it stands on, all measured on libvirt 9.0:
//
//   - A hung daemon blocks every call for ever. Each session therefore pings
//     the daemon and closes its socket after 8 s without an answer; a
//     call whose context ends closes it too, because calls cannot be cancelled.
//   - A guest whose QEMU hangs blocks every call that asks the guest. Listing
//     never does: states come from libvirt's own memory. Disk sizes and [Conn.Stats]
//     need the guest, so they are asked for apart (see ask). Storage likewise.
//   - Events may be lost, above all around a restart of the daemon: a guest that
//     dies in its first second sends none. VMs.Watch asks for a new list when it
//     starts and again 1, 3 and 10 s later.
//   - A domain's XML costs 0.2 ms, all others of a list together 5 µs. Parsed
//     XML is kept for a session and read again after an event, when the domain
//     was started or stopped, and for one domain in 15 on each list. Half of the
//     cost is parsing, which a text that has not changed is spared.
//   - Networks and pools send no events through go-libvirt: they are polled.
//
// Only this package may import go-libvirt.
package libvirt

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	dialLimit    = 12 * time.Second       // for connecting; a daemon that probes QEMU takes up to 8 s
	closeLimit   = time.Second            // for a polite goodbye
	refreshLists = 15                     // lists until each domain's XML was read again
	sizesEvery   = time.Minute            // between two readings of all disks' sizes
	sizesLimit   = 500 * time.Millisecond // a list's wait for disk sizes
	sizeLimit    = 50 * time.Millisecond  // a Get's wait for disk sizes
)

// timing is what tests shorten.
type timing struct {
	pingEvery time.Duration   // between pings of a session
	pingLimit time.Duration   // without an answer the daemon counts as hung
	again     []time.Duration // when to list again after connecting, as the daemon meets its guests
}

// A hung daemon is noticed after 12 s at most: the 15 s promised leave room
// for whoever tells it on.
var usual = timing{pingEvery: 4 * time.Second, pingLimit: 8 * time.Second, again: []time.Duration{time.Second, 3 * time.Second, 10 * time.Second}}

// ErrAbsent says that libvirt is not installed on this host. It is no fault:
// there is nothing to discover. Errors that wrap it also wrap fs.ErrNotExist.
var ErrAbsent = errors.New("libvirt is not installed")

// Options says where libvirt is. The zero value finds the system's.
type Options struct {
	// Socket is the daemon's Unix socket, for VMs, networks and storage alike;
	// empty means the first that works of virtqemud-sock-ro, virtqemud-sock,
	// libvirt-sock-ro and libvirt-sock in RunDir, and on a modular host those of
	// virtnetworkd and virtstoraged for their parts.
	Socket string
	// RunDir is where libvirt keeps its sockets; empty means /run/libvirt.
	RunDir string
	// URI is the driver to open; empty means qemu:///system.
	URI string
	// Log may be nil.
	Log *slog.Logger
}

// Conn is the connection to libvirt that the sources share.
type Conn struct {
	opts  Options
	log   *slog.Logger
	links map[role]*link // immutable after New
	time  timing
	began time.Time

	vms      *VMs
	networks *Networks
	storage  *Storage
}

// New returns a connection that opens itself when a source first needs it.
// Whoever calls New calls Close.
func New(o Options) *Conn {
	if o.RunDir == "" {
		o.RunDir = "/run/libvirt"
	}
	if o.URI == "" {
		o.URI = "qemu:///system"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Conn{opts: o, log: o.Log, links: make(map[role]*link), time: usual, began: time.Now()}
	for _, r := range []role{roleVMs, roleNetworks, roleStorage} {
		c.links[r] = &link{gate: make(chan struct{}, 1)}
	}
	c.vms = newVMs(c)
	c.networks = &Networks{conn: c}
	c.storage = &Storage{conn: c}
	return c
}

// VMs returns the source of compute.vm.
func (c *Conn) VMs() *VMs { return c.vms }

// Networks returns the source of net.network.
func (c *Conn) Networks() *Networks { return c.networks }

// Storage returns the source of storage.pool and storage.volume.
func (c *Conn) Storage() *Storage { return c.storage }

// Close ends the connection and returns when its goroutines have ended. Calls
// under way fail, later ones fail at once.
func (c *Conn) Close() error {
	var wg sync.WaitGroup
	for _, l := range c.links {
		wg.Go(l.close)
	}
	wg.Wait()
	return nil
}

// session returns the live session that serves r, and connects if there is none.
// Of several callers one connects, and the others share what comes of it.
func (c *Conn) session(ctx context.Context, r role) (*session, error) {
	targets, r, err := findTargets(c.opts, r)
	if err != nil {
		return nil, err
	}
	l := c.links[r]
	s, seen, err := l.live()
	if s != nil || err != nil {
		return s, err
	}
	select {
	case l.gate <- struct{}{}:
		defer func() { <-l.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, tries, err := l.live()
	if s != nil || err != nil {
		return s, err
	}
	if tries != seen {
		return nil, l.failure()
	}
	asked := maxAsked
	if r == roleStorage {
		asked = 1
	}
	s, err = c.connect(ctx, targets, asked)
	if err == nil && r == roleVMs {
		err = c.subscribe(ctx, s)
	}
	if err == nil {
		err = l.set(s)
	}
	if err != nil {
		if s != nil {
			s.cut(err)
			s.wait()
		}
		if ctx.Err() == nil {
			l.fail(err)
		}
		return nil, err
	}
	c.log.Info("libvirt connected", "socket", s.target.socket, "uri", s.target.uri)
	return s, nil
}

var errClosed = errors.New("libvirt connection closed")

// A link is the place of one session. The gate admits one that connects.
type link struct {
	gate chan struct{}

	mu      sync.Mutex // guards the fields below
	current *session   // may be down
	failed  error      // of the last attempt to connect that failed by itself
	tries   int        // that failed so
	closed  bool
}

// live returns the session unless it is down, and how many attempts to connect
// have failed.
func (l *link) live() (*session, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, l.tries, errClosed
	}
	if l.current == nil || l.current.isDown() {
		return nil, l.tries, nil
	}
	return l.current, l.tries, nil
}

func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	l.tries++
}

func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// set puts s in the place of a session that is down, and waits for that one's
// goroutines.
func (l *link) set(s *session) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	old := l.current
	l.current = s
	l.mu.Unlock()
	if old != nil {
		old.wait()
	}
	return nil
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	s := l.current
	l.mu.Unlock()
	if s != nil {
		s.close()
	}
}
