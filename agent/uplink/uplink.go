// Package uplink brings the mirror's inventory and the spool's history to the
// deployment unit, and keeps the tunnel for it.
//
// It sends state, not changes: after each connect the digests of all kinds are
// compared, kinds that differ are sent whole, and from then on the newest state
// of whatever changed. Nothing is queued but the mirror's keys, and nothing is
// lost by an error: the conversation begins again with the digests.
package uplink

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/agent/spool"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	requestTimeout = 30 * time.Second
	idleTimeout    = 3 * time.Second // then an idle host holds no stream
	partBytes      = 1 << 20         // of one report
	packFrom       = 4 << 10         // bytes of a message that is worth compressing
	muchSent       = 4 << 20         // bytes at once, after which garbage is given back: quiet follows
	recheck        = 10 * time.Minute
	retry          = time.Second // after an error, on the same session
	eventsAtOnce   = 200
	eventsPause    = time.Second      // between batches of history, for company
	aliveEvery     = 30 * time.Second // between signs of life of a loop with nothing to do
)

// Uplink talks to the deployment unit. Make it with New.
type Uplink struct {
	o      Options
	client *http.Client
	packs  atomic.Bool // the deployment unit takes compressed messages

	mu     sync.Mutex // guards the fields below
	synced time.Time  // last acknowledged report or hello; zero: not since the tunnel is up
	err    error      // of the conversation; nil while it goes well
}

// Options are what an Uplink needs. All fields but Usage are required.
type Options struct {
	Keeper *tunnel.Keeper // not running yet; Up and Down are the uplink's
	Mirror *mirror.Mirror
	Spool  *spool.Spool
	Epoch  uint64
	Agent  string // program and version
	Kind   string // of hypervisor: wire.HypervisorKVM
	Usage  func(context.Context) (inventory.Usage, error)
	Tick   func() // sign of life of the loop
	Log    *slog.Logger
}

// New prepares an uplink.
func New(o Options) *Uplink {
	u := &Uplink{o: o}
	u.client = &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				service, _, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return o.Keeper.Dial(ctx, service)
			},
			IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 1, DisableCompression: true,
		},
	}
	if u.o.Tick == nil {
		u.o.Tick = func() {}
	}
	return u
}

// Client calls services of the deployment unit: http://<service>/path.
func (u *Uplink) Client() *http.Client { return u.client }

// State is how the uplink is.
type State struct {
	Connected bool      `json:"connected"`
	Endpoint  string    `json:"endpoint,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	RTT       string    `json:"rtt,omitempty"`
	Synced    time.Time `json:"synced,omitzero"` // last agreed with the deployment unit
	Problem   string    `json:"problem,omitempty"`
	Refused   string    `json:"refused,omitempty"` // why the deployment unit does not take this machine's certificate
	Unsent    uint64    `json:"unsent_events"`
}

// State returns how the uplink is now.
func (u *Uplink) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := State{Synced: u.synced, Unsent: u.o.Spool.Last() - min(u.o.Spool.Acked(), u.o.Spool.Last())}
	if s := u.o.Keeper.Session(); s != nil {
		stats := s.Stats()
		st.Connected, st.Endpoint = true, s.RemoteAddr().String()
		st.Since, st.RTT = time.Now().Add(-stats.Age).UTC().Truncate(time.Second), stats.RTT.String()
		if u.err != nil {
			st.Problem = u.err.Error()
		}
	} else if err := u.o.Keeper.Err(); err != nil {
		st.Problem, st.Refused = err.Error(), refusal(err)
	} else {
		st.Problem = "connecting"
	}
	return st
}

// refusal is why the deployment unit does not take the certificate; empty: that is
// not why there is no tunnel.
func refusal(err error) string {
	if e, ok := errors.AsType[*tunnel.StatusError](err); ok && e.Code == http.StatusForbidden {
		return e.Message
	}
	return ""
}

// Stranded says whether the tunnel is from an address that the machine has no more:
// nothing comes back over it, which it would notice late.
func (u *Uplink) Stranded() bool {
	s := u.o.Keeper.Session()
	return s != nil && gone(s.LocalAddr())
}

// gone says whether the machine has not got a connection's address. It asks by
// using it, because the list of addresses is netlink's, which units do not allow.
func gone(local net.Addr) bool {
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return false
	}
	try, err := net.ListenUDP("udp", &net.UDPAddr{IP: tcp.IP, Zone: tcp.Zone})
	if err == nil {
		_ = try.Close()
	}
	return errors.Is(err, syscall.EADDRNOTAVAIL)
}

// Run keeps the tunnel and the conversation until ctx ends.
func (u *Uplink) Run(ctx context.Context) error {
	sessions := make(chan *tunnel.Session, 1) // the newest
	u.o.Keeper.Up = func(s *tunnel.Session) {
		select {
		case <-sessions:
		default:
		}
		sessions <- s
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = u.o.Keeper.Run(ctx) })
	defer wg.Wait()
	defer u.client.CloseIdleConnections()
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		u.o.Tick()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-alive.C:
		case s := <-sessions:
			u.client.CloseIdleConnections() // they are the old session's
			u.converse(ctx, s, sessions)
		}
	}
}

// converse talks while the session is up, and again from the beginning after
// each error.
func (u *Uplink) converse(ctx context.Context, s *tunnel.Session, newer chan *tunnel.Session) {
	for ctx.Err() == nil && s.Err() == nil {
		t := &talk{Uplink: u, session: s, newer: newer}
		err := t.run(ctx)
		if errors.Is(err, errReplaced) {
			return
		}
		u.mu.Lock()
		u.err, u.synced = err, time.Time{}
		u.mu.Unlock()
		if err != nil && ctx.Err() == nil && s.Err() == nil {
			u.o.Log.Warn("the conversation with the deployment unit begins again", "err", err)
		}
		u.client.CloseIdleConnections()
		pause := time.NewTimer(retry/2 + rand.N(retry))
		select {
		case <-pause.C:
		case <-s.Done():
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

var errReplaced = errors.New("a newer session is up")

// call posts one message to a service.
func (u *Uplink) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	packed := u.packs.Load() && len(body) >= packFrom
	if packed {
		body = pack(body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+wire.ServiceResmgr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if packed {
		req.Header.Set("Content-Encoding", wire.EncodingGzip)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		var problem struct{ Message string }
		if json.Unmarshal(text, &problem) != nil || problem.Message == "" {
			problem.Message = resp.Status
		}
		return fmt.Errorf("%s: the deployment unit refused: %s", path, problem.Message)
	}
	return json.Unmarshal(text, out)
}

// pack compresses a message.
func pack(body []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(body) // a buffer takes all
	_ = z.Close()
	return out.Bytes()
}

func (u *Uplink) agreed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.synced, u.err = time.Now().UTC(), nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
