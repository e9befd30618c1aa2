// Package network discovers the host's network: its links with their
// addresses, its default routes, and the bridges of Open vSwitch.
//
// [Links] asks the kernel over rtnetlink and [OVS] asks ovsdb-server over its
// Unix socket. Neither forks a process nor needs a privilege, though the OVS
// socket is normally open to its own group only. The package looks at the
// network name space that the agent runs in and at no other.
package network

import (
	"fmt"
	"io/fs"
)

// ErrAbsent says that there is nothing to discover because the software is not
// installed or not running here. It is calm: it wraps [fs.ErrNotExist], by
// which a runner tells "not here" from "broken".
var ErrAbsent = fmt.Errorf("not present on this host: %w", fs.ErrNotExist)
