// Package pairingcode lets a secret through a deployment unit that must not read
// it, to a gateway behind it.
//
// The gateway makes an [Offer]: a key for this one purpose, and a code that is
// shown on the gateway and carried to the sender by a person. Half of the code is
// the key's fingerprint, so that the sender knows the key that the deployment
// unit hands on; the other half is a secret that only who has the code can put
// into a message, so that the gateway knows the sender. It keeps no offers, and
// counts no attempts.
package pairingcode

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

const (
	keyBytes    = 10 // of the key's SHA-256: who wants another key with it tries 2^80
	secretBytes = 5  // that nobody can try without the gateway, which counts
	groupSize   = 6  // characters between two "-"
	info        = "openpf9 pairing 1"
	alphabet    = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // without what looks alike
)

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// Code is what a person carries from the gateway to the sender.
type Code struct {
	key    [keyBytes]byte
	secret [secretBytes]byte
}

// String writes the code in groups, "0123AB-...".
func (c Code) String() string {
	text := encoding.EncodeToString(append(c.key[:], c.secret[:]...))
	var groups []string
	for len(text) > groupSize {
		groups, text = append(groups, text[:groupSize]), text[groupSize:]
	}
	return strings.Join(append(groups, text), "-")
}

// Parse reads a code as people type it: in either case, with or without "-" and
// blanks, and with what looks alike for the right letter.
func Parse(text string) (Code, error) {
	text = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(strings.TrimSpace(text)))
	b, err := encoding.DecodeString(text)
	if err != nil || len(b) != keyBytes+secretBytes {
		return Code{}, errors.New("this is no pairing code, which is four groups of six letters and digits: get one on the gateway, by pf9-gateway pairing-code")
	}
	var c Code
	copy(c.secret[:], b[copy(c.key[:], b):])
	return c, nil
}

// Seal encrypts a message to the gateway's key, after it was found to be the
// one of the code.
func (c Code) Seal(publicKey, message []byte) ([]byte, error) {
	if fingerprint(publicKey) != c.key {
		return nil, errors.New("the key is not the one of this pairing code: the code is mistyped or an older one, or somebody between has put in a key of his own; nothing was sent")
	}
	key, err := kem().NewPublicKey(publicKey)
	if err != nil {
		return nil, fmt.Errorf("the gateway's key: %w", err)
	}
	return hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), append(bytes.Clone(c.secret[:]), message...))
}

// Offer is a key and its code.
type Offer struct {
	private hpke.PrivateKey
	code    Code
}

// NewOffer makes a key and a code.
func NewOffer() (*Offer, error) {
	private, err := kem().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("make a pairing key: %w", err)
	}
	o := &Offer{private: private}
	o.code.key = fingerprint(o.PublicKey())
	_, _ = rand.Read(o.code.secret[:]) // never fails
	return o, nil
}

// Code is to be shown to the gateway's administrator.
func (o *Offer) Code() Code { return o.code }

// PublicKey may be known to anybody.
func (o *Offer) PublicKey() []byte { return o.private.PublicKey().Bytes() }

// Open decrypts a message of somebody who has the code.
func (o *Offer) Open(sealed []byte) ([]byte, error) {
	plain, err := hpke.Open(o.private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), sealed)
	if err != nil || len(plain) < secretBytes || subtle.ConstantTimeCompare(plain[:secretBytes], o.code.secret[:]) != 1 {
		return nil, errors.New("this was not sealed with the gateway's pairing code")
	}
	return plain[secretBytes:], nil
}

// kem resists also who keeps the message for a quantum computer.
func kem() hpke.KEM { return hpke.MLKEM768X25519() }

func fingerprint(publicKey []byte) (f [keyBytes]byte) {
	sum := sha256.Sum256(append([]byte(info), publicKey...))
	copy(f[:], sum[:])
	return f
}
