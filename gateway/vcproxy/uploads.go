package vcproxy

import (
	"context"
	"net/http"
	"strings"
)

// uploads counts what a session sends to leases. OpenStack's client does not wait
// for the answer to what it sent: it completes the lease when the last bytes have
// left it, while they may still be on their way through here.
type uploads struct {
	n    int
	none chan struct{} // closed when n is 0 again; nil: it is
}

// isUpload says whether a request sends a file of a lease.
func isUpload(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/nfc/") && (r.Method == http.MethodPut || r.Method == http.MethodPost)
}

// beginUpload counts an upload in; call what it returns when it has ended.
func (s *session) beginUpload() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads.n++; s.uploads.n == 1 {
		s.uploads.none = make(chan struct{})
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.uploads.n--; s.uploads.n == 0 {
			close(s.uploads.none)
			s.uploads.none = nil
		}
	}
}

// uploaded waits until nothing is sent to leases.
func (s *session) uploaded(ctx context.Context) error {
	s.mu.Lock()
	none := s.uploads.none
	s.mu.Unlock()
	if none == nil {
		return nil
	}
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
