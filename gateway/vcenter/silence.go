package vcenter

import (
	"context"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
)

// Answering returns a context that ends when vCenter is known not to answer, at
// once if it is known already; its cause then is a [session.SilentError]. It is for
// whoever asks vCenter something that he can ask again. vCenter is asked to prove
// that it answers meanwhile, so that one that has just fallen silent is not waited
// for. The caller calls release when he has his answer.
func (s *Source) Answering(ctx context.Context) (answering context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := s.health.silence()
	if silence.Err() != nil {
		cancel(context.Cause(silence))
		return ctx, func() {}
	}
	s.Doubt()
	stop := context.AfterFunc(silence, func() { cancel(context.Cause(silence)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Silent says that vCenter is known not to answer, since when and why; nil: it may
// answer. It is a [session.SilentError].
func (s *Source) Silent() error { return context.Cause(s.health.silence()) }

// silent notes that vCenter does not answer, if an error of one who was sure to be
// answered says so, and returns the error. A wait or a connection that breaks is no
// proof: the next may be answered.
func (s *Source) silent(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if why := s.explain(err); why.silence != nil {
		s.health.fallSilent(s.address(), why.silence)
	}
	return err
}

// silence is a context that ends when vCenter is known not to answer.
func (h *health) silence() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.quiet
}

// fallSilent ends the silence's context, if it has not ended.
func (h *health) fallSilent(address string, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := h.heard
	if since.IsZero() {
		since = time.Now()
	}
	h.hush(&session.SilentError{Address: address, Since: since, Err: cause})
}

// speak begins another context if vCenter was silent. The caller holds the lock.
func (h *health) speak() {
	if h.quiet == nil || h.quiet.Err() != nil {
		h.quiet, h.hush = context.WithCancelCause(context.Background())
	}
}
