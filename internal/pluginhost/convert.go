package pluginhost

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/protocol"
)

const (
	eventRate  = 10  // entries of history a second, for long,
	eventBurst = 100 // and as many at once
	maxDetail  = 1 << 10
)

func key(k protocol.Key) plugin.Key { return plugin.Key{Kind: k.Kind, ID: k.ID} }

func keys(ks []protocol.Key) []plugin.Key {
	out := make([]plugin.Key, len(ks))
	for i, k := range ks {
		out[i] = key(k)
	}
	return out
}

// resources turns what came over the wire, where it was checked, into what a
// module lists. The specs stay as they are.
func resources(rs []protocol.Resource) []plugin.Resource {
	out := make([]plugin.Resource, len(rs))
	for i, r := range rs {
		out[i] = plugin.Resource{Key: key(r.Key), Name: r.Name, Parent: key(r.Parent), Spec: r.Spec}
		if len(r.Ext) > 0 {
			d := json.NewDecoder(bytes.NewReader(r.Ext))
			d.UseNumber()             // as it came
			_ = d.Decode(&out[i].Ext) // an object, as the protocol has checked
		}
	}
	return out
}

// events bounds the history of one plugin.
type events struct {
	tokens  float64
	at      time.Time
	dropped bool
}

// allow counts an entry, and says whether there is room for it.
func (e *events) allow(now time.Time) bool {
	if e.at.IsZero() {
		e.tokens = eventBurst
	}
	e.tokens = min(eventBurst, e.tokens+eventRate*now.Sub(e.at).Seconds())
	e.at = now
	if e.tokens < 1 {
		return false
	}
	e.tokens--
	return true
}

// event takes an entry of history, of the plugin's own kinds and as much as fits.
func (g *guest) event(e protocol.Event) {
	if !slices.Contains(g.status.Kinds, e.About.Kind) || !g.events.allow(time.Now()) {
		if !g.events.dropped {
			g.log.Warn("history of the plugin is left out: it is not of its kinds, or too much", "about", e.About)
		}
		g.events.dropped = true
		return
	}
	g.events.dropped = false
	detail := string(e.Data)
	if len(detail) > maxDetail {
		detail = detail[:maxDetail] + "..."
	}
	g.host.opt.Event(wire.Event{Type: e.Type, About: key(e.About), Time: e.At.UTC(), Detail: detail})
}
