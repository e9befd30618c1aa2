package paired

import (
	"context"
	"errors"
	"fmt"

	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/internal/wire"
)

// Files hold the secrets of a request; "" asks for one.
type Files struct{ Password, ControlPassword string }

// Check says what is wrong with a request's flags before anybody is asked, and
// brings the thumbprint into its form. A vCenter whose address is not given is one
// that is known, of which everything else that is not given stays.
func (f Files) Check(r *wire.PairingRequest) error {
	pin, err := pki.ParseFingerprint(r.Thumbprint)
	switch {
	case err != nil:
		return fmt.Errorf("--thumbprint: %w", err)
	case f.Password == "-" && f.ControlPassword == "-":
		return errors.New("only one password can come from standard input")
	case f.ControlPassword != "" && r.ControlUser == "":
		return errors.New("--control-password-file: --control-user is missing")
	}
	r.Thumbprint = pin.String()
	return nil
}

// password says whether the first account's is to be given.
func (f Files) password(r *wire.PairingRequest) bool {
	return r.Address != "" || r.User != "" || f.Password != ""
}

// Lacks names the flags in whose place a person is asked.
func (f Files) Lacks(r *wire.PairingRequest) (flags []string) {
	for _, l := range []struct {
		flag  string
		lacks bool
	}{
		{"--thumbprint", r.Address != "" && r.Thumbprint == ""},
		{"--user", r.Address != "" && r.User == ""},
		{"--password-file", f.password(r) && f.Password == ""},
		{"--control-password-file", r.ControlUser != "" && f.ControlPassword == ""},
	} {
		if l.lacks {
			flags = append(flags, l.flag)
		}
	}
	return flags
}

// Ask completes a request: what its flags lack a person is asked for, whom look
// shows the certificate of who answers at the address. Nothing of it is sent.
func (f Files) Ask(ctx context.Context, ask *tty.Asker, look func(context.Context, string) (wire.PairingCertificate, error), r *wire.PairingRequest) (err error) {
	if lacks := f.Lacks(r); len(lacks) > 0 {
		if err := ask.Need(lacks...); err != nil {
			return err
		}
	}
	if r.Address != "" && r.Thumbprint == "" {
		cert, err := look(ctx, r.Address)
		if err != nil {
			return err
		}
		accepted, err := ask.Confirm(ctx, Certificate(r.Address, cert)+"\nIs this your vCenter?")
		if err != nil {
			return err
		}
		if !accepted {
			return errors.New("the certificate was not accepted; no account was sent")
		}
		r.Thumbprint = cert.Thumbprint
	}
	if r.Address != "" && r.User == "" {
		if r.User, err = ask.Ask(ctx, "User: "); err != nil {
			return err
		}
	}
	if f.password(r) {
		if r.Password, err = ask.Secret(ctx, f.Password, question(r.User)); err != nil {
			return fmt.Errorf("the password: %w", err)
		}
	}
	if r.ControlUser != "" {
		if r.ControlPassword, err = ask.Secret(ctx, f.ControlPassword, question(r.ControlUser)); err != nil {
			return fmt.Errorf("the password for control: %w", err)
		}
	}
	return nil
}

func question(user string) string { return "Password of " + kindtable.Clean(user) + ": " }
