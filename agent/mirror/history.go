package mirror

import (
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

// What one module may add to the history. What is beyond is left out and
// counted: a plugin that goes mad must not push out everybody else's.
const (
	historyRate  = 20     // entries a second, for long,
	historyBurst = 20_000 // and as many at once: a host with all its guests restarts
	historyAgain = 200    // that there must be room for, once there was none
)

// history bounds what one module adds.
type history struct {
	tokens float64
	at     time.Time // zero: nothing yet
	lost   uint64    // since the last gap was told
}

// allow counts an entry, and says whether there is room for it.
func (h *history) allow(now time.Time) bool {
	if h.at.IsZero() {
		h.tokens = historyBurst
	}
	h.tokens = min(historyBurst, h.tokens+historyRate*now.Sub(h.at).Seconds())
	h.at = now
	if h.tokens < 1 || h.lost > 0 && h.tokens < historyAgain {
		h.lost++
		return false
	}
	h.tokens--
	return true
}

// note keeps an entry of history for change, if its module has room.
func (m *Mirror) note(module, kind string, e wire.Event) {
	if s := m.sources[module]; s != nil {
		if !s.history.allow(time.Now()) {
			if s.history.lost == 1 {
				m.log.Warn("history left out: the module has too much of it", "module", module)
			}
			return
		}
		if lost := s.history.lost; lost > 0 {
			s.history.lost = 0
			m.untold = append(m.untold, told{"", wire.Event{Type: "gap", Name: module, Lost: lost, Detail: "the module had too much to tell"}})
		}
	}
	m.untold = append(m.untold, told{kind, e})
}
