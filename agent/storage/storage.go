// Package storage discovers the host's storage: mounted file systems, block
// devices and LVM volume groups.
//
// Everything is read from /proc, /sys, the udev database and, for LVM, from
// metadata: no process is forked, and only LVM may need more than an ordinary
// user's rights. Capacity changes by itself and raises no event; a runner lists
// again every minute or so, and at once when [Filesystems] or [Devices] hints
// that something was mounted or plugged in.
package storage

import (
	"fmt"
	"io/fs"
	"path/filepath"
)

// ErrAbsent says that there is nothing to discover here, such as LVM on a host
// without physical volumes. It is calm: it wraps [fs.ErrNotExist], by which a
// runner tells "not here" from "broken".
var ErrAbsent = fmt.Errorf("not present on this host: %w", fs.ErrNotExist)

// under returns the path of name below root; an empty root is "/".
func under(root, name string) string { return filepath.Join("/", root, name) }
