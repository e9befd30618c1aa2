package gateway

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/openpf9/openpf9/gateway/vcenter"
)

// kept are the VMs that are never delegated, whatever was chosen: the gateway's own,
// on whose disk are the accounts of all vCenters, and those of the vCenters, which
// could do everything.
type kept struct {
	mu       sync.Mutex // guards the fields below
	own      vcenter.Marks
	vcenters []*site
}

// set says which vCenters there are.
func (k *kept) set(all []*site) {
	slices.SortFunc(all, func(a, b *site) int { return cmp.Compare(a.name, b.name) })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.vcenters = all
}

// marks are those of all VMs that are kept. A vCenter may run in another one.
func (k *kept) marks() []vcenter.Marks {
	k.mu.Lock()
	all, sites := []vcenter.Marks{k.own}, k.vcenters
	k.mu.Unlock()
	for _, st := range sites {
		m := vcenter.Marks{Of: "vCenter " + st.name, Addresses: st.source.Obeyed()}
		host := (&url.URL{Host: st.conf.URL.Host}).Hostname()
		if _, err := netip.ParseAddr(host); err == nil {
			m.Addresses = append(m.Addresses, host)
		} else {
			m.Names = []string{strings.TrimSuffix(host, ".")}
		}
		all = append(all, m)
	}
	return all
}

// in lists the kept VMs of a vCenter for people.
func (k *kept) in(source *vcenter.Source) []string {
	var all []string
	for _, b := range source.Bearers(k.marks()) {
		all = append(all, fmt.Sprintf("%s (%s)", b.Path, b.Of))
	}
	return all
}

// machineUUID is the credential by which systemd, as root, passes on what the
// firmware calls this machine. The file itself is for root to read.
const machineUUID = "machine-uuid"

// ownMarks are those of the machine that we run on, below the root directory. One
// that cannot be read is left out: there are no VMs by it where nobody can tell.
func ownMarks(root, credentials string) vcenter.Marks {
	m := vcenter.Marks{Of: "this gateway"}
	for _, file := range []string{filepath.Join(credentials, machineUUID), filepath.Join(root, "sys/class/dmi/id/product_uuid")} {
		if text, err := os.ReadFile(file); err == nil {
			m.UUIDs = append(m.UUIDs, spellings(strings.TrimSpace(string(text)))...)
		}
	}
	cards, _ := filepath.Glob(filepath.Join(root, "sys/class/net/*/device")) // the pattern is right
	for _, device := range cards {
		if text, err := os.ReadFile(filepath.Join(filepath.Dir(device), "address")); err == nil {
			m.MACs = append(m.MACs, strings.TrimSpace(string(text)))
		}
	}
	return m
}

// spellings are the two of a firmware's UUID: before SMBIOS 2.6 it was not said in
// which order the bytes of its first three groups are, and vCenter and the kernel may
// differ. What is no UUID, or that of every second machine, has none.
func spellings(uuid string) []string {
	b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil || len(b) != 16 || !slices.ContainsFunc(b, func(c byte) bool { return c != b[0] }) {
		return nil
	}
	other := slices.Clone(b)
	for _, group := range [][]byte{other[:4], other[4:6], other[6:8]} {
		slices.Reverse(group)
	}
	var all []string
	for _, b := range [][]byte{b, other} {
		all = append(all, fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
	}
	return all
}
