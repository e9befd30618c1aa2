package testvcenter

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"time"
)

// NewCertificate makes a self-signed certificate for an address; one that has
// expired if valid is negative.
func NewCertificate(address string, valid time.Duration) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	until := time.Now().Add(valid)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: address},
		NotBefore: until.Add(-valid.Abs() - time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func pinOf(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// SetCertificate puts another certificate in the place of the server's, for new
// connections, and ends the old ones.
func (s *Server) SetCertificate(c tls.Certificate) {
	s.cert.Store(&c)
	s.proxy.cut()
}

// Certificate is the server's.
func (s *Server) Certificate() tls.Certificate { return *s.cert.Load() }
