package pluginhost

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// UnitName is the name of a plugin's systemd units, without what follows it:
// ".socket", "@.service".
func UnitName(plugin string) string { return "pf9-hostagent-plugin-" + plugin }

// Unit is a file of systemd's.
type Unit struct{ Name, Text string }

// Units returns the units of a plugin: a socket on which systemd listens for the
// agent, and the template of the sandboxed service that each connection starts.
func Units(m Manifest) []Unit {
	name := UnitName(m.Name)
	return []Unit{{name + ".socket", socketUnit(m)}, {name + "@.service", serviceUnit(m)}}
}

func socketUnit(m Manifest) string {
	return fmt.Sprintf(`[Unit]
Description=openpf9 plugin %s, the agent's socket
Documentation=man:pf9-hostagent(8)

[Socket]
ListenStream=%s/%s.sock
Accept=yes
# The agent holds one connection; two may overlap while it connects again.
MaxConnections=2
SocketUser=pf9
SocketGroup=root
SocketMode=0600
DirectoryMode=0755
RemoveOnStop=yes
# The agent waits longer each time; this is the fence behind that.
TriggerLimitIntervalSec=60
TriggerLimitBurst=30

[Install]
WantedBy=sockets.target
`, m.Name, DefaultSockets, m.Name)
}

// confinement is what no plugin gets. The agent waits while systemd sets it up,
// which is most of a plugin's start, so that there is nothing in it that says
// again what another line says: without capabilities, as nobody and with these
// system calls, a plugin can neither load modules, nor read the kernel's log, nor
// name the host. ProtectKernelTunables= alone, a dozen mounts, costs as much as
// a third of the rest; what it protects from writing, two read-only paths do.
const confinement = `DynamicUser=yes
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
` + noDevices + `DevicePolicy=closed
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ReadOnlyPaths=/sys /proc/sys
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
# The host's identity and the agent's sockets are not for plugins.
InaccessiblePaths=-/etc/pf9/certs -/var/lib/pf9 -/run/pf9-hostagent
`

func serviceUnit(m Manifest) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("[Unit]\nDescription=openpf9 plugin %s", m.Name)
	if m.Description != "" {
		line("# %s", m.Description)
	}
	// One end of a connection is over: nothing to keep, nothing to limit but
	// by the socket.
	line("CollectMode=inactive-or-failed\nStartLimitIntervalSec=0\n\n[Service]\nExecStart=%s", command(m.Exec))
	line("StandardInput=socket\nStandardOutput=journal\nStandardError=journal\nSyslogIdentifier=pf9-plugin-%s", m.Name)
	line("TimeoutStopSec=5\nKillMode=mixed")
	if m.Watchdog == nil || *m.Watchdog {
		line("WatchdogSec=30\nNotifyAccess=main")
	}
	// The period is long, so that a start, which is a burst, is not slowed down.
	line("MemoryMax=%s\nMemorySwapMax=0\nCPUQuota=%s\nCPUQuotaPeriodSec=500ms\nTasksMax=%d\nLimitNOFILE=1024\nLimitCORE=0\nOOMPolicy=kill", cmp.Or(m.Budget.Memory, "64M"), cmp.Or(m.Budget.CPU, "20%"), cmp.Or(m.Budget.Tasks, 32))
	b.WriteString(strings.Replace(confinement, noDevices, devices(m.Needs), 1))
	home := "yes"
	for _, p := range m.Needs.Paths {
		if strings.HasPrefix(p, "/home/") || strings.HasPrefix(p, "/root/") || strings.HasPrefix(p, "/run/user/") {
			home = "tmpfs" // what is bound below can be seen then
		}
	}
	line("ProtectHome=%s", home)
	for _, p := range m.Needs.Paths {
		line("BindReadOnlyPaths=%s", p)
	}
	if len(m.Needs.Groups) > 0 {
		line("SupplementaryGroups=%s", strings.Join(m.Needs.Groups, " "))
	}
	for _, s := range m.Needs.Sockets {
		line("# It connects to %s.", s)
	}
	b.WriteString(network(m.Needs))
	return b.String()
}

// noDevices leaves a plugin /dev/null and its like.
const noDevices = "PrivateDevices=yes\n"

// devices are the nodes that a plugin may open, beside /dev/null and its like.
func devices(n Needs) string {
	if len(n.Devices) == 0 {
		return noDevices
	}
	text := "PrivateDevices=no\n" // or it would see none of the host's at all
	for _, d := range n.Devices {
		name, mode, _ := strings.Cut(d, " ")
		text += "DeviceAllow=" + name + " " + cmp.Or(mode, "r") + "\n"
	}
	return text
}

// network is what a plugin may reach.
func network(n Needs) string {
	switch n.Network {
	case "local":
		return "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\nIPAddressDeny=any\nIPAddressAllow=localhost\n"
	case "yes":
		text := "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
		if len(n.Addresses) > 0 {
			text += "IPAddressDeny=any\nIPAddressAllow=" + strings.Join(n.Addresses, " ") + "\n"
		}
		return text
	}
	return "PrivateNetwork=yes\nIPAddressDeny=any\nRestrictAddressFamilies=AF_UNIX\n"
}

// command writes a command as systemd reads it.
func command(words []string) string {
	quoted := make([]string, 0, len(words))
	for i, w := range words {
		w = strings.NewReplacer("%", "%%", "$", "$$").Replace(w)
		if i > 0 && (w == "" || w == ";" || strings.ContainsAny(w, " \t\"'\\")) {
			w = strconv.Quote(w)
		}
		quoted = append(quoted, w)
	}
	return strings.Join(quoted, " ")
}
