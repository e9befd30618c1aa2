package vcenter

import (
	"context"
	"errors"

	"github.com/openpf9/openpf9/plugin"
)

// Told takes what somebody else has met at this vCenter with the same account, and
// doubts whether it answers. If vCenter is not followed, and what was met is a
// certificate or a refusal, that is the cause from now on: whoever follows may still
// wait for an answer, or for his next try. It does not block.
func (s *Source) Told(err error) {
	if why := s.explain(err); why.settled && s.health.learn(why) {
		s.log.Warn("vCenter cannot be followed, as another session has met", "err", why)
		select {
		case s.news <- struct{}{}:
		default: // one waits already
		}
	}
	s.Doubt()
}

// spread tells of news until ctx ends.
func (s *Source) spread(ctx context.Context, changed func(...plugin.Key)) {
	for {
		select {
		case <-s.news:
			changed()
		case <-ctx.Done():
			return
		}
	}
}

// learn takes a better cause of the trouble that there is, and says whether it has.
func (h *health) learn(why *trouble) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, is := errors.AsType[*trouble](h.why)
	if h.ok || h.reads || errors.Is(h.why, errUnwatched) || is && known.settled {
		return false
	}
	h.why = why
	return true
}
