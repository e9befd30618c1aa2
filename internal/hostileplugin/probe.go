package hostileplugin

import (
	"context"
	"net"
	"os"
	"strings"

	"github.com/openpf9/openpf9/plugin"
)

// Probe is the name of a plugin that tells what its sandbox lets it do.
const (
	Probe     = "probe"
	ProbeKind = "com.example.fact"
)

// Facts are the spec of the one resource that Probe lists.
type Facts struct {
	UID        int      `json:"uid"`
	Interfaces []string `json:"interfaces"`        // besides the loopback
	Writable   []string `json:"writable"`          // of places that it must not change
	Readable   []string `json:"readable"`          // of places that it must not see
	Socket     bool     `json:"socket"`            // it may open one to the network
	Group      string   `json:"group,omitempty"`   // its control group, for people
	Problem    string   `json:"problem,omitempty"` // what could not be found out
}

type probe struct{}

// List tries what must not work.
func (probe) List(_ context.Context, emit func(plugin.Resource)) error {
	f := Facts{UID: os.Geteuid(), Interfaces: []string{}, Writable: []string{}, Readable: []string{}}
	all, err := net.Interfaces()
	if err != nil {
		f.Problem = err.Error() // netlink is not for it, either
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 {
			f.Interfaces = append(f.Interfaces, i.Name)
		}
	}
	for _, dir := range []string{"/etc", "/usr", "/var", "/root", "/boot", "/run", "/srv"} {
		name := dir + "/written-by-a-plugin"
		if os.WriteFile(name, nil, 0o600) == nil {
			f.Writable = append(f.Writable, dir)
			_ = os.Remove(name) // it was only a try
		}
	}
	for _, dir := range []string{"/etc/pf9/certs", "/var/lib/pf9", "/run/pf9-hostagent", "/root", "/home"} {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			f.Readable = append(f.Readable, dir)
		}
	}
	if c, err := net.ListenPacket("udp", "127.0.0.1:0"); err == nil {
		f.Socket = true
		_ = c.Close() // it was only a try
	}
	if b, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		f.Group = strings.TrimSpace(string(b))
	}
	emit(plugin.Resource{Key: plugin.Key{Kind: ProbeKind, ID: "sandbox"}, Spec: f})
	return nil
}

func serveProbe() {
	plugin.Serve(plugin.Plugin[struct{}]{
		Name: Probe, Version: "1.0.0", Kinds: []plugin.Kind{{Name: ProbeKind, Spec: Facts{}}},
		New: func(context.Context, struct{}) (plugin.Source, error) { return probe{}, nil },
	})
}
