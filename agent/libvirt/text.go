package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	maxID   = 255     // bytes of a resource's id or name
	maxText = 4 << 10 // bytes of a title or description that are shown
)

// uuidText returns the usual form, 8-4-4-4-12 digits.
func uuidText(id rpc.UUID) string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// parseUUID reads what uuidText writes, and no other form.
func parseUUID(s string) (rpc.UUID, bool) {
	var id rpc.UUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || copy(id[:], b) != len(id) {
		return id, false
	}
	return id, uuidText(id) == s
}

// clip shortens a text to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// fitID returns s, or a hash of it where it is too long for an id.
func fitID(s string) string {
	if len(s) <= maxID {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// maxWords bounds the strings that are kept once for all VMs.
const maxWords = 1024

// intern replaces the strings that many VMs share by one copy each.
func (v *VMs) intern(vm *inventory.VM) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.once(&vm.Hypervisor, &vm.Arch, &vm.Machine, &vm.OSType)
	for i := range vm.Disks {
		d := &vm.Disks[i]
		v.once(&d.Target, &d.Bus, &d.Device, &d.Type, &d.Format)
	}
	for i := range vm.NICs {
		n := &vm.NICs[i]
		v.once(&n.Model, &n.Type, &n.Source)
	}
	for i := range vm.Console {
		v.once(&vm.Console[i].Type, &vm.Console[i].Listen)
	}
	if n := vm.Nova; n != nil {
		v.once(&n.Flavor, &n.User, &n.Project, &n.Image, &n.Package)
	}
}

func (v *VMs) once(words ...*string) {
	for _, w := range words {
		if same, ok := v.words[*w]; ok {
			*w = same
		} else if len(v.words) < maxWords {
			v.words[*w] = *w
		}
	}
}
