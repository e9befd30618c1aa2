package session

import (
	"errors"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// ErrNotAuthenticated says that a session is gone, where vCenter says so in the
// place of an object and not by a fault.
var ErrNotAuthenticated = errors.New("the session on vCenter is gone")

// IsNotAuthenticated says whether an error means that the session is gone.
func IsNotAuthenticated(err error) bool {
	if errors.Is(err, ErrNotAuthenticated) {
		return true
	}
	_, gone := fault(err).(types.NotAuthenticated)
	return gone
}

// fault returns what vCenter answered instead of doing it; nil: the error is
// another one.
func fault(err error) any {
	for ; err != nil; err = errors.Unwrap(err) {
		switch {
		case soap.IsSoapFault(err):
			return soap.ToSoapFault(err).VimFault()
		case soap.IsVimFault(err):
			return soap.ToVimFault(err)
		}
	}
	return nil
}

// Fault returns what vCenter answered instead of doing it, such as a
// types.InvalidProperty; nil: the error is another one.
func Fault(err error) any { return fault(err) }

// maxText bounds what vCenter says in a fault, in bytes: it goes into logs and to
// deployment units.
const maxText = 4 << 10

// longError says the beginning of an error.
type longError struct{ error }

func (e longError) Error() string { return e.error.Error()[:maxText] + "..." }

func (e longError) Unwrap() error { return e.error }
