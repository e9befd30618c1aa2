// Package vcsim runs govmomi's simulator of vCenter in this process, over real
// TLS, for the demo and for tests of whole programs.
package vcsim

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/url"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/simulator"

	"github.com/openpf9/openpf9/internal/pki"
)

// Options say how large the vCenter is, and what Login takes.
type Options struct {
	Clusters, Hosts int // hosts in each cluster
	Alone           int // hosts in no cluster
	VMs             int // in each cluster, and on each host that is in none
	User, Password  string
}

// Server is a running simulator.
type Server struct {
	URL        string // "https://127.0.0.1:40123"
	Thumbprint string // SHA-256 of its certificate, as vCenter's pages show it

	user      *url.Userinfo
	authority *authority
	model     *simulator.Model
	server    *simulator.Server
}

// Start makes the inventory and serves it on a port of loopback until Close. It
// takes some 40 ms for each VM.
func Start(o Options) (*Server, error) {
	m := simulator.VPX()
	m.Host, m.Cluster, m.ClusterHost, m.Machine = o.Alone, o.Clusters, o.Hosts, o.VMs
	m.ServiceContent.About.InstanceUuid = newUUID()
	if err := m.Create(); err != nil {
		m.Remove()
		return nil, fmt.Errorf("make the inventory: %w", err)
	}
	markUplinks(m)
	Complete(m)
	a := &authority{AuthorizationManager: m.Map().Get(*m.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager)}
	m.Map().Put(a)
	m.Service.TLS = new(tls.Config) // with a certificate that the server makes
	m.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(o.User, o.Password)}
	s := m.Service.NewServer()
	sum := sha256.Sum256(s.TLS.Certificates[0].Certificate[0])
	return &Server{
		URL:        "https://" + s.URL.Host,
		Thumbprint: pki.Colons(sum[:]),
		user:       m.Service.Listen.User, authority: a, model: m, server: s,
	}, nil
}

// newUUID returns a random UUID: by the simulator's own all vCenters are one.
func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Operator logs in as somebody else who works on the vCenter. The caller logs out.
func (s *Server) Operator(ctx context.Context) (*govmomi.Client, error) {
	u, err := url.Parse(s.URL + "/sdk")
	if err != nil {
		return nil, err
	}
	u.User = s.user
	return govmomi.NewClient(ctx, u, true) // it is our own, in this process
}

// Close ends the server and removes the files of its datastores. It does not wait
// for calls under way: the simulator holds one that waits for changes to its end,
// also when nobody listens any more.
func (s *Server) Close() {
	_ = s.server.Config.Close() // listens no more, whatever it says
	s.model.Remove()
}
