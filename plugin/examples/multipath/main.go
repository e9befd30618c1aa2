// Command multipath tells openpf9 of the host's ways to shared storage:
// multipath maps and their paths, iSCSI sessions, and NVMe subsystems with the
// state of each controller and path. It reads sysfs, needs no privilege, and
// starts nothing.
package main

import (
	"context"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

const (
	kindMap       = "org.openpf9.multipath"
	kindSession   = "org.openpf9.iscsi_session"
	kindSubsystem = "org.openpf9.nvme_subsystem"
)

type config struct {
	Sys  string          `json:"sys" help:"where sysfs is mounted"`
	Poll plugin.Duration `json:"poll" help:"how often to look whether the kernel told of a change; 0: never"`
}

func main() {
	plugin.Serve(plugin.Plugin[config]{
		Name: "multipath", Version: "0.1.0",
		Kinds: []plugin.Kind{
			{Name: kindMap, Version: 1, Spec: deviceMap{}, Columns: []plugin.Column{
				{Name: "SIZE", Path: "size_bytes"},
				{Name: "WORKING", Path: "paths_working"},
				{Name: "PATHS", Path: "paths_total"},
			}},
			{Name: kindSession, Version: 1, Spec: session{}, Columns: []plugin.Column{
				{Name: "PORTAL", Path: "portal"},
				{Name: "TARGET", Path: "target"},
			}},
			{Name: kindSubsystem, Version: 1, Spec: subsystem{}, Columns: []plugin.Column{
				{Name: "MODEL", Path: "model"},
				{Name: "SERIAL", Path: "serial", Wide: true},
				{Name: "IO POLICY", Path: "io_policy", Wide: true},
			}},
		},
		Config: config{Sys: "/sys", Poll: plugin.Duration(time.Second)},
		New:    open,
	})
}

func open(_ context.Context, c config) (plugin.Source, error) {
	if c.Poll < 0 {
		return nil, plugin.BadConfig("poll", "%v: want 0 or more", time.Duration(c.Poll))
	}
	return &source{sys: c.Sys, poll: time.Duration(c.Poll)}, nil
}
