package actions

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vimfault"
	"github.com/openpf9/openpf9/internal/netcause"
)

// Denied is why an action must not be done, or cannot be to such a VM. All other
// errors are of what should have worked.
type Denied string

func (d Denied) Error() string { return string(d) }

// AtError is an error of a vCenter that is known by its address, "vc.example:443".
type AtError struct {
	Address string
	Err     error
}

// Error leaves the address to who shows it.
func (e *AtError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *AtError) Unwrap() error { return e.Err }

func deniedf(format string, args ...any) error { return Denied(fmt.Sprintf(format, args...)) }

// undone ends an action that vCenter was not asked for.
func (j *job) undone(err error) {
	if d, is := err.(Denied); is {
		j.a.Refuse(string(d))
		return
	}
	what, remedy := j.trouble(err)
	j.a.Fail(what+", nothing was done; "+remedy, false)
}

// trouble says what does not work with vCenter, and what to do about it.
func (j *job) trouble(err error) (what, remedy string) {
	if silent, ok := errors.AsType[*session.SilentError](err); ok {
		return fmt.Sprintf("vCenter %s has not answered since %s (%s)", silent.Address, silent.Since.UTC().Format(time.RFC3339), netcause.Words(silent.Err)),
			"try again when it answers, which pf9-gateway vcenters shows on the appliance"
	}
	vcenter, words := j.vcenter(err), vimfault.Words(err)
	if shown, ok := errors.AsType[*session.CertificateError](err); ok {
		return fmt.Sprintf("%s shows the certificate %s, and pinned is %s", vcenter, shown.Shown, shown.Pinned),
			"compare it on vCenter's own console and, if it is right, trust it on the appliance: " + shown.Remedy()
	}
	if refused, ok := errors.AsType[*session.RefusedError](err); ok {
		return fmt.Sprintf("%s: %v", vcenter, refused), "on the appliance: " + refused.Remedy()
	}
	switch {
	case vimfault.Has[types.InvalidLogin](err):
		return vcenter + " does not let the gateway in: " + words, "set the right account on the appliance by pf9-gateway pair"
	case isLost(err):
		return vcenter + " has ended the gateway's session", "try again"
	case words != "":
		return vcenter + " says: " + words, "try again when that is mended"
	case netcause.Is(err):
		return fmt.Sprintf("%s cannot be reached (%s)", vcenter, netcause.Words(err)), "try again when it answers, which pf9-gateway vcenters shows on the appliance"
	}
	return err.Error(), "try again when that is mended"
}

// vcenter names the vCenter by the address that was called.
func (j *job) vcenter(err error) string {
	if j.client != nil {
		return "vCenter " + j.client.URL().Host
	}
	if at, ok := errors.AsType[*AtError](err); ok {
		return "vCenter " + at.Address
	}
	instance, _, _ := strings.Cut(j.q.Target.ID, "/")
	return "vCenter " + instance
}
