package resmgr

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// The documents below are the field's: names, nesting and units are what the
// clients of /resmgr/v1 and v2 have read for years. They are worked out from
// the inventory when somebody asks.

type compatHost struct {
	ID             wire.HostID               `json:"id"`
	Roles          []string                  `json:"roles"`
	RoleStatus     string                    `json:"role_status,omitempty"`
	RoleDetails    map[string]string         `json:"roles_status_details"`
	RoleSettings   map[string]map[string]any `json:"role_settings,omitzero"`
	Info           compatInfo                `json:"info"`
	HypervisorInfo compatHypervisor          `json:"hypervisor_info"`
	Extensions     compatExtensions          `json:"extensions"`
	CertInfo       compatCert                `json:"cert_info"`
	Message        *compatMessage            `json:"message,omitempty"`
}

type compatInfo struct {
	Hostname     string     `json:"hostname"`
	OSFamily     string     `json:"os_family"`
	Arch         string     `json:"arch"`
	OSInfo       string     `json:"os_info"`
	Responding   bool       `json:"responding"`
	LastResponse *time.Time `json:"last_response_time"` // null while responding
	CPU          *compatCPU `json:"cpu_info,omitempty"`
}

type compatCPU struct {
	Sockets int `json:"cpu_sockets"`
	Cores   int `json:"cpu_cores"`
	Threads struct {
		Total   int `json:"total"`
		PerCore int `json:"per_core"`
	} `json:"cpu_threads"`
	Capacity struct {
		Total     string `json:"total"`
		PerSocket string `json:"per_socket"`
		PerCore   string `json:"per_core"`
		PerThread string `json:"per_thread"`
	} `json:"cpu_capacity"`
	Arch   string `json:"cpu_arch"`
	Vendor string `json:"cpu_vendor"`
	Model  struct {
		ID   int    `json:"model_id"`
		Name string `json:"model_name"`
	} `json:"cpu_model"`
	Features []string `json:"cpu_features"`
	Virtual  string   `json:"virtual/physical"`
}

type compatHypervisor struct {
	Type string `json:"hypervisor_type"`
}

// An extension's status is "ok", "error" or "timed-out".
type extension[T any] struct {
	Status string `json:"status"`
	Data   T      `json:"data"`
}

// compatExtensions are what the inventory says in the shape of the extensions
// that clients have always read, and beside them the results of the host's own
// executables. An executable of one of these four names is not shown: readers
// rely on the shape of ours.
type compatExtensions struct {
	Interfaces extension[compatInterfaces] `json:"interfaces"`
	Usage      extension[compatUsage]      `json:"resource_usage"`
	Volumes    extension[[]compatVolume]   `json:"volumes_present"`
	Addresses  extension[[]string]         `json:"ip_address"`

	others map[string]extension[json.RawMessage]
}

// MarshalJSON writes all extensions into one object.
func (x compatExtensions) MarshalJSON() ([]byte, error) {
	type ours compatExtensions
	text, err := json.Marshal(ours(x))
	if err != nil || len(x.others) == 0 {
		return text, err
	}
	others, err := json.Marshal(x.others)
	if err != nil {
		return nil, err
	}
	text[len(text)-1] = ','
	return append(text, others[1:]...), nil
}

type compatInterfaces struct {
	IP      map[string]string          `json:"iface_ip"`
	Info    map[string]compatInterface `json:"iface_info"`
	Bridges []string                   `json:"ovs_bridges"`
}

type compatInterface struct {
	MAC    string          `json:"mac"`
	Ifaces []compatAddress `json:"ifaces"`
}

type compatAddress struct {
	Addr    string `json:"addr"`
	Netmask string `json:"netmask"`
}

type compatUsage struct {
	CPU struct {
		Percent float64 `json:"percent"`
		Total   uint64  `json:"total"` // Hz of one processor
		Used    uint64  `json:"used"`
	} `json:"cpu"`
	Memory struct {
		Percent   float64 `json:"percent"`
		Total     uint64  `json:"total"`
		Available uint64  `json:"available"`
	} `json:"memory"`
	Disk struct {
		Percent float64 `json:"percent"`
		Total   uint64  `json:"total"`
		Used    uint64  `json:"used"`
	} `json:"disk"`
}

type compatVolume struct {
	Name string `json:"name"`
	Size string `json:"size"`
	Free string `json:"free"`
}

type compatCert struct {
	Details struct {
		Status    string `json:"status"`
		Version   string `json:"version"`
		Serial    string `json:"serial_number"`
		Start     string `json:"start_date"`
		Expiry    string `json:"expiry_date"`
		Timestamp string `json:"timestamp"`
	} `json:"details"`
	Refresh struct {
		Status    string `json:"status"`
		Message   string `json:"message"`
		Timestamp string `json:"timestamp"`
	} `json:"refresh_info"`
}

type compatMessage struct {
	Warn []api.Warning `json:"warn"`
}

// facts is what a compatible document is made of, taken under the lock and
// decoded outside of it.
type facts struct {
	host  api.Host
	texts map[string][]fact // by kind
	stale map[string]bool   // by kind
}

type fact struct{ id, name, spec string }

func (h *host) facts() facts {
	f := facts{host: h.view(), texts: map[string][]fact{}, stale: map[string]bool{}}
	for _, k := range []string{inventory.KindHost, inventory.KindLink, inventory.KindOVSBridge, inventory.KindVolumeGroup, inventory.KindExtension} {
		l := h.list(k)
		if l == nil {
			continue
		}
		for i := range l.entries {
			e := &l.entries[i]
			spec, _ := e.bodies()
			f.texts[k] = append(f.texts[k], fact{e.id(), e.name(), spec})
			if _, why := h.staleness(l, e.facet(source)); why != "" {
				f.stale[k] = true
			}
		}
	}
	return f
}

// specs decodes the specs of one kind; what does not decode is left out.
func specs[T any](f *facts, kind string) (names []string, out []T) {
	for _, t := range f.texts[kind] {
		var v T
		if json.Unmarshal([]byte(t.spec), &v) == nil {
			names, out = append(names, t.name), append(out, v)
		}
	}
	return names, out
}

func (f *facts) status(kind string) string {
	if f.stale[kind] {
		return "error"
	}
	return "ok"
}

// compat writes a host out in the field's shape.
func (f *facts) compat(now time.Time, settings bool) compatHost {
	v := &f.host
	c := compatHost{
		ID: v.ID, Roles: v.Roles, RoleDetails: map[string]string{},
		Info:           compatInfo{Hostname: v.Hostname, OSFamily: "Linux", Responding: v.Connected},
		HypervisorInfo: compatHypervisor{Type: v.Hypervisor},
	}
	if settings {
		c.RoleSettings = map[string]map[string]any{}
	}
	if !v.Connected {
		c.Info.LastResponse = &v.LastSeen
	}
	var clock uint64 // Hz
	if _, nodes := specs[inventory.Host](f, inventory.KindHost); len(nodes) > 0 {
		n := &nodes[0]
		c.Info.Arch = n.OS.Arch
		c.Info.OSInfo = strings.TrimSpace(n.OS.ID + " " + n.OS.Version)
		c.Info.CPU = compatCPUOf(n)
		clock = uint64(n.CPU.MaxMHz) * 1_000_000
	}
	f.addInterfaces(&c.Extensions)
	f.addUsage(&c.Extensions, clock)
	f.addExecutables(&c.Extensions)
	c.Extensions.Volumes = extension[[]compatVolume]{f.status(inventory.KindVolumeGroup), []compatVolume{}}
	names, groups := specs[inventory.VolumeGroup](f, inventory.KindVolumeGroup)
	for i, g := range groups {
		c.Extensions.Volumes.Data = append(c.Extensions.Volumes.Data, compatVolume{names[i], gibibytes(g.SizeBytes), gibibytes(g.FreeBytes)})
	}
	c.CertInfo = compatCertOf(v.Certificate, now)
	if len(v.Warnings) > 0 {
		c.Message = &compatMessage{Warn: v.Warnings}
	}
	return c
}

func compatCPUOf(n *inventory.Host) *compatCPU {
	p := &n.CPU
	c := &compatCPU{Sockets: p.Sockets, Cores: p.Cores, Arch: strings.ToUpper(n.OS.Arch), Vendor: p.Vendor, Features: p.Features, Virtual: "physical"}
	c.Threads.Total = p.Threads
	c.Threads.PerCore = p.Threads / max(p.Cores, 1)
	ghz := func(threads int) string { return fmt.Sprintf("%.3fGHz", float64(p.MaxMHz)*float64(threads)/1000) }
	c.Capacity.Total = ghz(p.Threads)
	c.Capacity.PerSocket = ghz(p.Threads / max(p.Sockets, 1))
	c.Capacity.PerCore = ghz(c.Threads.PerCore)
	c.Capacity.PerThread = ghz(1)
	c.Model.ID, c.Model.Name = p.ModelID, p.Model
	if c.Features == nil {
		c.Features = []string{}
	}
	if n.Virtualization.Guest != "" {
		c.Virtual = "virtual"
	}
	return c
}

// addInterfaces lists IPv4 addresses, as these documents always have.
func (f *facts) addInterfaces(x *compatExtensions) {
	d := compatInterfaces{IP: map[string]string{}, Info: map[string]compatInterface{}, Bridges: []string{}}
	addresses := []string{}
	_, links := specs[inventory.Link](f, inventory.KindLink)
	for i := range links {
		l := &links[i]
		if l.Name == "lo" {
			continue
		}
		in := compatInterface{MAC: l.MAC, Ifaces: []compatAddress{}}
		for _, a := range l.Addresses {
			p, err := netip.ParsePrefix(a.CIDR)
			if err != nil || !p.Addr().Is4() {
				continue
			}
			ip := p.Addr().String()
			in.Ifaces = append(in.Ifaces, compatAddress{ip, netmask(p.Bits())})
			if d.IP[l.Name] == "" {
				d.IP[l.Name] = ip
			}
			addresses = append(addresses, ip)
		}
		d.Info[l.Name] = in
	}
	_, bridges := specs[inventory.OVSBridge](f, inventory.KindOVSBridge)
	for i := range bridges {
		d.Bridges = append(d.Bridges, bridges[i].Name)
	}
	slices.Sort(addresses)
	x.Interfaces = extension[compatInterfaces]{f.status(inventory.KindLink), d}
	x.Addresses = extension[[]string]{f.status(inventory.KindLink), slices.Compact(addresses)}
}

func (f *facts) addUsage(x *compatExtensions, clock uint64) {
	x.Usage.Status = "error"
	u := f.host.Usage
	if u == nil {
		return
	}
	if f.host.Connected {
		x.Usage.Status = "ok"
	}
	d := &x.Usage.Data
	d.CPU.Percent, d.CPU.Total, d.CPU.Used = u.CPUPercent, clock, uint64(float64(clock)*u.CPUPercent/100)
	d.Memory.Total, d.Memory.Available = u.MemoryTotalBytes, u.MemoryAvailableBytes
	d.Memory.Percent = percent(u.MemoryTotalBytes-min(u.MemoryAvailableBytes, u.MemoryTotalBytes), u.MemoryTotalBytes)
	d.Disk.Total, d.Disk.Used = u.DiskTotalBytes, u.DiskUsedBytes
	d.Disk.Percent = percent(u.DiskUsedBytes, u.DiskTotalBytes)
}

// addExecutables shows what fetch_* and check_* executables said. What they said
// last stays while the host does not answer, but is no longer ok.
func (f *facts) addExecutables(x *compatExtensions) {
	for _, t := range f.texts[inventory.KindExtension] {
		var e inventory.Extension
		if err := json.Unmarshal([]byte(t.spec), &e); err != nil {
			e = inventory.Extension{Status: inventory.ExtensionError}
		}
		switch t.id {
		case "interfaces", "resource_usage", "volumes_present", "ip_address":
			continue
		}
		switch e.Status {
		case inventory.ExtensionTimedOut:
		case inventory.ExtensionOK:
			e.Status = f.status(inventory.KindExtension)
		default:
			e.Status = inventory.ExtensionError
		}
		if x.others == nil {
			x.others = make(map[string]extension[json.RawMessage])
		}
		x.others[t.id] = extension[json.RawMessage]{e.Status, e.Data}
	}
}

func compatCertOf(cert *api.Certificate, now time.Time) compatCert {
	var c compatCert
	c.Refresh.Status = "not-refreshed"
	if cert == nil {
		c.Details.Status = "unknown"
		return c
	}
	c.Details.Status = "valid"
	if now.After(cert.NotAfter) {
		c.Details.Status = "expired"
	}
	c.Details.Version, c.Details.Serial = "v1", cert.Serial
	c.Details.Start = cert.NotBefore.UTC().Format(time.RFC3339)
	c.Details.Expiry = cert.NotAfter.UTC().Format(time.RFC3339)
	c.Details.Timestamp = now.UTC().Format(time.RFC3339)
	return c
}

func netmask(bits int) string {
	m := uint32(0xffffffff) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

func gibibytes(n uint64) string { return fmt.Sprintf("%.2fg", float64(n)/(1<<30)) }

// percent rounds to a tenth.
func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(int(float64(part)*1000/float64(whole)+0.5)) / 10
}
