package uplink

import (
	"errors"
	"fmt"
	"testing"

	"github.com/openpf9/openpf9/internal/tunnel"
)

func TestARefusedCertificateIsToldFromOtherTrouble(t *testing.T) {
	revoked := &tunnel.StatusError{Code: 403, Message: "the certificate was revoked"}
	for want, err := range map[string]error{
		"the certificate was revoked": fmt.Errorf("connect: %w", revoked),
		"":                            errors.Join(errors.New("no route"), &tunnel.StatusError{Code: 503, Message: "busy"}),
	} {
		if got := refusal(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
