package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// NewLogger logs to the journal, with attributes as fields, when standard error
// leads there; else as text to standard error.
func NewLogger(level slog.Leveler) *slog.Logger {
	if journaled, err := journal.StderrIsJournalStream(); err == nil && journaled {
		return slog.New(&journalHandler{level: level})
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// journalHandler speaks the journal's native protocol. An attribute "took"
// becomes the field PF9_TOOK.
type journalHandler struct {
	level  slog.Leveler
	prefix string
	fields map[string]string // immutable
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := make(map[string]string, len(h.fields)+r.NumAttrs())
	for k, v := range h.fields {
		fields[k] = v
	}
	var text strings.Builder
	text.WriteString(r.Message)
	for k, v := range h.fields {
		fmt.Fprintf(&text, " %s=%q", strings.ToLower(strings.TrimPrefix(k, "PF9_")), v)
	}
	r.Attrs(func(a slog.Attr) bool {
		v := a.Value.Resolve().String()
		fields[fieldName(h.prefix+a.Key)] = v
		fmt.Fprintf(&text, " %s=%q", h.prefix+a.Key, v)
		return true
	})
	return journal.Send(text.String(), priority(r.Level), fields)
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make(map[string]string, len(h.fields)+len(attrs))
	for k, v := range h.fields {
		fields[k] = v
	}
	for _, a := range attrs {
		fields[fieldName(h.prefix+a.Key)] = a.Value.Resolve().String()
	}
	return &journalHandler{h.level, h.prefix, fields}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.level, h.prefix + name + "_", h.fields}
}

// fieldName is a key as the journal allows it.
func fieldName(key string) string {
	return "PF9_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
