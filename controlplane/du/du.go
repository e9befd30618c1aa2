// Package du assembles a deployment unit: it plugs the services of one
// customer together, which know nothing of each other, and serves them at one
// address. What each service needs of another is a function that is given to
// it here and nowhere else.
package du

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openpf9/openpf9/controlplane/du/access"
	"github.com/openpf9/openpf9/controlplane/du/actions"
	"github.com/openpf9/openpf9/controlplane/du/audit"
	"github.com/openpf9/openpf9/controlplane/du/certrepo"
	"github.com/openpf9/openpf9/controlplane/du/resmgr"
	"github.com/openpf9/openpf9/controlplane/du/tunnelserver"
	"github.com/openpf9/openpf9/internal/sqldb"
)

// Names of files in the state directory.
const (
	DatabaseFile   = "du.db"
	AdminTokenFile = "admin.token"
	AuthorityFile  = "ca.pem" // certificate only, for clients
)

// DU is a deployment unit. Make one with New.
type DU struct {
	cfg      Config
	version  string
	log      *slog.Logger
	db       *sqldb.DB
	audit    *audit.Log
	tokens   *access.Tokens
	certs    *certrepo.Repository
	tunnels  *tunnelserver.Server
	resmgr   *resmgr.Manager
	actions  *actions.Manager
	registry *prometheus.Registry
	api      http.Handler
}

// New opens the deployment unit's state, which it makes if it is missing. The
// caller runs the deployment unit, or closes it.
func New(ctx context.Context, cfg Config, version string, log *slog.Logger) (_ *DU, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	// The database holds the authority's key: nobody else may read it, whatever
	// the directory allows. Its companions get its mode.
	f, err := os.OpenFile(cfg.file(DatabaseFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the database: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, fmt.Errorf("make the database: %w", err)
	}
	d := &DU{cfg: cfg, version: version, log: log}
	if d.db, err = sqldb.Open(ctx, cfg.file(DatabaseFile)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.db.Close())
		}
	}()
	if err := d.db.Migrate(ctx, audit.Schema(), access.Schema(), certrepo.Schema(), resmgr.Schema(), actions.Schema()); err != nil {
		return nil, err
	}
	if err := d.assemble(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Close releases what New opened. Run does it by itself.
func (d *DU) Close() error { return d.db.Close() }

// Run serves the deployment unit until ctx ends, then brings everything to an
// end: clients, tunnels, what is not yet written. It calls ready, if not nil,
// once hosts and clients are accepted at the address.
func (d *DU) Run(ctx context.Context, ready func(net.Addr)) error {
	tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.cfg.Listen)
	if err != nil {
		return errors.Join(err, d.db.Close())
	}
	listener := tunnelserver.NewListener(tcp, d.tlsConfig(), d.cfg.Limits.Handshakes, d.log)
	err = runParts(
		ctx,
		part{"audit", d.audit.Run},
		part{"resource manager", d.resmgr.Run},
		part{"actions", d.actions.Run},
		part{"tunnel server", d.tunnels.Run},
		part{"web server", func(ctx context.Context) error { return d.serve(ctx, listener) }},
		part{"listener", listener.Run},
		part{"ready", func(ctx context.Context) error {
			d.log.Info("deployment unit is ready", "du", d.cfg.FQDN, "address", tcp.Addr().String())
			if ready != nil {
				ready(tcp.Addr())
			}
			<-ctx.Done()
			return nil
		}},
	)
	return errors.Join(err, d.db.Close())
}

// Healthy says whether the deployment unit can do its work.
func (d *DU) Healthy() error { return d.resmgr.Healthy() }
