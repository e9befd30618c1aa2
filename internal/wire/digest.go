package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Digest sums up all resources of one kind on one host, whatever their order.
// Equal digests mean equal lists.
type Digest struct {
	Count int `json:"count"`
	// Sum is the XOR of the resources' hashes, 16 hexadecimal digits.
	Sum Hash `json:"sum"`
}

// Add counts a resource in, Remove out.
func (d *Digest) Add(h Hash)    { d.Count++; d.Sum ^= h }
func (d *Digest) Remove(h Hash) { d.Count--; d.Sum ^= h }

// Hash is 64 bits of a resource's SHA-256.
type Hash uint64

// MarshalText writes 16 hexadecimal digits: JSON numbers end at 2^53.
func (h Hash) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(h)), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 16 {
		return fmt.Errorf("digest %.20q: want 16 hexadecimal digits", b)
	}
	var v uint64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return fmt.Errorf("digest %.20q: want 16 hexadecimal digits", b)
		}
	}
	*h = Hash(v)
	return nil
}

// Hash is taken over what the far side must hold: key, name, parent, spec and
// ext, not generation or source. Spec and Ext must be compact JSON as
// encoding/json writes it, which a trip over the wire leaves alone.
func (r *Resource) Hash() Hash {
	h := sha256.New()
	var n [4]byte
	for _, s := range []string{r.Kind, r.ID, r.Name, r.Parent.Kind, r.Parent.ID} {
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	binary.BigEndian.PutUint32(n[:], uint32(len(r.Spec)))
	h.Write(n[:])
	h.Write(r.Spec)
	h.Write(r.Ext)
	var sum [sha256.Size]byte
	return Hash(binary.BigEndian.Uint64(h.Sum(sum[:0])))
}
