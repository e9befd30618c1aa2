package status

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const labelWidth = 14

// page writes lines of a label and a value, wrapped to a width.
type page struct {
	strings.Builder
	width int
}

// Text is the report as a page of the width in columns; below 40 it is 40. What
// is wrong comes first, because a screen may be too short for all of it.
func (r Report) Text(width int) string {
	p := &page{width: max(width, 40)}
	var bad, well []VCenter
	for _, v := range r.VCenters {
		if v.wrong() {
			bad = append(bad, v)
		} else {
			well = append(well, v)
		}
	}
	r.problems(p)
	r.vcenters(p, bad)
	if p.Len() > 0 {
		p.gap()
	}
	r.machine(p)
	p.gap()
	r.cloud(p)
	if len(bad) == 0 || len(well) > 0 {
		p.gap()
	}
	r.vcenters(p, well)
	switch {
	case len(r.VCenters) > 0:
	case r.AgentError != "":
		p.line("vCenter", "not known; the daemon does not answer")
	default:
		p.line("vCenter", "none is paired")
	}
	return p.String()
}

// wrong says whether somebody must do something about the vCenter.
func (v VCenter) wrong() bool {
	return v.Trouble() != "" || v.State != discovery.OK && v.State != Reading && v.State != NotKnown
}

func (r Report) machine(p *page) {
	p.line("name", or(r.Hostname, "not known"))
	addresses := "none yet"
	if len(r.Addresses) > 0 {
		addresses = strings.Join(r.Addresses, ", ")
	}
	p.line("addresses", addresses)
	p.line("network", or(r.Network, "not known"))
	if r.Pending != "" {
		p.line("unconfirmed", r.Pending)
	}
	p.line("last change", or(r.LastChange, "none"))
	if r.DiskTotal > 0 {
		p.line("disk", fmt.Sprintf("%s free of %s", kindtable.Size(r.DiskFree), kindtable.Size(r.DiskTotal)))
	}
	clock := r.At.UTC().Format(time.DateTime) + " UTC"
	if r.Clock.Known {
		clock += ", " + skewText(r.Clock.Skew)
	}
	p.line("clock", clock)
}

// skewText rounds to what can be known by whole seconds.
func skewText(d time.Duration) string {
	if d.Abs() < 2*time.Second {
		return "as the deployment unit's"
	}
	side := "ahead of"
	if d < 0 {
		side = "behind"
	}
	return d.Abs().Round(time.Second).String() + " " + side + " the deployment unit's"
}

func (r Report) cloud(p *page) {
	p.line("DU", or(r.Settings.DU, "not set"))
	tunnel := r.Agent.Tunnel
	switch {
	case r.Fingerprint == "":
		p.line("link", "not enrolled")
	case r.AgentError != "":
		p.line("link", "not known; the daemon does not answer")
	case tunnel.Connected:
		p.line("link", fmt.Sprintf("up for %s (%s), round trip %s", ago(r.At, tunnel.Since), tunnel.Endpoint, or(tunnel.RTT, "not measured")))
	default:
		p.line("link", "down: "+or(tunnel.Problem, "connecting"))
	}
	if tunnel.Unsent > 0 {
		p.line("unsent events", fmt.Sprint(tunnel.Unsent))
	}
	if r.Agent.Host != "" {
		p.line("gateway id", r.Agent.Host)
	}
	if r.Fingerprint != "" {
		p.line("certificate", fmt.Sprintf("until %s UTC, SHA-256 %s", r.Expires.UTC().Format(time.DateTime), r.Fingerprint))
	}
	if r.Agent.Version != "" {
		p.line("version", r.Agent.Version)
	}
}

func (r Report) vcenters(p *page, all []VCenter) {
	for _, v := range all {
		text := v.Word()
		if !v.Since.IsZero() {
			text += ", session " + ago(r.At, v.Since)
		}
		if n := counted(v.Counts); n != "" {
			text += ", " + n
		}
		if !v.Changed.IsZero() {
			text += ", last change " + ago(r.At, v.Changed) + " ago"
		}
		if v.Control != "" {
			text += ", control " + v.Control
		}
		p.line("vCenter", v.Name+": "+text)
		if v.Problem != "" {
			p.line("", v.Problem)
		}
		for _, l := range v.Missing {
			p.line("", "warning: "+l.Text()+"; grant it in vCenter")
		}
		if len(v.Kept) > 0 {
			p.line("", "never delegated: "+strings.Join(v.Kept, ", "))
		}
		if v.Pinned != "" {
			p.line("", "trusted certificate "+v.Pinned)
		}
	}
}

// counted says how many objects there are: of the kinds that people ask for
// first, and of all others together.
func counted(counts map[string]int) string {
	var parts []string
	add := func(n int, one string) {
		if n > 1 {
			one += "s"
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, one))
		}
	}
	others := 0
	for _, n := range counts {
		others += n
	}
	for _, k := range []struct{ kind, one string }{
		{inventory.KindVM, "VM"}, {inventory.KindESXi, "host"}, {inventory.KindCluster, "cluster"}, {inventory.KindDatastore, "datastore"},
	} {
		add(counts[k.kind], k.one)
		others -= counts[k.kind]
	}
	if len(parts) == 0 {
		add(others, "object")
	} else {
		add(others, "other object")
	}
	return strings.Join(parts, ", ")
}

func (r Report) problems(p *page) {
	if r.AgentError != "" {
		p.line("problem", "the daemon: "+r.AgentError)
	}
	if r.Clock.Problem != "" {
		p.line("problem", r.Clock.Problem)
	}
	for _, text := range r.Problems {
		p.line("problem", text)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// ago is a time span for people.
func ago(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func (p *page) gap() { p.WriteByte('\n') }

// line writes a label and a value, of which what a terminal would obey is left
// out, and wraps the value.
func (p *page) line(label, value string) {
	room := p.width - labelWidth
	for i, part := range wrap(kindtable.Clean(value), room) {
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(p, "%-*s%s\n", labelWidth, label, part)
	}
}

// wrap breaks a text at spaces. A word that is longer than a line, such as a
// fingerprint, is also broken at commas, colons and slashes, or where it must.
func wrap(text string, width int) []string {
	var lines []string
	for utf8.RuneCountInString(text) > width {
		runes := []rune(text)
		begin, end := width, width // of the word that does not fit
		for begin > 0 && runes[width] != ' ' && runes[begin-1] != ' ' {
			begin--
		}
		for end < len(runes) && runes[end] != ' ' {
			end++
		}
		cut := begin
		if begin == 0 {
			cut = width
		}
		for i := width; end-begin > width && i > max(begin, width/2); i-- {
			if r := runes[i-1]; r == ',' || r == ':' || r == '/' {
				cut = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(runes[:cut]), " "))
		text = strings.TrimLeft(string(runes[cut:]), " ")
	}
	return append(lines, text)
}
