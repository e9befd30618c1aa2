package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/plugin"
)

// session is the spec of an iSCSI session of the host.
type session struct {
	State     string   `json:"state" enum:"logged_in,failed,free,unknown"`
	Target    string   `json:"target" help:"the target's name"`
	Group     string   `json:"portal_group" help:"the target's portal group tag"`
	Portal    string   `json:"portal" help:"the address that the host was told to use"`
	Interface string   `json:"interface" help:"the initiator's interface record"`
	Initiator string   `json:"initiator" help:"the host's name"`
	Disks     []string `json:"disks,omitempty" help:"the names in /dev of its LUNs"`
}

func listSessions(l *look, sys string, emit func(plugin.Resource)) {
	class := filepath.Join(sys, "class/iscsi_session")
	names := l.names(class)
	slices.SortFunc(names, func(a, b string) int { // session9 before session10
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	same := make(map[string]int)
	for _, name := range names {
		s := sessionOf(l, sys, filepath.Join(class, name))
		if s.Target == "" {
			continue // it is about to begin or has just ended
		}
		id := sessionID(s)
		if same[id]++; same[id] > 1 {
			id = id[:min(len(id), 240)] + "#" + strconv.Itoa(same[id])
		}
		emit(plugin.Resource{Key: plugin.Key{Kind: kindSession, ID: id}, Name: s.Target[strings.LastIndexByte(s.Target, ':')+1:], Spec: s})
	}
}

func sessionOf(l *look, sys, dir string) session {
	s := session{
		State: "unknown", Target: l.text(dir, "targetname"), Group: l.text(dir, "tpgt"),
		Interface: l.text(dir, "ifacename"), Initiator: l.text(dir, "initiatorname"),
	}
	switch state := strings.ToLower(l.text(dir, "state")); state {
	case "logged_in", "failed", "free":
		s.State = state
	}
	device := filepath.Join(dir, "device")
	for _, name := range l.names(device) {
		switch {
		case strings.HasPrefix(name, "connection") && s.Portal == "":
			c := filepath.Join(sys, "class/iscsi_connection", name)
			if address := l.text(c, "persistent_address"); address != "" {
				s.Portal = net.JoinHostPort(address, l.text(c, "persistent_port"))
			}
		case strings.HasPrefix(name, "target"):
			for _, lun := range l.names(device, name) {
				if strings.Count(lun, ":") == 3 {
					s.Disks = append(s.Disks, l.names(device, name, lun, "block")...)
				}
			}
		}
	}
	return s
}

// sessionID names a session by its two ends, for the kernel's number is another
// one after each login. Two sessions between the same ends are told apart by
// their order only, which does no harm: they are alike.
func sessionID(s session) string {
	id := s.Portal + "," + s.Group + " " + s.Target + " " + s.Interface
	if len(id) > 240 { // names have up to 223 bytes, ids up to 255
		sum := sha256.Sum256([]byte(id))
		return id[:200] + " " + hex.EncodeToString(sum[:16])
	}
	return id
}
