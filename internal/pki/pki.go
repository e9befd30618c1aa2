// Package pki makes and reads the certificates of one deployment unit: its
// authority, the certificates of its hosts and gateways, and its own server
// certificate. It keeps nothing and asks nobody; whether a certificate has been
// revoked is the certificate repository's to say.
//
// Keys are ECDSA P-256. A host's name is a URI in its certificate's subject
// alternative names: spiffe://<deployment unit>/host/<uuid>, or /gateway/.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

// The kinds of peers.
const (
	KindHost    = "host"
	KindGateway = "gateway"
)

// Identity is who a certificate names.
type Identity struct {
	DU   string // the deployment unit's name, in lower case
	Kind string // KindHost or KindGateway
	Host wire.HostID
}

// URI returns the identity as certificates carry it.
func (id Identity) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.DU, Path: "/" + id.Kind + "/" + string(id.Host)}
}

// String returns the identity's URI.
func (id Identity) String() string { return id.URI().String() }

// IdentityOf reads the identity from a certificate. It does not verify it.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "spiffe" {
		return Identity{}, errors.New("the certificate does not name a host: it must have exactly one spiffe URI")
	}
	u := c.URIs[0]
	kind, host, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	id := Identity{DU: u.Host, Kind: kind, Host: wire.HostID(host)}
	if !ok || u.Host == "" || id.String() != u.String() {
		return Identity{}, fmt.Errorf("the certificate's name %.200q is not of the form spiffe://<deployment unit>/<kind>/<uuid>", u)
	}
	if kind != KindHost && kind != KindGateway {
		return Identity{}, fmt.Errorf("the certificate names a %.40q, neither a host nor a gateway", kind)
	}
	if err := id.Host.Validate(); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// NewKey makes a private key.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewRequest makes a certificate request. Only its public key will be used.
func NewRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseRequest reads the public key of a certificate request, which must be
// signed with the private one. It accepts ECDSA P-256 only.
func ParseRequest(text string) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("the certificate request is not one PEM block of type CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate request cannot be read: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed with its own key: %w", err)
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request's key is not ECDSA P-256")
	}
	return key, nil
}

// Pin is what join tokens carry of an authority: the first 32 hexadecimal
// digits of the SHA-256 of its public key (SubjectPublicKeyInfo).
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:16])
}

// EncodeCertificates writes certificates as PEM.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// ParseCertificates reads one or more PEM certificates.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("found a PEM block of type %.40q, want CERTIFICATE", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	return certs, nil
}

// EncodeKey writes a private key as PEM (PKCS #8).
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads what EncodeKey wrote.
func ParseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM private key found")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the private key is %T, want ECDSA", key)
	}
	return ec, nil
}

// Serial writes a certificate's serial number as it is stored and shown.
func Serial(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive and of one length
	return new(big.Int).SetBytes(b), nil
}

// skew is how far clocks may be apart: certificates begin earlier by that.
const skew = 5 * time.Minute
