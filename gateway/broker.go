package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vcenter"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/paired"
)

const (
	headerLimit = 10 * time.Second
	idleLimit   = 10 * time.Minute
)

// broker is the session broker before one vCenter while it is configured.
type broker struct {
	*vcproxy.Broker
	problem error  // why the endpoint for programs on this machine is not there
	files   string // what programs on this machine need, but for the ending
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// startBroker runs the broker of a vCenter and, if it has one, its endpoint for
// programs on this machine, until close. dir is for its files.
func startBroker(name string, conf VCenter, acts *session.Session, scope delegation, dir string, log *slog.Logger) (*broker, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	o := vcproxy.Options{
		Upstream: upstream(acts, scope.source), Scope: scope, Stale: scope.stale, Explain: explain(scope.source), Hosts: known{scope.source},
		AuditFile: filepath.Join(dir, name+".audit"), SwitchFile: filepath.Join(dir, name+".switch"), Log: log.With("vcenter", name),
	}
	var local *endpoint
	if conf.Broker != "" {
		var err error
		if local, err = newEndpoint(conf.Broker, filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
		o.Certificate = local.cert.Certificate[0]
		o.Authenticate = vcproxy.LocalSecret(paired.BrokerUser, local.secret)
	}
	made, err := vcproxy.New(o)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &broker{Broker: made, files: filepath.Join(dir, name), stop: stop}
	b.wg.Go(func() { _ = made.Run(ctx) })
	if local == nil {
		return b, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", conf.Broker)
	if err != nil { // discovery is worth more, and the next reload tries again
		b.problem = fmt.Errorf("the broker does not listen: %w", err)
		log.Error("the broker's endpoint is not there", "vcenter", name, "address", conf.Broker, "err", err)
		return b, nil
	}
	server := newServer(log, made.ServeHTTP)
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{local.cert}, MinVersion: tls.VersionTLS12}
	b.wg.Go(func() {
		if err := serve(ctx, server, l); err != nil && ctx.Err() == nil {
			log.Error("the broker's endpoint has ended", "vcenter", name, "address", conf.Broker, "err", err)
		}
	})
	return b, nil
}

// forgetBroker removes the secrets and the switch of a broker whose vCenter is
// gone: another may come under the name. The audit stays.
func forgetBroker(dir, name string) error {
	var errs []error
	for _, kind := range []string{".secret", ".crt", ".key", ".switch"} {
		if err := os.Remove(filepath.Join(dir, name+kind)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// close ends all sessions of the broker.
func (b *broker) close() {
	b.stop()
	b.wg.Wait()
	_ = b.Broker.Close() // of the audit, whose failure its last record met too
}

// upstream is the broker's way to vCenter. What is asked while vCenter is known not
// to answer fails at once, and a login as soon as that is known.
func upstream(acts *session.Session, source *vcenter.Source) vcproxy.Upstream {
	return vcproxy.Upstream{
		URL: &url.URL{Scheme: acts.URL().Scheme, Host: acts.URL().Host}, Transport: whileAnswering{acts.Transport(), source},
		Login: func(ctx context.Context) (vcproxy.Login, error) {
			ctx, release := source.Answering(ctx)
			defer release()
			l, err := acts.Login(ctx)
			if silent, is := errors.AsType[*session.SilentError](context.Cause(ctx)); is && err != nil {
				return vcproxy.Login{}, silent
			}
			if err != nil {
				return vcproxy.Login{}, err
			}
			return vcproxy.Login{
				Cookies: []*http.Cookie{l.Cookie()},
				Logout:  func(context.Context) error { l.Logout(); return nil },
			}, nil
		},
	}
}

// whileAnswering makes no request while vCenter is known not to answer.
type whileAnswering struct {
	http.RoundTripper
	source *vcenter.Source
}

// RoundTrip makes the request, or says since when there is no answer.
func (t whileAnswering) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.source.Silent(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as of a RoundTripper is asked
		}
		return nil, err
	}
	return t.RoundTripper.RoundTrip(r)
}

// explain says to the broker's clients why vCenter is not there for them: what is
// known of it, with the time since when, or what has just happened.
func explain(source *vcenter.Source) func(error) error {
	return func(err error) error {
		seen := source.State()
		if vcenter.Mendable(err) || seen.OK || seen.Reading || seen.Problem == nil {
			return source.Explain(err)
		}
		return seen.Problem
	}
}

// delegation is what the customer delegated, to the broker's clients and for
// actions: the chosen clusters, with all that belongs to them but the VMs that are
// kept.
type delegation struct {
	source  *vcenter.Source
	kept    *kept
	trusted time.Duration // for how long after vCenter was followed last
	vcproxy.Delegation
}

func newDelegation(source *vcenter.Source, k *kept) delegation {
	return delegation{source, k, trustedFor, vcproxy.Delegation{Inventory: known{source}}}
}

func (d delegation) Contains(ref vcproxy.Ref) bool {
	o, ok := d.source.Lookup(ref.Value)
	return ok && o.Type == ref.Type && o.Listed && d.bears(ref) == ""
}

// trustedFor is how long after vCenter was followed last anything is still changed:
// a VM may have left the delegated clusters meanwhile.
const trustedFor = 5 * time.Minute

// stale says why what is delegated may be another by now; nil: it is known, or was
// until a moment ago.
func (d delegation) stale() error {
	since := d.source.StaleSince()
	if since.IsZero() || time.Since(since) < d.trusted {
		return nil
	}
	return fmt.Errorf("the gateway has not followed vCenter since %s, and what belongs to the delegated clusters may be another by now: nothing is changed until it does",
		since.UTC().Format(time.RFC3339))
}

// bears says of what an object is the VM that is kept; empty: of nothing.
func (d delegation) bears(ref vcproxy.Ref) string { return d.source.Bears(ref.Value, d.kept.marks()) }

// known is the live inventory as the broker asks for it.
type known struct{ source *vcenter.Source }

func (k known) Object(id string) (vcproxy.Object, bool) {
	o, ok := k.source.Lookup(id)
	return vcproxy.Object{Type: o.Type, Name: o.Name, Within: o.Within}, ok
}

func (k known) Named(name string) []vcproxy.Ref {
	var refs []vcproxy.Ref
	for _, o := range k.source.Named(name) {
		refs = append(refs, vcproxy.Ref{Type: o.Type, Value: o.Moref})
	}
	return refs
}

func (k known) Users(datastore vcproxy.Ref, top string) []vcproxy.Ref {
	var refs []vcproxy.Ref
	for _, id := range k.source.Users(datastore.Value, top) {
		refs = append(refs, vcproxy.Ref{Type: "VirtualMachine", Value: id})
	}
	return refs
}

func (k known) Host(name string) (vcproxy.Host, bool) {
	h, ok := k.source.Host(name)
	address := h.Name
	if len(h.Addresses) > 0 {
		address = h.Addresses[0] // the name need not resolve here
	}
	return vcproxy.Host{
		Ref:     vcproxy.Ref{Type: "HostSystem", Value: h.Moref},
		Address: net.JoinHostPort(address, "443"), Thumbprint: h.Thumbprint,
	}, ok
}

// serveBrokers answers the deployment unit's side of the tunnel. Whose vCenter a
// request is for says the first part of its host: "lab.vcenter".
func (s *sites) serveBrokers(ctx context.Context, l net.Listener) error {
	server := newServer(s.log, func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(r.Host, ".")
		b := s.brokerOf(name)
		if b == nil {
			http.Error(w, fmt.Sprintf("there is no vCenter %.40q here whose control is delegated", name), http.StatusNotFound)
			return
		}
		b.ServeHTTP(w, r)
	})
	server.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return vcproxy.WithClient(ctx, "deployment unit")
	}
	return serve(ctx, server, l)
}

// newServer returns a server for a broker's clients, whose calls may last.
func newServer(log *slog.Logger, h http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerLimit, IdleTimeout: idleLimit, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve answers until ctx ends, over TLS if the server has a configuration for it.
func serve(ctx context.Context, server *http.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	run := server.Serve
	if server.TLSConfig != nil {
		run = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if err := run(l); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// brokerState says how much a vCenter's broker lets through, and why it does not
// listen though it should.
func (s *sites) brokerState(name string) (mode string, problem error) {
	if b := s.brokerOf(name); b != nil {
		return string(b.Mode()), b.problem
	}
	return "", nil
}

func (s *sites) brokerOf(name string) *broker {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st := s.byName[name]; st != nil {
		return st.broker
	}
	return nil
}
