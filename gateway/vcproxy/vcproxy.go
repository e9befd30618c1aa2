// Package vcproxy is the broker between programs that speak the vSphere API,
// such as OpenStack's driver or govc, and the customer's vCenter. It answers
// their logins itself and uses sessions of its own upstream, so vCenter's
// password is known to nobody outside of the gateway; it lets through what its
// policy lists, on objects that the customer delegated, and keeps an audit and a
// switch that are the customer's. It does not connect to vCenter by itself: the
// way there, pinned and logged in, is given to it.
package vcproxy

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
)

// Upstream is the way to vCenter.
type Upstream struct {
	URL       *url.URL          // scheme and host of vCenter
	Transport http.RoundTripper // checks vCenter's pinned certificate; it follows nothing and keeps no cookies
	// Login makes a new session. It is called for each client and when a session
	// died; it must hold back by itself after vCenter refused the account.
	Login func(ctx context.Context) (Login, error)
}

// Login is one session in vCenter.
type Login struct {
	Cookies []*http.Cookie
	// Logout ends the session; it is called once, also if vCenter ended it before.
	Logout func(ctx context.Context) error
}

// Options of a broker. Upstream, Scope and the two paths are needed.
type Options struct {
	Upstream Upstream
	Scope    Scope
	// Stale says why Scope may not be as vCenter is now: nothing is changed then. Nil:
	// it always is.
	Stale func() error
	// Explain puts an error of the way to vCenter into words for clients: where it is,
	// what is wrong, since when. Nil: they read the cause alone.
	Explain func(error) error
	// Hosts are the hypervisor hosts that files may be exchanged with; nil: none.
	Hosts Hosts
	// HostTickets gives clients tickets to exchange files with hosts themselves. It
	// is for clients that find this broker under the hosts' names; others, such as
	// nova, would go around it or nowhere. Refused, they go by way of vCenter.
	HostTickets bool
	// Authenticate judges a login with a password. Clients whose connection says
	// who they are (WithClient) are not asked. Nil: nobody else gets in. Guesses do
	// not keep the right password out: it must be too long to be guessed.
	Authenticate func(r *http.Request, user, password string) (Client, error)
	// Certificate is what clients over TLS see here, in DER: they may hold the
	// address of a lease to it. Nil: they are told none.
	Certificate []byte
	AuditFile   string
	OnAudit     func(Record) // gets each record too; must not block; may be nil
	SwitchFile  string
	Limits      Limits
	Log         *slog.Logger // nil: nothing is logged
}

// Broker is the session broker. It is an http.Handler; serve it over TLS.
type Broker struct {
	opts   Options
	limits Limits
	log    *slog.Logger
	schema *schema
	audit  *Audit
	sw     *Switch
	// thumbprint is of the certificate, as the API has it; "": there is none.
	thumbprint string

	memory    *gate // bytes that calls take from when they are read until they end
	strangers *gate // the same, of calls without a session
	calls     *gate
	waits     *gate
	transfers *gate
	hosts     *hostClients

	mu       sync.Mutex // guards the fields below
	sessions map[string]*session
	grants   grants
	contents map[string]Ref     // vCenter's objects that serve all others, once known
	guesses  map[string]*bucket // failed logins by address
	entries  map[Client]*bucket // logins
	open     bucket             // calls without a session
}

// New makes a broker; it opens the audit and the switch. Close it, and Run it:
// without, idle sessions stay. A switch that cannot be read is off, and said so
// in the log.
func New(opts Options) (*Broker, error) {
	up := opts.Upstream
	if up.URL == nil || up.Transport == nil || up.Login == nil || opts.Scope == nil {
		return nil, errors.New("the broker needs the whole way to vCenter and a scope")
	}
	log := cmp.Or(opts.Log, slog.New(slog.DiscardHandler))
	sw, err := OpenSwitch(opts.SwitchFile)
	sw.stale = opts.Stale
	if err != nil {
		log.Error("vCenter's switch", "err", err)
	}
	audit, err := OpenAudit(opts.AuditFile, opts.OnAudit)
	if err != nil {
		return nil, err
	}
	l := opts.Limits.withDefaults()
	b := &Broker{
		opts: opts, limits: l, log: log, schema: newSchema(), audit: audit, sw: sw,
		memory: newGate(l.Memory), strangers: newGate(strangerMemory),
		calls: newGate(int64(l.Concurrent)), waits: newGate(int64(l.Concurrent)), transfers: newGate(int64(l.Transfers)),
		hosts: newHostClients(), sessions: make(map[string]*session), guesses: make(map[string]*bucket), entries: make(map[Client]*bucket), contents: make(map[string]Ref), open: newBucket(20, 60),
	}
	if opts.Certificate != nil {
		sum := sha1.Sum(opts.Certificate)
		b.thumbprint = pki.Colons(sum[:])
	}
	return b, nil
}

// Run ends idle sessions and writes the audit's sums, until the context ends;
// then it ends all sessions in vCenter.
func (b *Broker) Run(ctx context.Context) error {
	period := min(b.limits.Idle/4, sumEvery)
	tick := time.NewTicker(period)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			b.endAll(ctx, "the gateway stops", func(*session) bool { return true })
			b.hosts.close()
			return nil
		case now := <-tick.C:
			b.endAll(ctx, "it was not used", func(s *session) bool { return s.idle(now) >= b.limits.Idle })
			if now.Sub(last) >= sumEvery {
				b.audit.flush()
				last = now
			}
		}
	}
}

// Close closes the audit. Call it after Run has ended and nothing is served.
func (b *Broker) Close() error { return b.audit.Close() }

// Mode returns how much control there is.
func (b *Broker) Mode() Mode { return b.sw.Mode() }

// SetMode changes how much control there is, at once and for good: calls on
// their way that are not allowed any more are cut, and ModeOff ends all
// sessions. What vCenter has begun already goes on there. Who says who did it.
func (b *Broker) SetMode(ctx context.Context, mode Mode, who string) error {
	err := b.sw.set(mode)
	r := Record{Time: time.Now(), Client: Client(who), Method: "switch", Object: string(mode), Result: resultOK}
	if err != nil {
		r.Result, r.Detail = resultError, err.Error()
	}
	b.audit.add(r)
	b.log.Info("vCenter's switch", "mode", b.sw.Mode(), "who", who)
	if b.sw.Mode() == ModeOff {
		b.endAll(ctx, "control is off", func(*session) bool { return true })
	}
	return err
}

// SessionInfo describes a session for a status page.
type SessionInfo struct {
	Client        Client
	Remote        string
	Agent         string
	Began, Used   time.Time
	Calls, Active int
}

// Sessions lists the sessions.
func (b *Broker) Sessions() []SessionInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]SessionInfo, 0, len(b.sessions))
	for _, s := range b.sessions {
		s.mu.Lock()
		list = append(list, SessionInfo{s.client, s.remote, s.agent, s.began, s.used, s.calls, s.busy})
		s.mu.Unlock()
	}
	return list
}

type clientKey struct{}

// WithClient marks a connection as a client's who is known already, such as the
// far end of a tunnel. Use it in http.Server.ConnContext; such a client logs in
// with any password.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

func clientOf(ctx context.Context) (Client, bool) {
	c, ok := ctx.Value(clientKey{}).(Client)
	return c, ok
}

// LocalSecret makes an Authenticate for one user with a secret that is good at
// this broker only, such as nova-compute's on the gateway.
func LocalSecret(user, secret string) func(*http.Request, string, string) (Client, error) {
	want := sha256.Sum256([]byte(user + "\x00" + secret))
	return func(_ *http.Request, u, p string) (Client, error) {
		got := sha256.Sum256([]byte(u + "\x00" + p))
		if secret == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			return "", errors.New("no such user, or another password")
		}
		return Client(user), nil
	}
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
