package conformance

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// Log is what a plugin logged in a run that broke rules, the last of it. Lines
// that begin with "-- the kit" are the kit's, and say what it did: what follows
// such a line may be a right answer to that.
type Log struct {
	Rules []protocol.Rule `json:"rules,omitempty"` // broken in this run
	Text  string          `json:"text"`
}

const (
	kitSays   = "-- the kit "
	tailBytes = 16 << 10
	shownLog  = 2000 // bytes
)

// keepLog puts the end of a run's log into the report if the run broke rules
// that were not broken before, or ended the check.
func (k *kit) keepLog(c *child, before []protocol.Rule) {
	broken := slices.DeleteFunc(k.failed(), func(r protocol.Rule) bool { return slices.Contains(before, r) })
	if len(broken) == 0 && k.report.Problem == "" {
		return
	}
	if text, logged := c.log.shown(); logged {
		k.report.Logs = append(k.report.Logs, Log{broken, text})
	}
}

// tail keeps the end of what a plugin logs.
type tail struct {
	mu   sync.Mutex
	kept []byte
	all  int
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all += len(b)
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

// note adds a line of ours.
func (t *tail) note(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.kept); n > 0 && t.kept[n-1] != '\n' {
		t.kept = append(t.kept, '\n')
	}
	t.kept = append(append(t.kept, line...), '\n')
}

func (t *tail) text() ([]byte, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.kept), t.all
}

// shown is the end of the log, whole lines, and whether the plugin said any.
func (t *tail) shown() (text string, logged bool) {
	b, all := t.text()
	if over := len(b) - shownLog; over > 0 {
		_, b, _ = bytes.Cut(b[over:], []byte("\n"))
	}
	return strings.TrimSpace(string(b)), all > 0
}

// last is the line that tells most of an end: that of a panic, or the last one.
func (t *tail) last() string {
	b, _ := t.text()
	last := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, kitSays) {
			continue
		}
		last = line
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			break
		}
	}
	return last[:min(len(last), 300)]
}
