package pair

import (
	"errors"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/internal/httpapi"
)

// unchanged adds to why a vCenter was not paired, if it is known already, that it
// goes on as it was: its new account was tried once, and is not kept.
func (b *book) unchanged(r pairing.Request, err error) error {
	name := r.Name
	if host, bad := checkAddress(r.Address); name == "" && bad == nil {
		name = b.byURL("https://" + host)
	}
	said, ok := errors.AsType[*httpapi.Error](err)
	if !ok || said.Err != nil || !b.has(name) { // what is behind one is for the log alone
		return err
	}
	more := *said
	more.Message = err.Error() + "; nothing is changed, and the gateway goes on with the session and the account that it has of " + name
	return &more
}
