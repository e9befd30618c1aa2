package du

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/openpf9/openpf9/controlplane/du/access"
	"github.com/openpf9/openpf9/controlplane/du/actions"
	"github.com/openpf9/openpf9/controlplane/du/audit"
	"github.com/openpf9/openpf9/controlplane/du/certrepo"
	"github.com/openpf9/openpf9/controlplane/du/pairing"
	"github.com/openpf9/openpf9/controlplane/du/resmgr"
	"github.com/openpf9/openpf9/controlplane/du/tunnelserver"
	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// assemble makes the services and plugs them together.
func (d *DU) assemble(ctx context.Context) error {
	var err error
	d.audit = audit.New(d.db, d.log)
	if d.tokens, err = access.New(ctx, d.db); err != nil {
		return err
	}
	if err := d.tokens.EnsureAdmin(ctx, d.cfg.file(AdminTokenFile)); err != nil {
		return err
	}
	d.certs, err = certrepo.New(ctx, d.db, certrepo.Config{
		DU:          d.cfg.FQDN,
		ServerNames: d.cfg.Names,
		HostLife:    time.Duration(d.cfg.Limits.CertificateLifeDays) * 24 * time.Hour,
		Revoked:     func(host wire.HostID, reason string) { d.tunnels.Kick(host, reason) },
		Audit: func(ctx context.Context, e certrepo.Event) {
			d.record(ctx, api.AuditEntry{Actor: e.Actor, Action: e.Action, Object: e.Object, Remote: e.Remote}, e.Err)
		},
	})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(d.cfg.file(AuthorityFile), pki.EncodeCertificates(d.certs.Authority()...), 0o644); err != nil {
		return fmt.Errorf("write the authority's certificate: %w", err)
	}
	lim := &d.cfg.Limits
	d.tunnels = tunnelserver.New(tunnelserver.Config{
		Verify:       d.verify,
		Refused:      d.refused,
		Connected:    func(p tunnelserver.Peer) { d.resmgr.Connected(peerOf(p)) },
		Disconnected: func(p tunnelserver.Peer, why string) { d.resmgr.Disconnected(p.Host, p.Session, why) },
		Limits:       tunnelserver.Limits{Sessions: lim.Hosts, PerSecond: lim.TunnelsPerSecond},
		Log:          d.log,
	})
	d.resmgr, err = resmgr.New(ctx, resmgr.Config{
		DB: d.db,
		PeerOf: func(ctx context.Context) (resmgr.Peer, bool) {
			p, ok := tunnelserver.PeerOf(ctx)
			return peerOf(p), ok
		},
		Dial:   d.tunnels.Dial,
		Revoke: d.certs.Revoke,
		Limits: resmgr.Limits{
			Resources: lim.ResourcesPerHost, Bytes: lim.BytesPerHost, Events: lim.EventsPerHost, Watchers: lim.Watches,
		},
		UsageSeconds: lim.UsageSeconds,
		Log:          d.log,
	})
	if err != nil {
		return err
	}
	d.actions, err = actions.New(ctx, actions.Config{
		DB: d.db, Host: d.resmgr.Host, Resource: d.resmgr.Get, Dial: d.tunnels.Dial, Log: d.log,
		Audit: func(ctx context.Context, e actions.Event) {
			d.record(ctx, api.AuditEntry{Actor: e.Actor, Action: e.Action, Object: e.Object, Remote: e.Remote}, e.Err)
		},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(d.tunnels.Handle(wire.ServiceResmgr, d.resmgr.Service()), d.tunnels.Handle(wire.ServiceCertrepo, d.renewal())); err != nil {
		return err
	}
	d.registry = d.metrics()
	d.api = httpapi.New(d.routes(), httpapi.Options{
		Title: "openpf9 deployment unit", Version: d.version,
		Authenticate: d.tokens.Authenticate,
		Audit: func(ctx context.Context, c httpapi.Call) {
			d.record(ctx, api.AuditEntry{Actor: c.Caller.Name, Action: c.Action, Object: c.Object, Remote: c.Caller.Remote}, c.Err)
		},
		Log: d.log,
	})
	return nil
}

// verify says who presents a client certificate.
func (d *DU) verify(_ context.Context, chain []*x509.Certificate) (tunnelserver.Peer, error) {
	id, err := d.certs.Verify(chain)
	if err != nil {
		var claimed tunnelserver.Peer // for the audit; nobody vouches for it
		if len(chain) > 0 {
			if id, err := pki.IdentityOf(chain[0]); err == nil {
				claimed.Host = id.Host
			}
		}
		return claimed, err
	}
	return tunnelserver.Peer{
		Host: id.Host, Kind: id.Kind,
		Serial: pki.Serial(chain[0]), NotBefore: chain[0].NotBefore, NotAfter: chain[0].NotAfter,
	}, nil
}

func peerOf(p tunnelserver.Peer) resmgr.Peer {
	return resmgr.Peer{
		Host: p.Host, Kind: p.Kind, Session: p.Session, Address: p.Address,
		Certificate: api.Certificate{Serial: p.Serial, NotBefore: p.NotBefore, NotAfter: p.NotAfter},
	}
}

// refused records a tunnel or stream that was turned away.
func (d *DU) refused(address string, host wire.HostID, what string, err error) {
	if remote, _, splitErr := net.SplitHostPort(address); splitErr == nil {
		address = remote
	}
	actor := "anonymous"
	if host != "" {
		actor = "host " + string(host)
	}
	action, object := "tunnel.refused", string(host)
	if what != "tunnel" {
		action, object = "stream.refused", what
	}
	d.record(context.Background(), api.AuditEntry{Actor: actor, Action: action, Object: object, Remote: address}, err)
}

// pairing hands pairings on to gateways.
func (d *DU) pairing() pairing.Gateways {
	return pairing.Gateways{Dial: d.tunnels.Dial, Hostname: func(id wire.HostID) string {
		h, err := d.resmgr.Host(id)
		if err != nil {
			return "" // the refusal of its name is enough
		}
		return h.Hostname
	}}
}

// record writes an audit entry with the outcome that the error stands for.
func (d *DU) record(ctx context.Context, e api.AuditEntry, err error) {
	e.Outcome = audit.Done
	if err != nil {
		e.Outcome, e.Reason = audit.Refused, err.Error()
		he, said := errors.AsType[*httpapi.Error](err)
		_, refusal := errors.AsType[*pki.Refusal](err)
		if said && he.Status >= 500 || !said && !refusal && !errors.Is(err, fs.ErrNotExist) && e.Action != "stream.refused" {
			e.Outcome = audit.Failed
		}
	}
	d.audit.Record(ctx, e)
}

// renewal serves wire.ServiceCertrepo: a host renews the certificate that its
// tunnel stands on.
func (d *DU) renewal() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/renew", func(w http.ResponseWriter, r *http.Request) {
		p, ok := tunnelserver.PeerOf(r.Context())
		if !ok {
			httpapi.WriteError(w, httpapi.Errorf(http.StatusForbidden, "not from a tunnel"))
			return
		}
		var q wire.RenewRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&q); err != nil {
			httpapi.WriteError(w, httpapi.Errorf(http.StatusBadRequest, "decode message: %v", err))
			return
		}
		c, err := d.certs.Renew(r.Context(), pki.Identity{DU: d.cfg.FQDN, Kind: p.Kind, Host: p.Host}, q)
		d.record(r.Context(), api.AuditEntry{Actor: "host " + string(p.Host), Action: "certificate.renew", Object: string(p.Host), Remote: p.Address}, err)
		if err == nil {
			err = httpapi.WriteJSON(w, http.StatusOK, c)
		}
		if err != nil {
			httpapi.WriteError(w, err)
		}
	})
	return mux
}

// routes is the table of the whole API.
func (d *DU) routes() []httpapi.Route {
	return slices.Concat(
		d.resmgr.Routes(), d.resmgr.CompatRoutes(), d.actions.Routes(), d.pairing().Routes(),
		d.certs.Routes(), d.tokens.Routes(), d.audit.Routes(),
		[]httpapi.Route{
			{
				Pattern: "GET /healthz", Summary: "Whether the deployment unit can do its work", Response: health{},
				Do: func(w http.ResponseWriter, _ *http.Request) error {
					if err := d.Healthy(); err != nil {
						return &httpapi.Error{Status: http.StatusServiceUnavailable, Message: "the catalogue cannot be written", Err: err}
					}
					return httpapi.WriteJSON(w, http.StatusOK, health{"ok", d.version})
				},
			},
			{
				// Behind a token even for callers on this machine, for a proxy
				// there would lend them its address. Prometheus sends it with
				// "authorization: {credentials_file: ...}".
				Pattern: "GET /metrics", Access: httpapi.Reader, Summary: "Metrics for Prometheus", Stream: "text/plain",
				Do: func(w http.ResponseWriter, r *http.Request) error {
					promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}).ServeHTTP(w, r)
					return nil
				},
			},
		},
	)
}

type health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
}

func (d *DU) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		d.resmgr, d.tunnels,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "du_sql_statements_total", Help: "SQL statements of all services; a prepared one counts once per preparation.",
		}, func() float64 { return float64(d.db.Statements()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "du_actions_open", Help: "Actions that have not ended.",
		}, func() float64 { return float64(d.actions.Open()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "du_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"du": d.cfg.FQDN, "version": d.version},
		}, func() float64 { return 1 }),
	)
	return r
}
