package pki

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Fingerprint is the SHA-256 of a certificate, which vSphere calls a thumbprint;
// zero: none is given. It is written in upper case with colons, as vCenter's pages
// and openssl show it.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns a certificate's.
func FingerprintOf(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.Raw) }

// ParseFingerprint reads a fingerprint in either case, with colons, blanks or
// nothing between the bytes. An empty text is the zero one.
func ParseFingerprint(text string) (Fingerprint, error) {
	digits := strings.Map(func(r rune) rune {
		if r == ':' || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	sum, err := hex.DecodeString(digits)
	switch {
	case err == nil && len(sum) == sha256.Size && Fingerprint(sum) == Fingerprint{}:
		return Fingerprint{}, errors.New("no certificate has a thumbprint of zeros alone")
	case err == nil && len(sum) == sha256.Size:
		return Fingerprint(sum), nil
	case text == "":
		return Fingerprint{}, nil
	case err == nil && len(sum) == sha1.Size:
		return Fingerprint{}, errors.New("this is a SHA-1 thumbprint, which can be forged: want the SHA-256, as openssl x509 -noout -fingerprint -sha256 shows it")
	case err != nil:
		return Fingerprint{}, fmt.Errorf("%.100q is no SHA-256 thumbprint: want 64 hexadecimal digits, with or without colons", text)
	}
	return Fingerprint{}, fmt.Errorf("this thumbprint has %d hexadecimal digits, and a SHA-256 has 64: was it copied whole?", len(digits))
}

// UnmarshalText is ParseFingerprint.
func (f *Fingerprint) UnmarshalText(b []byte) (err error) {
	*f, err = ParseFingerprint(string(b))
	return err
}

// String is empty for the zero fingerprint.
func (f Fingerprint) String() string {
	if f == (Fingerprint{}) {
		return ""
	}
	return Colons(f[:])
}

// MarshalText is String.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Colons writes a certificate's hash of any kind as "AB:CD:EF".
func Colons(sum []byte) string { return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":") }
