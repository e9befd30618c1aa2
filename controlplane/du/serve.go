package du

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

// tlsConfig asks for a client certificate and leaves it to the tunnel server to
// judge it, so that a refusal can be put in words.
func (d *DU) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"http/1.1"},
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: d.certs.ServerCertificate,
	}
}

// shutdownFor is how long clients' requests may take to end.
const shutdownFor = 3 * time.Second

// serve answers clients and hosts at the one address until ctx ends.
func (d *DU) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+wire.TunnelPath, d.tunnels)
	mux.Handle("/", d.api)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second, // watches move it on
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // watches end with it
	}
	var wg sync.WaitGroup
	failed := make(chan error, 1)
	wg.Go(func() { failed <- srv.Serve(l) })
	var err error
	select {
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownFor)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			err = srv.Close() // whoever is left has had the time
		}
	case err = <-failed:
	}
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
