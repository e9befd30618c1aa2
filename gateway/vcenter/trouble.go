package vcenter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
)

// trouble is why vCenter cannot be followed, in words for whoever has to mend it:
// its address, the cause and the remedy.
type trouble struct {
	text    string
	err     error
	silence error // why vCenter does not answer; nil: it does
	settled bool  // it is so for whoever asks, until somebody mends it
}

// Error is the words.
func (t *trouble) Error() string { return t.text }

// Unwrap is what has happened.
func (t *trouble) Unwrap() error { return t.err }

// silence is that vCenter does not answer in time.
type silence struct {
	limit time.Duration
	err   error
}

func (s *silence) Error() string { return fmt.Sprintf("no answer within %v", s.limit) }
func (s *silence) Unwrap() error { return s.err }

// address is where vCenter is, with the port: "vc.example:443".
func (s *Source) address() string {
	u := s.opts.Session.URL()
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return u.Host
}

// silent names the limit if that is what ended a call.
func silent(call context.Context, limit time.Duration, err error) error {
	if err != nil && errors.Is(call.Err(), context.DeadlineExceeded) {
		return &silence{limit, err}
	}
	return err
}

// Explain puts an error of the way to vCenter, also of another session than the
// source's own, into words for whoever has to mend it: the address, the cause and the
// remedy.
func (s *Source) Explain(err error) error { return s.explain(err) }

// Mendable says whether an error, which may be of another session than the source's
// own, is one that a person has to mend: waiting does not help.
func Mendable(err error) bool {
	_, changed := errors.AsType[*session.CertificateError](err)
	_, unknown := errors.AsType[*tls.CertificateVerificationError](err)
	return changed || unknown || errors.Is(err, session.ErrRefused) || errors.Is(err, session.ErrNoAccount)
}

// explain puts what has happened into words that stay the same as long as the
// cause does.
func (s *Source) explain(err error) *trouble {
	at := s.address()
	say := func(format string, args ...any) *trouble {
		return &trouble{text: fmt.Sprintf(format, args...), err: err, settled: Mendable(err)}
	}
	if other, ok := errors.AsType[*session.CertificateError](err); ok {
		return say("%s shows another certificate: %v: %s", at, other, other.Remedy())
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return say("%s shows a certificate that nobody vouches for: %v: compare it and, if it is right, pin it: pf9-gateway pair %s --thumbprint %s", at, bad.Err, s.opts.Name, first(bad))
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		unfound := say("%s is not found: %v: see that this machine's DNS servers know the name", at, name)
		unfound.silence = name
		return unfound
	}
	if refused, ok := errors.AsType[*session.RefusedError](err); ok {
		return say("%s: %v: %s", at, refused, refused.Remedy())
	}
	switch {
	case errors.Is(err, session.ErrNoAccount):
		return say("%s: %v: give one: pf9-gateway pair %s --user NAME", at, err, s.opts.Name)
	case session.IsNotAuthenticated(err):
		return say("%s has ended the session: the gateway logs in again by itself", at)
	case errors.Is(err, errOtherUser):
		return say("%s: %v: the gateway logs in as that one", at, err)
	}
	if cause := unanswered(err); cause != nil {
		unanswered := say("%s does not answer: %v: see that vCenter runs and that the network lets this machine reach it; the gateway tries again by itself", at, cause)
		unanswered.silence = cause
		return unanswered
	}
	return say("%s: %v", at, err)
}

// first is the SHA-256 of the certificate that was shown.
func first(bad *tls.CertificateVerificationError) string {
	if len(bad.UnverifiedCertificates) == 0 {
		return "SHA-256"
	}
	return session.Fingerprint(bad.UnverifiedCertificates[0])
}

// unanswered is why there was no answer, without what changes from try to try;
// nil: there was one.
func unanswered(err error) error {
	if way, ok := errors.AsType[*net.OpError](err); ok {
		return &net.OpError{Op: way.Op, Net: way.Net, Addr: way.Addr, Err: way.Err}
	}
	if late, ok := errors.AsType[*silence](err); ok {
		return late
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends the connection")
	}
	if way, ok := errors.AsType[*url.Error](err); ok {
		return way.Err
	}
	return nil
}
