package gateway

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/pki"
)

const (
	endpointValid = 2 * 365 * 24 * time.Hour
	endpointRenew = 30 * 24 * time.Hour // before its end, at a start
)

// endpoint is where programs on this machine, such as nova-compute, reach the
// broker of a vCenter: over TLS with a certificate of its own, which clients are
// given as their CA file, and with a secret that is good for nothing else.
type endpoint struct {
	cert   tls.Certificate
	secret string
}

// newEndpoint reads path.crt, path.key and path.secret, or makes them.
func newEndpoint(address, path string) (*endpoint, error) {
	e := &endpoint{}
	var err error
	if e.secret, err = secretIn(path + ".secret"); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	e.cert, err = tls.LoadX509KeyPair(path+".crt", path+".key")
	if err == nil && time.Until(e.cert.Leaf.NotAfter) > endpointRenew && e.cert.Leaf.VerifyHostname(host) == nil {
		return e, nil
	}
	e.cert, err = makeCertificate(host, path)
	return e, err
}

// secretIn reads the secret of a file, which is made if it is missing.
func secretIn(file string) (string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text() + "\n")
		err = atomicfile.Write(file, b, 0o600)
	}
	secret := strings.TrimSpace(string(b))
	if err == nil && secret == "" {
		err = fmt.Errorf("%s is empty: remove it, and a new one is made", file)
	}
	return secret, err
}

func makeCertificate(host, path string) (c tls.Certificate, err error) {
	key, err := pki.NewKey()
	if err != nil {
		return c, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return c, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "broker of pf9-gateway"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(endpointValid),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, // so that clients may have it as their CA file
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return c, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return c, err
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return c, err
	}
	if err := atomicfile.Write(path+".key", text, 0o600); err != nil {
		return c, err
	}
	if err := atomicfile.Write(path+".crt", pki.EncodeCertificates(leaf), 0o644); err != nil {
		return c, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
