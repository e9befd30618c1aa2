package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/vault"
)

// machine is where a vault lives: its directory, and files that identify it.
func machine(t *testing.T, id, uuid string) vault.Options {
	t.Helper()
	dir := t.TempDir()
	o := vault.Options{Dir: filepath.Join(dir, "vault"), MachineID: filepath.Join(dir, "machine-id"), ProductUUID: filepath.Join(dir, "product_uuid")}
	write(t, o.MachineID, id)
	if uuid != "" {
		write(t, o.ProductUUID, uuid)
	}
	return o
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// plain is a secret as it was given.
func plain(s vault.Secret) vault.Secret {
	s.Set = time.Time{}
	return s
}

func open(t *testing.T, o vault.Options) *vault.Vault {
	t.Helper()
	v, err := vault.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var secret = vault.Secret{User: "gw@vsphere.local", Password: "corréct horse"}

func TestAccountsAreKept(t *testing.T) {
	o := machine(t, "4c4c4544\n", "UUID-1\n")
	writer, reader := open(t, o), open(t, o)
	if _, err := reader.Get("east"); !errors.Is(err, vault.ErrNoAccount) {
		t.Errorf("Get from an empty vault: %v", err)
	}
	for name, s := range map[string]vault.Secret{"east": secret, "west": {User: "u", Password: ""}} {
		if err := writer.Set(name, s); err != nil {
			t.Fatal(err)
		}
		if got, err := reader.Get(name); plain(got) != s || got.Set.IsZero() || err != nil {
			t.Errorf("Get(%s) = %v, %v", name, got, err)
		}
	}
	rotated := vault.Secret{User: secret.User, Password: "new"}
	if err := writer.Set("east", rotated); err != nil {
		t.Fatal(err)
	}
	if got, err := reader.Get("east"); plain(got) != rotated || err != nil {
		t.Errorf("after a rotation Get = %v, %v", got, err)
	}
	if err := writer.Delete("west"); err != nil {
		t.Fatal(err)
	}
	if names, err := reader.Names(); !slices.Equal(names, []string{"east"}) || err != nil {
		t.Errorf("Names = %v, %v", names, err)
	}
}

func TestNothingIsInClear(t *testing.T) {
	o := machine(t, "id", "uuid")
	v := open(t, o)
	if err := v.Set("east", secret); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(o.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret.Password)) || bytes.Contains(b, []byte(secret.User)) {
			t.Errorf("%s shows the account", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(form, secret); strings.Contains(text, secret.Password) {
			t.Errorf("%s shows the password: %s", form, text)
		}
	}
}

func TestErrorsNameTheCause(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, o vault.Options, v *vault.Vault)
		want  string
	}{
		{"another machine-id", func(t *testing.T, o vault.Options, _ *vault.Vault) { write(t, o.MachineID, "other") }, "another machine"},
		{"another product UUID", func(t *testing.T, o vault.Options, _ *vault.Vault) { write(t, o.ProductUUID, "other") }, "another machine"},
		{"product UUID not to be read", func(t *testing.T, o vault.Options, _ *vault.Vault) { remove(t, o.ProductUUID) }, "run as the user who sealed it"},
		{"another key", func(t *testing.T, _ vault.Options, v *vault.Vault) { write(t, v.KeyFile(), strings.Repeat("k", 32)) }, "is not the key"},
		{"a short key", func(t *testing.T, _ vault.Options, v *vault.Vault) { write(t, v.KeyFile(), "k") }, "has 1 bytes"},
		{"no key", func(t *testing.T, _ vault.Options, v *vault.Vault) { remove(t, v.KeyFile()) }, "is gone: restore it"},
		{"a key that others read", func(t *testing.T, _ vault.Options, v *vault.Vault) { chmod(t, v.KeyFile(), 0o640) }, "chmod 600"},
		{"one bit less", func(t *testing.T, _ vault.Options, v *vault.Vault) { flip(t, v.File(), -1) }, "damaged or was changed"},
		{"an unbound header", func(t *testing.T, _ vault.Options, v *vault.Vault) { flip(t, v.File(), len("pf9-vault 1\n")) }, "another machine"},
		{"half a file", func(t *testing.T, _ vault.Options, v *vault.Vault) { write(t, v.File(), "pf9-vault 1\nab") }, "cut short"},
		{"another file", func(t *testing.T, _ vault.Options, v *vault.Vault) { write(t, v.File(), "root:x:0:0") }, "no vault"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := machine(t, "id", "uuid")
			v := open(t, o)
			if err := v.Set("east", secret); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, o, v)
			if s, err := v.Get("east"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Get = %v, %v, want an error with %q", s, err, test.want)
			}
			if err := v.Set("west", secret); err == nil {
				t.Error("Set writes over a vault that does not open")
			}
		})
	}
}

func TestVaultWithoutProductUUIDNeedsNone(t *testing.T) {
	o := machine(t, "id", "")
	if err := open(t, o).Set("east", secret); err != nil {
		t.Fatal(err)
	}
	write(t, o.ProductUUID, "readable later")
	v := open(t, o)
	if err := v.Set("west", secret); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Get("east"); plain(got) != secret || err != nil {
		t.Errorf("Get = %v, %v", got, err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("pf9-vault 1\n"))
	f.Add([]byte("pf9-vault 1\n\x01aaaabbbbnonce-nonce-tagtagtagtagtag!"))
	dir := f.TempDir()
	o := vault.Options{Dir: dir, MachineID: filepath.Join(dir, "machine-id"), ProductUUID: filepath.Join(dir, "none")}
	if err := os.WriteFile(o.MachineID, []byte("id"), 0o600); err != nil {
		f.Fatal(err)
	}
	v, err := vault.Open(o)
	if err == nil {
		err = v.Set("east", secret)
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, v.File(), string(b))
		if s, err := v.Get("east"); err == nil {
			t.Errorf("a made-up file gives %v", s)
		}
	})
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a file; at counts from the end if it is negative.
func flip(t *testing.T, file string, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	write(t, file, string(b))
}
