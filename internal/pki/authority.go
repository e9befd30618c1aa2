package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Lifetimes of certificates.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	ServerLife    = 90 * 24 * time.Hour
	HostLife      = 7 * 24 * time.Hour
)

// RenewAt is when a certificate should be replaced: after two thirds of its life.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

// Authority is a deployment unit's certificate authority.
type Authority struct {
	DU   string
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority for the deployment unit of that name.
func NewAuthority(du string, now time.Time) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "openpf9 authority of " + du},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(AuthorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := sign(template, nil, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return &Authority{DU: strings.ToLower(du), Cert: cert, key: key}, nil
}

// LoadAuthority takes up an authority from its certificate and key, as PEM.
func LoadAuthority(du string, cert, key []byte) (*Authority, error) {
	certs, err := ParseCertificates(cert)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	k, err := ParseKey(key)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	if !k.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("load authority: the key is not the certificate's")
	}
	return &Authority{DU: strings.ToLower(du), Cert: certs[0], key: k}, nil
}

// Encode returns certificate and key as PEM, for LoadAuthority.
func (a *Authority) Encode() (cert, key []byte, err error) {
	key, err = EncodeKey(a.key)
	return EncodeCertificates(a.Cert), key, err
}

// IssuePeer makes the certificate of a host or gateway. The name is the
// caller's word, not the request's.
func (a *Authority) IssuePeer(id Identity, key *ecdsa.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	if id.DU != a.DU {
		return nil, fmt.Errorf("issue certificate for %s: the authority is of %s", id, a.DU)
	}
	return sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: string(id.Host)},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{id.URI()},
	}, a.Cert, key, a.key)
}

// IssueServer makes a server certificate for names, which may be addresses. It
// carries the authority behind it, so that whoever holds its pin can find it.
func (a *Authority) IssueServer(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: a.DU},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(ServerLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	leaf, err := sign(template, a.Cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, a.Cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// sign fills in the serial number and signs; a nil parent means itself.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
