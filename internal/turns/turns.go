// Package turns tells when what discovery modules list turns stale, and when it is
// true again. It is for the command lines that follow changes, which else would show
// nothing of an outage: what is stale has not changed. It compares what it is given,
// and asks nobody.
package turns

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

const ok = "ok" // the state of a module whose list is true

// A Turn is that what a module lists has become stale, that it still is and the
// cause is another, or that it is true again.
type Turn struct {
	Name  string    `json:"name"`  // the module's
	State string    `json:"state"` // the module's: "ok", "degraded", ...
	Stale bool      `json:"stale"`
	Since time.Time `json:"since,omitzero"` // when the state began
	// Reason is the module's, for people; empty: all is well.
	Reason string `json:"reason,omitempty"`
}

// A Tracker compares the modules of one host with how they were. The zero value
// looks at all modules.
type Tracker struct {
	// Kind is what the modules to look at list; empty: anything.
	Kind string
	last map[string]string // state and cause by module
}

// Take returns what has turned. What is well when it is seen first has not. A module
// that is not among the statuses is as it was.
func (t *Tracker) Take(statuses []wire.SourceStatus) []Turn {
	var turned []Turn
	for _, s := range statuses {
		if t.Kind != "" && !slices.Contains(s.Kinds, t.Kind) {
			continue
		}
		now := ok
		if s.State != ok {
			now = figures.ReplaceAllString(s.State+" "+Cause(s.Reason), "#")
		}
		was, known := t.last[s.Name]
		if t.last == nil {
			t.last = make(map[string]string)
		}
		t.last[s.Name] = now
		if now == was || !known && now == ok {
			continue
		}
		turned = append(turned, Turn{Name: s.Name, State: s.State, Stale: now != ok, Since: s.Since, Reason: s.Reason})
	}
	return turned
}

// Line is the turn for people: the module and, if where is given, its host, its
// state and since when, and the cause.
func (t *Turn) Line(where string) string {
	line := t.Name
	if where != "" {
		line += " on " + where
	}
	line += " is " + t.State
	if !t.Since.IsZero() {
		line += " since " + t.Since.Local().Format(time.TimeOnly)
	}
	return strings.TrimSuffix(line+": "+Cause(t.Reason), ": ")
}

// Word is "stale" or "fresh".
func (t *Turn) Word() string {
	if t.Stale {
		return "stale"
	}
	return "fresh"
}

var (
	figures = regexp.MustCompile(`[0-9]+`) // such as how much was read so far
	since   = regexp.MustCompile(`^.*stale since [0-9TZ:+.-]+: `)
)

// causeMost is how many characters of a cause are shown.
const causeMost = 120

// Cause is the beginning of a module's reason, without since when it is stale.
func Cause(reason string) string {
	c := []rune(since.ReplaceAllString(reason, ""))
	if len(c) > causeMost {
		return string(c[:causeMost-3]) + "..."
	}
	return string(c)
}
