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

// explain puts what has happened into words that stay the same as long as the
// cause does.
func (s *Source) explain(err error) *trouble {
	at := s.address()
	again := fmt.Sprintf("pf9-gateway pair %s --url https://%s", s.opts.Name, s.opts.Session.URL().Host)
	say := func(format string, args ...any) *trouble {
		return &trouble{text: fmt.Sprintf(format, args...), err: err, settled: settled(err)}
	}
	if other, ok := errors.AsType[*session.CertificateError](err); ok {
		return say("%s shows another certificate: %v: %s", at, other, again)
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return say("%s shows a certificate that nobody vouches for: %v: compare and pin it: %s", at, bad.Err, again)
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		unfound := say("%s is not found: %v: see that this machine's DNS servers know the name", at, name)
		unfound.silence = name
		return unfound
	}
	switch {
	case errors.Is(err, session.ErrRefused):
		return say("%s refuses the account: %v: give the right password: %s", at, err, again)
	case errors.Is(err, session.ErrNoAccount):
		return say("%s: %v: give one: %s", at, err, again)
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

// settled says whether an error is of the certificate or the account.
func settled(err error) bool {
	_, other := errors.AsType[*session.CertificateError](err)
	_, bad := errors.AsType[*tls.CertificateVerificationError](err)
	return other || bad || errors.Is(err, session.ErrRefused)
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
