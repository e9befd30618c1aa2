package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"
)

// A Verb is what Control does to a VM.
type Verb string

// What Control can do.
const (
	VerbStart    Verb = "start"
	VerbResume   Verb = "resume" // after a pause
	VerbWake     Verb = "wake"   // a guest that sleeps
	VerbDestroy  Verb = "power off"
	VerbShutdown Verb = "shut down" // asks the guest
	VerbReset    Verb = "reset"
	VerbReboot   Verb = "reboot" // asks the guest
	VerbSave     Verb = "save"   // to disk; the next start goes on there
)

// Control does something to the VM with a UUID, over a connection of its own that
// may do more than read: where libvirt asks polkit, the user needs
// org.libvirt.unix.manage. asked says whether libvirt was asked to do it; if it
// was, and has not Answered, it may have been done.
func (c *Conn) Control(ctx context.Context, id string, v Verb) (asked bool, err error) {
	uuid, ok := parseUUID(id)
	if !ok {
		return false, fmt.Errorf("%.40q is no VM's UUID", id)
	}
	s, err := c.controlling(ctx)
	if err != nil {
		return false, err
	}
	defer s.close()
	var d rpc.Domain
	if err := s.call(ctx, "look up VM "+id, func() (err error) { d, err = s.lib.DomainLookupByUUID(uuid); return err }); err != nil {
		if hasCode(err, rpc.ErrNoDomain) {
			err = fmt.Errorf("there is no VM %s: %w", id, fs.ErrNotExist)
		}
		return false, err
	}
	err = s.call(ctx, string(v)+" VM "+d.Name, func() error { asked = true; return do(s.lib, d, v) })
	return asked, permission(err)
}

func do(l *rpc.Libvirt, d rpc.Domain, v Verb) error {
	switch v {
	case VerbStart:
		return l.DomainCreate(d)
	case VerbResume:
		return l.DomainResume(d)
	case VerbWake:
		return l.DomainPmWakeup(d, 0)
	case VerbDestroy:
		return l.DomainDestroy(d)
	case VerbShutdown:
		return l.DomainShutdown(d)
	case VerbReset:
		return l.DomainReset(d, 0)
	case VerbReboot:
		return l.DomainReboot(d, 0)
	case VerbSave:
		return l.DomainManagedSave(d, 0)
	}
	return fmt.Errorf("%q is not to be done to a VM", v)
}

// Answered says that libvirt has answered, and not done what it was asked.
func Answered(err error) bool {
	_, ok := errors.AsType[rpc.Error](err)
	return ok
}

// Refused says that libvirt has not even begun it: the agent may not do it, or not
// to a VM in this state.
func Refused(err error) bool {
	return forbidden(err) || hasCode(err, rpc.ErrOperationInvalid) || hasCode(err, rpc.ErrOperationUnsupported) || hasCode(err, rpc.ErrNoSupport)
}

func forbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) || hasCode(err, rpc.ErrAuthFailed) || hasCode(err, rpc.ErrAuthUnavailable) ||
		hasCode(err, rpc.ErrAccessDenied) || hasCode(err, rpc.ErrOperationDenied)
}

// controlling opens a session that may do more than read.
func (c *Conn) controlling(ctx context.Context) (*session, error) {
	targets, _, err := findTargets(c.opts, roleVMs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var last error
	for _, t := range targets {
		if strings.HasSuffix(filepath.Base(t.socket), "-ro") {
			continue
		}
		s, err := open(ctx, t, 1)
		if err == nil {
			return s, nil
		}
		last = fmt.Errorf("connect to libvirt at %s: %w", t.socket, permission(err))
	}
	if last == nil {
		last = fmt.Errorf("libvirt has no socket here over which VMs are controlled: %w", fs.ErrNotExist)
	}
	return nil, last
}

// permission adds what to do about a refusal to let us control.
func permission(err error) error {
	if forbidden(err) {
		return fmt.Errorf("%w: the agent may only look: allow org.libvirt.unix.manage to its user in polkit, which makes it as good as root on this host", err)
	}
	return err
}
