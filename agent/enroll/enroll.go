// Package enroll gives a host or gateway its identity: it trades a join token for a
// certificate, keeps key and certificate at the known paths, and renews them
// while the agent runs. The private key is made here and never leaves.
package enroll

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// Paths are where a host keeps its identity.
type Paths struct {
	HostID string // /etc/pf9/host_id.conf
	Cert   string // /etc/pf9/certs/hostagent/cert.pem
	Key    string // /etc/pf9/certs/hostagent/key.pem
	CA     string // /etc/pf9/certs/ca/cert.pem
	DropIn string // /etc/pf9/hostagent.conf.d/10-du.conf; the gateway has its own
	Proxy  string // /etc/pf9/comms_proxy_cfg.json
}

// PathsUnder returns the known paths below a directory in the place of /etc/pf9.
func PathsUnder(etc string) Paths {
	return Paths{
		HostID: filepath.Join(etc, "host_id.conf"),
		Cert:   filepath.Join(etc, "certs/hostagent/cert.pem"),
		Key:    filepath.Join(etc, "certs/hostagent/key.pem"),
		CA:     filepath.Join(etc, "certs/ca/cert.pem"),
		DropIn: filepath.Join(etc, "hostagent.conf.d/10-du.conf"),
		Proxy:  filepath.Join(etc, "comms_proxy_cfg.json"),
	}
}

// Request asks for an identity.
type Request struct {
	DU       string // URL of the deployment unit, "https://du.acme.example"
	Token    string // join token
	Hostname string
	Kind     string // pki.KindHost or pki.KindGateway
	Paths    Paths
	Proxy    func(*http.Request) (*url.URL, error) // nil: none
}

// Result is what was given.
type Result struct {
	Host     wire.HostID
	NotAfter time.Time
}

// ErrRefused says that the deployment unit will not have the host, and would not
// if it were asked again in the same way.
var ErrRefused = errors.New("the deployment unit refused")

// Enroll trades the token for a certificate and writes everything down. The
// deployment unit is trusted because its authority is the one that the token
// names; nothing is sent before that is known.
func Enroll(ctx context.Context, q Request) (Result, error) {
	token, err := pki.ParseToken(pki.JoinToken, q.Token)
	if err != nil {
		return Result{}, fmt.Errorf("join token: %w", err)
	}
	du, err := url.Parse(strings.TrimSuffix(q.DU, "/"))
	if err != nil || du.Scheme != "https" || du.Host == "" {
		return Result{}, fmt.Errorf("deployment unit %q: want https://host[:port]", q.DU)
	}
	id, err := HostID(q.Paths.HostID)
	if err != nil {
		return Result{}, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return Result{}, err
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		return Result{}, err
	}
	cert, err := ask(ctx, q, du, token.Pin, wire.EnrollRequest{
		Token: token.String(), CSR: string(csr), HostID: id, Hostname: q.Hostname, Kind: q.Kind,
	})
	if err != nil {
		return Result{}, err
	}
	if err := store(q.Paths, key, cert); err != nil {
		return Result{}, err
	}
	text := fmt.Sprintf("# Written by enrolment.\ndu = [%q]\n", du.String())
	if err := write(q.Paths.DropIn, []byte(text), 0o644); err != nil {
		return Result{}, err
	}
	return Result{id, cert.NotAfter}, nil
}

// ask sends the request to a deployment unit whose authority has the pin.
func ask(ctx context.Context, q Request, du *url.URL, pin string, body wire.EnrollRequest) (wire.Certificate, error) {
	var out wire.Certificate
	b, err := json.Marshal(body)
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, du.JoinPath("/api/v1/enroll").String(), bytes.NewReader(b))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{Proxy: q.Proxy, TLSClientConfig: pinned(pin), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return out, unreached(du, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return out, fmt.Errorf("ask the deployment unit: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		var problem struct{ Message string }
		if json.Unmarshal(text, &problem) != nil || problem.Message == "" {
			problem.Message = resp.Status
		}
		if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
			return out, fmt.Errorf("%w: %s", ErrRefused, problem.Message)
		}
		return out, fmt.Errorf("the deployment unit could not: %s", problem.Message)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, fmt.Errorf("read the deployment unit's answer: %w", err)
	}
	return out, nil
}

// unreached says why a deployment unit was not asked.
func unreached(du *url.URL, err error) error {
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err
	}
	if !netcause.Is(err) { // it is there, and no deployment unit of ours
		return fmt.Errorf("ask the deployment unit %s: %w", du.Host, err)
	}
	return fmt.Errorf("the deployment unit %s cannot be reached (%s): see that its address is right, and that outgoing TCP to its port %s is allowed, directly or by a proxy", du.Host, netcause.Words(err), cmp.Or(du.Port(), "443"))
}

// pinned trusts a server whose chain holds the authority with the pin and whose
// certificate is of that authority and for the name that was dialled.
func pinned(pin string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it, against the pin
		VerifyConnection: func(state tls.ConnectionState) error {
			roots := x509.NewCertPool()
			found := false
			for _, c := range state.PeerCertificates {
				if pki.Pin(c) == pin && c.IsCA {
					roots.AddCert(c)
					found = true
				}
			}
			if !found {
				return errors.New("this is not the deployment unit that the join token is from: its authority is another")
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: state.ServerName})
			return err
		},
	}
}

// HostID reads the host's id, or makes one and writes it down.
func HostID(file string) (wire.HostID, error) {
	b, err := os.ReadFile(file)
	if err == nil {
		for line := range strings.Lines(string(b)) {
			k, v, ok := strings.Cut(line, "=")
			if ok && strings.TrimSpace(k) == "host_id" {
				id := wire.HostID(strings.TrimSpace(v))
				if err := id.Validate(); err != nil {
					return "", fmt.Errorf("%s: %w", file, err)
				}
				return id, nil
			}
		}
		return "", fmt.Errorf("%s has no host_id; remove the file to get a new one", file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read host id: %w", err)
	}
	id := newHostID()
	return id, write(file, fmt.Appendf(nil, "[hostagent]\nhost_id = %s\n", id), 0o644)
}

// store writes down a certificate that fits the key.
func store(p Paths, key *ecdsa.PrivateKey, cert wire.Certificate) error {
	leaf, err := pki.ParseCertificates([]byte(cert.Certificate))
	if err != nil {
		return fmt.Errorf("the deployment unit's certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf[0].PublicKey) {
		return errors.New("the deployment unit's certificate is for another key")
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}

	// The new key waits beside the old one until its certificate is there, so
	// that a crash in between leaves one pair that fits.
	if err := write(p.CA, []byte(cert.CA), 0o644); err != nil {
		return err
	}
	if err := write(p.next(), text, 0o600); err != nil {
		return err
	}
	if err := write(p.Cert, []byte(cert.Certificate), 0o644); err != nil {
		return err
	}
	return os.Rename(p.next(), p.Key)
}

// next is where a new key waits for its certificate.
func (p Paths) next() string { return p.Key + ".next" }

// pair loads certificate and key, and ends a change that a crash cut short.
func (p Paths) pair() (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err == nil {
		return cert, nil
	}
	if cert, e := tls.LoadX509KeyPair(p.Cert, p.next()); e == nil {
		return cert, os.Rename(p.next(), p.Key)
	}
	return cert, err
}

func write(file string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(file, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// Identity is the host's certificate in use. Its methods may be called from
// several goroutines.
type Identity struct {
	paths Paths

	mu   sync.Mutex // guards the fields below
	cert *tls.Certificate
	ca   *x509.CertPool
}

// ErrNotEnrolled says that there is no certificate yet.
var ErrNotEnrolled = errors.New("this machine is not enrolled")

// Load reads the identity. Without a certificate the error is ErrNotEnrolled.
func Load(p Paths) (*Identity, error) {
	i := &Identity{paths: p}
	return i, i.reload()
}

func (i *Identity) reload() error {
	cert, err := i.paths.pair()
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotEnrolled
	}
	if err != nil {
		return fmt.Errorf("load the host's certificate: %w", err)
	}
	text, err := os.ReadFile(i.paths.CA)
	if err != nil {
		return fmt.Errorf("load the deployment unit's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s holds no PEM certificate", i.paths.CA)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cert, i.ca = &cert, pool
	return nil
}

// Certificate is the host's certificate.
func (i *Identity) Certificate() *x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert.Leaf
}

// Name is who the certificate says that we are.
func (i *Identity) Name() (pki.Identity, error) { return pki.IdentityOf(i.Certificate()) }

// TLS presents the certificate in use at the time of each connection.
func (i *Identity) TLS() *tls.Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    i.ca,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			i.mu.Lock()
			defer i.mu.Unlock()
			return i.cert, nil
		},
	}
}
