package mirror

import (
	"fmt"
	"slices"

	"github.com/openpf9/openpf9/plugin"
)

// Changed takes what differs from a module's last complete list, of a module
// that knows. If suspiciously much is gone, it is kept, and Doubts says why
// until the module's next complete list.
func (m *Mirror) Changed(module string, kinds []string, upserts []plugin.Resource, deletes []plugin.Key) {
	fresh := m.items(module, kinds, upserts)
	m.change(func() {
		s := m.source(module)
		m.putAll(module, fresh, s.listed)
		gone := slices.DeleteFunc(slices.Clone(deletes), func(k plugin.Key) bool {
			r := m.resources[k]
			return r == nil || r.Source != module
		})
		if have := m.countOf(module, len(gone)); len(gone) > suspiciousLoss && 2*len(gone) > have {
			s.suspect = doubt(len(gone), have)
			m.log.Warn("changes not believed yet", "module", module, "gone", len(gone), "of", have)
			gone = nil
		}
		for _, k := range gone {
			m.remove(k, s.listed)
		}
		m.wake(s.suspect != "")
	})
}

// countOf counts a module's resources, if so many of them are gone that it matters.
func (m *Mirror) countOf(module string, gone int) (have int) {
	if gone <= suspiciousLoss {
		return 0
	}
	for _, r := range m.resources {
		if r.Source == module {
			have++
		}
	}
	return have
}

// Doubts says why a module's last list or changes are not believed; empty: they are.
func (m *Mirror) Doubts(module string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.sources[module]; s != nil {
		return s.suspect
	}
	return ""
}

func doubt(gone, have int) string {
	return fmt.Sprintf("%d of %d resources vanished at once; kept until the next list says so too", gone, have)
}
