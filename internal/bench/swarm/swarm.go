// Package swarm simulates many hosts against one control plane: each enrols
// with a join token, keeps a real tunnel over real mutual TLS, and reports a
// made-up inventory by the same messages as the host agent. It is for load
// tests; it discovers nothing.
package swarm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Swarm is a number of simulated hosts. Set its fields before Enroll.
type Swarm struct {
	URL       string // of the deployment unit, "https://127.0.0.1:8443"
	Hosts     int
	VMs       int         // per host
	TLS       *tls.Config // trusts the deployment unit; cloned
	Token     string      // join token good for Hosts uses
	connected atomic.Int64
	synced    atomic.Int64
	hosts     []*host
}

// Connected and Synced count the hosts whose tunnel is up, and those of them
// whose inventory the control plane has acknowledged.
func (s *Swarm) Connected() int { return int(s.connected.Load()) }
func (s *Swarm) Synced() int    { return int(s.synced.Load()) }

// Enroll gives every host its certificate.
func (s *Swarm) Enroll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: s.TLS.Clone(), MaxIdleConnsPerHost: 16},
		Timeout:   30 * time.Second,
	}
	defer client.CloseIdleConnections()
	s.hosts = make([]*host, s.Hosts)
	next := make(chan int)
	var wg sync.WaitGroup
	for range max(1, min(16, s.Hosts)) {
		wg.Go(func() {
			for i := range next {
				h, err := s.enroll(ctx, client, i)
				if err != nil {
					cancel(fmt.Errorf("enrol simulated host %d: %w", i, err))
					return
				}
				s.hosts[i] = h
			}
		})
	}
feed:
	for i := range s.Hosts {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func (s *Swarm) enroll(ctx context.Context, client *http.Client, n int) (*host, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	h := &host{swarm: s, n: n, name: fmt.Sprintf("sim%05d", n)}
	h.id = wire.HostID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n))
	var issued wire.Certificate
	err = post(ctx, client, s.URL+"/api/v1/enroll", wire.EnrollRequest{
		Token:  s.Token,
		CSR:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
		HostID: h.id, Hostname: h.name, Kind: "host",
	}, &issued)
	if err != nil {
		return nil, err
	}
	leaf, _ := pem.Decode([]byte(issued.Certificate))
	if leaf == nil {
		return nil, fmt.Errorf("the deployment unit issued no PEM certificate")
	}
	h.cert = tls.Certificate{Certificate: [][]byte{leaf.Bytes}, PrivateKey: key}
	return h, nil
}

// Run keeps all tunnels up until ctx ends.
func (s *Swarm) Run(ctx context.Context) error {
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	u.Scheme, u.Path = "wss", wire.TunnelPath
	var wg sync.WaitGroup
	for _, h := range s.hosts {
		wg.Go(func() { h.run(ctx, u.String()) })
	}
	wg.Wait()
	return ctx.Err()
}

// host is one simulated host.
type host struct {
	swarm *Swarm
	n     int
	name  string
	id    wire.HostID
	cert  tls.Certificate
	epoch atomic.Uint64
}

func (h *host) run(ctx context.Context, endpoint string) {
	conf := h.swarm.TLS.Clone()
	conf.Certificates = []tls.Certificate{h.cert}
	var wg sync.WaitGroup
	defer wg.Wait()
	k := &tunnel.Keeper{
		Endpoints: []string{endpoint},
		Dialer:    &tunnel.Dialer{TLS: conf, Timeout: 30 * time.Second},
		Config:    tunnel.Config{Log: slog.New(slog.DiscardHandler)},
		Up: func(session *tunnel.Session) {
			h.swarm.connected.Add(1)
			wg.Go(func() { h.greet(ctx, session) })
		},
		Down: func(*tunnel.Session, error) { h.swarm.connected.Add(-1) },
	}
	_ = k.Run(ctx)
}

// greet says hello and sends what the control plane lacks, then leaves the
// tunnel idle.
func (h *host) greet(ctx context.Context, session *tunnel.Session) {
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return session.Dial(ctx, wire.ServiceResmgr)
			},
			DisableKeepAlives: true,
		},
		Timeout: time.Minute,
	}
	if err := h.sync(ctx, client); err != nil {
		_ = session.Close(err.Error())
		return
	}
	h.swarm.synced.Add(1)
	select {
	case <-session.Done():
	case <-ctx.Done():
	}
	h.swarm.synced.Add(-1)
}

func (h *host) sync(ctx context.Context, client *http.Client) error {
	epoch := h.epoch.Add(1)
	kinds := h.inventory()
	hello := wire.Hello{
		Version: wire.Version, Agent: "pf9-swarm/1", Hostname: h.name, Hypervisor: "kvm",
		Epoch: epoch, Time: time.Now().UTC(), Digests: make(map[string]wire.Digest),
	}
	for kind, rs := range kinds {
		var d wire.Digest
		for i := range rs {
			d.Add(rs[i].Hash())
		}
		hello.Digests[kind] = d
		hello.Sources = append(hello.Sources, wire.SourceStatus{
			Name: kind, State: "ok", Since: hello.Time, Kinds: []string{kind}, Listed: hello.Time, Count: len(rs),
		})
	}
	var welcome wire.Welcome
	if err := post(ctx, client, "http://resmgr/v1/hello", hello, &welcome); err != nil {
		return err
	}
	for i, kind := range welcome.Need {
		var ack wire.Ack
		report := wire.Report{Epoch: epoch, Seq: uint64(i + 1), Full: kind, Begin: true, End: true, Upserts: kinds[kind]}
		if err := post(ctx, client, "http://resmgr/v1/report", report, &ack); err != nil {
			return err
		}
	}
	return nil
}

// inventory makes the host's resources up; it is the same each time.
func (h *host) inventory() map[string][]wire.Resource {
	kinds := map[string][]wire.Resource{
		inventory.KindHost: {resource(inventory.KindHost, string(h.id), h.name, inventory.Host{
			Hostname: h.name, OS: inventory.OS{ID: "debian", Version: "12", Kernel: "6.1.0", Arch: "x86_64"},
			CPU: inventory.CPU{Vendor: "GenuineIntel", Sockets: 2, Cores: 32, Threads: 64}, MemoryBytes: 256 << 30,
		})},
	}
	for i := range h.swarm.VMs {
		id := fmt.Sprintf("%08x-%04x-4000-9000-%012x", h.n, i, h.n)
		kinds[inventory.KindVM] = append(kinds[inventory.KindVM], resource(inventory.KindVM, id, fmt.Sprintf("vm%02d.%s", i, h.name), inventory.VM{
			State: []string{inventory.VMRunning, inventory.VMShutOff}[i%2], Hypervisor: "kvm", Persistent: true,
			VCPUs: 2, MaxVCPUs: 4, MemoryBytes: 4 << 30, MaxMemoryBytes: 8 << 30, Arch: "x86_64", Machine: "pc-q35-7.2", OSType: "hvm",
			Disks: []inventory.Disk{{Target: "vda", Bus: "virtio", Device: "disk", Type: "file", Source: "/var/lib/libvirt/images/" + id + ".qcow2", Format: "qcow2", CapacityBytes: 20 << 30, AllocationBytes: 7 << 30}},
			NICs:  []inventory.NIC{{MAC: fmt.Sprintf("52:54:00:%02x:%02x:%02x", h.n>>8&255, h.n&255, i), Model: "virtio", Type: "bridge", Source: "br0", Target: fmt.Sprintf("vnet%d", i)}},
		}))
	}
	return kinds
}

func resource(kind, id, name string, spec any) wire.Resource {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err) // our own structs
	}
	return wire.Resource{Key: plugin.Key{Kind: kind, ID: id}, Name: name, Spec: b, Generation: 1, Source: kind}
}

func post(ctx context.Context, client *http.Client, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s: %.300s", url, resp.Status, answer)
	}
	return json.Unmarshal(answer, out)
}
