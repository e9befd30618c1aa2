// Package packaging holds what the packages install beside the programs:
// systemd units, users, directories, the polkit rule, default configuration
// and man pages. It installs nothing itself.
package packaging

import "embed"

// Linux holds the files, in the folder "linux".
//
//go:embed linux
var Linux embed.FS
