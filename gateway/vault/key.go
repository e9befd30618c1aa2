package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// header is what stands before the sealed part, in clear but authenticated. The
// marks tell a wrong key from a wrong machine before anything is decrypted.
type header struct {
	product  bool // bound to the product UUID too
	keyMark  [markBytes]byte
	hostMark [markBytes]byte
}

func (h *header) bytes() []byte {
	out := []byte(magic)
	bound := byte(0)
	if h.product {
		bound = 1
	}
	out = append(out, bound)
	out = append(out, h.keyMark[:]...)
	return append(out, h.hostMark[:]...)
}

const (
	headerBytes = len(magic) + 1 + 2*markBytes
	leastSealed = 12 + 16 // nonce and tag
)

// parse takes the file apart.
func parse(b []byte) (h header, sealed []byte, err error) {
	switch {
	case len(b) > maxFile:
		return h, nil, fmt.Errorf("%d bytes are too many", len(b))
	case !bytes.HasPrefix(b, []byte(magic)):
		return h, nil, errors.New("this is no vault, or one of a newer gateway")
	case len(b) < headerBytes+leastSealed:
		return h, nil, errors.New("the file is cut short: restore it or delete it, and set the accounts again")
	}
	rest := b[len(magic):]
	h.product = rest[0] == 1
	copy(h.keyMark[:], rest[1:])
	copy(h.hostMark[:], rest[1+markBytes:])
	return h, b[headerBytes:], nil
}

// mark recognises a part of the key without giving it away.
func mark(what string, part []byte) (m [markBytes]byte) {
	sum := sha256.Sum256(append([]byte("pf9 vault "+what+"\x00"), part...))
	copy(m[:], sum[:])
	return m
}

// parts are what the key is made from.
type parts struct{ key, host []byte }

// parts reads them. product says whether the product UUID is one of them.
func (v *Vault) parts(product bool) (parts, error) {
	key, err := v.readKey()
	if err != nil {
		return parts{}, err
	}
	id, err := identity(v.opts.MachineID)
	if err != nil {
		return parts{}, fmt.Errorf("machine-id: %w", err)
	}
	host := append([]byte("machine-id="), id...)
	if product {
		uuid, err := identity(v.opts.ProductUUID)
		if err != nil {
			return parts{}, fmt.Errorf("product UUID, which the vault is bound to: %w: run as the user who sealed it, root as a rule", err)
		}
		host = append(append(host, " product-uuid="...), uuid...)
	}
	return parts{key: key, host: host}, nil
}

// newHeader binds a vault: to what the file that is there is bound to, or to all
// that can be read.
func (v *Vault) newHeader() (header, error) {
	h := header{}
	if b, err := os.ReadFile(v.File()); err == nil {
		old, _, err := parse(b)
		if err != nil {
			return h, err
		}
		h.product = old.product
	} else {
		_, err := identity(v.opts.ProductUUID)
		h.product = err == nil
	}
	p, err := v.parts(h.product)
	if err != nil {
		return h, err
	}
	h.keyMark, h.hostMark = mark("key", p.key), mark("host", p.host)
	return h, nil
}

// identity reads a file that identifies the machine.
func identity(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	b = bytes.ToLower(bytes.TrimSpace(b))
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	return b, nil
}

// readKey reads the key file, and refuses one that others may read.
func (v *Vault) readKey() ([]byte, error) {
	file := v.KeyFile()
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the key %s is gone: restore it, or delete the vault and set the accounts again: %w", file, err)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read the key %s: chmod 600 it, and change the passwords if others did", file)
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(key) != keyBytes {
		return nil, fmt.Errorf("the key %s has %d bytes, not %d: restore it, or delete it and the vault and set the accounts again", file, len(key), keyBytes)
	}
	return key, nil
}

// makeKey makes the key file unless there is one.
func (v *Vault) makeKey() error {
	f, err := os.OpenFile(v.KeyFile(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	_, err = f.Write(key)
	return errors.Join(err, f.Sync(), f.Close())
}

// lock keeps other processes from writing at the same time.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another process writes it just now, try again: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
