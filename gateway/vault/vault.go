// Package vault keeps the accounts of the gateway's vCenters at rest, for the
// gateway and for the command that sets them.
//
// All accounts are in one file, encrypted with AES-256-GCM. Its key is made
// from a random key file of mode 0600 and from what identifies the machine, so
// that neither a copy of the file, nor of the whole directory on another
// machine, gives an account away. It does not protect from root on this machine:
// what the gateway can read without an operator, root can.
//
// Nothing is kept in memory: an account that is set is seen by the next Get of
// every process.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
)

// The file's form: this line, the bindings, a nonce, and what is sealed.
const (
	magic     = "pf9-vault 1\n"
	markBytes = 4  // of a binding's hash
	keyBytes  = 32 // of the key file, and of the key made from it
	maxFile   = 1 << 20
	maxField  = 4096 // bytes of a user name or a password
)

// ErrNoAccount says that no account of the name was set.
var ErrNoAccount = errors.New("no account is set")

// Secret is an account of a vCenter.
type Secret struct {
	User     string    `json:"user"`
	Password string    `json:"password"`
	Set      time.Time `json:"set"` // when it was, by the vault
}

// String leaves the password out, wherever a Secret is printed.
func (s Secret) String() string { return s.User + " (password not shown)" }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Options says where the vault and what it is bound to are. Dir must be given.
type Options struct {
	// Dir holds the vault and its key, and is made with mode 0700 if need be.
	Dir string
	// MachineID and ProductUUID are files that identify the machine; empty
	// means /etc/machine-id and /sys/class/dmi/id/product_uuid. The first must
	// be there. A new vault is bound to the second if it can be read, and then
	// needs it for good: let the same user set and read accounts.
	MachineID, ProductUUID string
}

// Vault is the encrypted file. Make it with Open.
type Vault struct {
	opts Options
	mu   sync.Mutex // one writer at a time
}

// Open returns the vault in a directory. The vault itself is made by the first Set.
func Open(o Options) (*Vault, error) {
	if o.MachineID == "" {
		o.MachineID = "/etc/machine-id"
	}
	if o.ProductUUID == "" {
		o.ProductUUID = "/sys/class/dmi/id/product_uuid"
	}
	if o.Dir == "" {
		return nil, errors.New("open vault: no directory is given")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the vault's directory: %w", err)
	}
	return &Vault{opts: o}, nil
}

// File is the path of the encrypted file.
func (v *Vault) File() string { return filepath.Join(v.opts.Dir, "accounts.vault") }

// KeyFile is the path of the random part of the key.
func (v *Vault) KeyFile() string { return filepath.Join(v.opts.Dir, "vault.key") }

// Get returns the account of a name. Errors wrap [ErrNoAccount] if none is set.
func (v *Vault) Get(name string) (Secret, error) {
	all, err := v.read()
	if err != nil {
		return Secret{}, err
	}
	s, ok := all[name]
	if !ok {
		return Secret{}, fmt.Errorf("account %q: %w in %s: set it on the gateway", name, ErrNoAccount, v.File())
	}
	return s, nil
}

// Names returns the names that have accounts, sorted.
func (v *Vault) Names() ([]string, error) {
	all, err := v.read()
	return slices.Sorted(maps.Keys(all)), err
}

// Set puts an account in the place of the one of that name, if any.
func (v *Vault) Set(name string, s Secret) error {
	if name == "" || s.User == "" || len(name) > maxField || len(s.User) > maxField || len(s.Password) > maxField {
		return fmt.Errorf("set account %q: a name and a user are needed, each of at most %d bytes, like the password", name, maxField)
	}
	s.Set = time.Now().UTC()
	return v.change(func(all map[string]Secret) { all[name] = s })
}

// Delete forgets an account. It is no error if there is none.
func (v *Vault) Delete(name string) error {
	return v.change(func(all map[string]Secret) { delete(all, name) })
}

func (v *Vault) change(f func(map[string]Secret)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	unlock, err := lock(filepath.Join(v.opts.Dir, ".lock"))
	if err != nil {
		return fmt.Errorf("lock the vault: %w", err)
	}
	defer unlock()
	all, err := v.read()
	if err != nil {
		return err
	}
	if all == nil {
		all = make(map[string]Secret)
	}
	f(all)
	return v.write(all)
}

// read opens the sealed file. No file is an empty vault.
func (v *Vault) read() (map[string]Secret, error) {
	b, err := os.ReadFile(v.File())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read vault: %w", err)
	}
	head, sealed, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read vault %s: %w", v.File(), err)
	}
	aead, err := v.cipher(&head)
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", v.File(), err)
	}
	n := aead.NonceSize()
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], b[:len(b)-len(sealed)])
	if err != nil {
		return nil, fmt.Errorf("open vault %s: the file is damaged or was changed: restore it or delete it, and set the accounts again", v.File())
	}
	var all map[string]Secret
	if err := json.Unmarshal(plain, &all); err != nil {
		return nil, fmt.Errorf("open vault %s: %w", v.File(), err)
	}
	return all, nil
}

func (v *Vault) write(all map[string]Secret) error {
	if _, err := os.Stat(v.File()); errors.Is(err, fs.ErrNotExist) {
		if err := v.makeKey(); err != nil {
			return fmt.Errorf("make the vault's key: %w", err)
		}
	}
	plain, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode accounts: %w", err)
	}
	head, err := v.newHeader()
	if err != nil {
		return fmt.Errorf("seal vault: %w", err)
	}
	aead, err := v.cipher(&head)
	if err != nil {
		return fmt.Errorf("seal vault: %w", err)
	}
	out := head.bytes()
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	sealed := aead.Seal(nil, nonce, plain, out)
	out = append(append(out, nonce...), sealed...)
	if len(out) > maxFile {
		return fmt.Errorf("seal vault: %d bytes are too many accounts", len(out))
	}
	if err := atomicfile.Write(v.File(), out, 0o600); err != nil {
		return fmt.Errorf("write vault: %w", err)
	}
	return nil
}

// cipher makes the key, and names what of it is not what it was.
func (v *Vault) cipher(h *header) (cipher.AEAD, error) {
	parts, err := v.parts(h.product)
	if err != nil {
		return nil, err
	}
	switch {
	case h.keyMark != mark("key", parts.key):
		return nil, fmt.Errorf("%s is not the key that it was sealed with: restore that, or delete the vault and set the accounts again", v.KeyFile())
	case h.hostMark != mark("host", parts.host):
		return nil, errors.New("it was sealed on another machine (machine-id or product UUID differ): delete it and set the accounts again on this one")
	}
	key, err := hkdf.Key(sha256.New, parts.key, parts.host, "pf9 gateway vault", keyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
