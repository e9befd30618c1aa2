package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"strings"
)

// The prefixes of tokens say what a string that somebody found is.
const (
	JoinToken = "pf9j1" // pf9j1.<id>.<secret>.<pin of the authority>
	APIToken  = "pf9a1" // pf9a1.<id>.<secret>
)

const (
	tokenID     = 12 // base32 digits
	tokenSecret = 26 // base32 digits, 130 bits
)

// Token is a secret that can be looked up by its id.
type Token struct {
	Prefix, ID, Secret string
	Pin                string // of a join token: see [Pin]
}

// NewToken makes a token. A pin is for join tokens only.
func NewToken(prefix, pin string) Token {
	return Token{Prefix: prefix, ID: digits(tokenID), Secret: digits(tokenSecret), Pin: pin}
}

func digits(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b)[:n])
}

// String returns the token as it is handed over.
func (t Token) String() string {
	s := t.Prefix + "." + t.ID + "." + t.Secret
	if t.Prefix == JoinToken {
		s += "." + t.Pin
	}
	return s
}

// ErrToken says that a string is no token of the wanted kind.
var ErrToken = errors.New("this is not a token of this kind; was it copied whole?")

// ParseToken reads a token of one kind.
func ParseToken(prefix, text string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	want := 3
	if prefix == JoinToken {
		want = 4
	}
	if len(parts) != want || parts[0] != prefix || !token32(parts[1], tokenID) || !token32(parts[2], tokenSecret) {
		return Token{}, ErrToken
	}
	t := Token{Prefix: prefix, ID: parts[1], Secret: parts[2]}
	if want == 4 {
		if b, err := hex.DecodeString(parts[3]); err != nil || len(b) != 16 || strings.ToLower(parts[3]) != parts[3] {
			return Token{}, ErrToken
		}
		t.Pin = parts[3]
	}
	return t, nil
}

func token32(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// Hash is what is kept of a token's secret.
func (t Token) Hash() string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

// Matches compares the token's secret with a kept hash in constant time.
func (t Token) Matches(hash string) bool {
	return subtle.ConstantTimeCompare([]byte(t.Hash()), []byte(hash)) == 1
}
