package session

import (
	"fmt"
	"time"
)

// SilentError says that vCenter is known not to answer, so that it is not asked,
// or that an answer is waited for no longer. It is the path's: nothing that vCenter
// says, such as that it refuses an account, is a SilentError.
type SilentError struct {
	Address string    // "vc.example:443"
	Since   time.Time // when it answered last; if it never did, when that was first noticed
	Err     error     // the cause
}

// Error names the address, since when and the cause.
func (e *SilentError) Error() string {
	return fmt.Sprintf("vCenter %s has not answered since %s (%v)", e.Address, e.Since.UTC().Format(time.RFC3339), e.Err)
}

// Unwrap returns the cause.
func (e *SilentError) Unwrap() error { return e.Err }
