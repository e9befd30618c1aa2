// Package hostileplugin is plugins that do everything wrong: they crash, hang,
// flood, lie and leave things behind. The tests of the plugin host and the
// system's bars become them, to see that nobody else notices.
package hostileplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// The kinds that the plugins list.
const (
	Kind     = "com.example.hostile"
	GoodKind = "com.example.thing" // of Good
)

// Good is the name of the one plugin that is as it should be: it lists the files
// of the directory in its configuration.
const Good = "good"

// Mode is one way to be hostile.
type Mode struct {
	Name string
	// Reason is a part of what the host must say of it; empty: it need not.
	Reason string
	run    func(p *peer)
}

// Modes are all of them. Their names are those of the plugins.
func Modes() []Mode {
	return []Mode{
		{"crash", "exit status 3", func(*peer) { os.Exit(3) }},
		{"crash-late", "exit status 4", crashLate},
		{"hang", "no hello within", func(*peer) { stay() }},
		{"deaf", "no pong within", func(p *peer) { p.hello(Kind); p.snapshot(3); stay() }},
		{"flood", "no pong within", flood},
		{"long-line", "(line-size)", longLine},
		{"garbage", "(one-json-object-a-line)", garbage},
		{"duplicates", "(no-duplicate-ids)", duplicates},
		{"lying-count", "(count-matches)", lyingCount},
		{"memory", "(size-limits)", memory},
		{"slow-reader", "does not answer", slowReader},
		{"foreign-kind", "not in its manifest", func(p *peer) { p.hello("com.example.other"); stay() }},
		{"core-kind", "is not granted", func(p *peer) { p.hello("compute.vm"); stay() }},
		{"own-kind", "the agent's own", func(p *peer) { p.hello("agent.kind"); stay() }},
		{"half-closed", "has left", halfClosed},
		{"no-snapshot", "(snapshot-first)", noSnapshot},
		{"fuzz", "", func(p *peer) { p.hello(Kind); p.write(Noise(rand.Uint64())); os.Exit(0) }},
	}
}

// Main makes this process the plugin of a name, if it is one; otherwise it
// returns. It does not return when the plugin ends.
func Main(name string) {
	switch args := os.Args; name { // with arguments they would be by hand
	case Good:
		os.Args = args[:1]
		serveGood()
	case Probe:
		os.Args = args[:1]
		serveProbe()
	}
	for _, m := range Modes() {
		if m.Name == name {
			signal.Ignore(syscall.SIGTERM, syscall.SIGPIPE, syscall.SIGHUP)
			debug.SetGCPercent(20)
			m.run(&peer{name: name, conn: os.NewFile(0, "agent")})
			os.Exit(0)
		}
	}
}

type config struct {
	Dir string `json:"dir"`
}

func serveGood() {
	plugin.Serve(plugin.Plugin[config]{
		Name: Good, Version: "1.0.0",
		Kinds: []plugin.Kind{{Name: GoodKind, Spec: struct {
			Bytes int64 `json:"bytes"`
		}{}, Columns: []plugin.Column{{Name: "BYTES", Path: "bytes"}}}},
		New: func(_ context.Context, c config) (plugin.Source, error) { return c, nil },
	})
}

// List lists the files of the directory.
func (c config) List(_ context.Context, emit func(plugin.Resource)) error {
	entries, err := os.ReadDir(c.Dir)
	for _, e := range entries {
		emit(plugin.Resource{Key: plugin.Key{Kind: GoodKind, ID: e.Name()}, Name: e.Name(), Spec: map[string]any{"bytes": 0}})
	}
	return err
}

// Watch hints at changes, by looking often.
func (c config) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	seen := ""
	for {
		if names, err := filepath.Glob(c.Dir + "/*"); err == nil && strings.Join(names, "/") != seen {
			seen = strings.Join(names, "/")
			changed()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// peer is the plugin's end of the connection. What cannot be written ends it.
type peer struct {
	name string
	conn *os.File
	seq  uint64
}

func stay() {
	for {
		time.Sleep(time.Hour)
	}
}

func (p *peer) write(b []byte) {
	if _, err := p.conn.Write(b); err != nil {
		os.Exit(0)
	}
}

func (p *peer) send(f protocol.Frame) {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	p.write(append(b, '\n'))
}

func (p *peer) hello(kind string) {
	p.send(protocol.Frame{Hello: &protocol.Hello{Protocols: []int{1}, Name: p.name, Version: "6.6.6", Kinds: []protocol.Kind{{Name: kind}}}})
}

// Resource returns a valid resource.
func Resource(id string, bytes int) protocol.Resource {
	return protocol.Resource{
		Key:  protocol.Key{Kind: Kind, ID: id},
		Spec: json.RawMessage(`{"x":"` + strings.Repeat("x", bytes) + `"}`),
	}
}

func (p *peer) delta(d protocol.Delta) {
	p.seq++
	d.Seq = p.seq
	p.send(protocol.Frame{Delta: &d})
}

func (p *peer) snapshot(n int) {
	d := protocol.Delta{Begin: true, End: true, Count: n}
	for i := range n {
		d.Upserts = append(d.Upserts, Resource(strconv.Itoa(i), 10))
	}
	p.delta(d)
}

func crashLate(p *peer) {
	p.hello(Kind)
	p.snapshot(5)
	time.Sleep(200 * time.Millisecond)
	os.Exit(4)
}

// flood sends changes and statuses without end, and reads, so that it is never
// stopped by its own window.
func flood(p *peer) {
	p.hello(Kind)
	p.snapshot(5)
	go func() {
		b := make([]byte, 1<<16)
		for {
			if _, err := p.conn.Read(b); err != nil {
				os.Exit(0)
			}
		}
	}()
	for i := 0; ; i++ {
		p.delta(protocol.Delta{Upserts: []protocol.Resource{Resource(strconv.Itoa(i%5), i%2000)}})
		p.send(protocol.Frame{Status: &protocol.Status{Level: protocol.Degraded, Text: fmt.Sprint("flood ", i)}})
		p.send(protocol.Frame{Event: &protocol.Event{About: protocol.Key{Kind: Kind, ID: "1"}, Type: "flood"}})
	}
}

func longLine(p *peer) {
	p.hello(Kind)
	p.write([]byte(`{"of-a-later-time":"`))
	part := []byte(strings.Repeat("x", 1<<16))
	for range 100 << 20 / len(part) {
		p.write(part)
	}
	stay()
}

func garbage(p *peer) {
	p.hello(Kind)
	for range 100 {
		p.write([]byte("\x00\xff{{{[[[\"\n"))
	}
	stay()
}

func duplicates(p *peer) {
	p.hello(Kind)
	p.delta(protocol.Delta{Begin: true, End: true, Count: 2, Upserts: []protocol.Resource{Resource("1", 1), Resource("1", 2)}})
	stay()
}

func lyingCount(p *peer) {
	p.hello(Kind)
	p.snapshot(20)
	p.delta(protocol.Delta{Begin: true, End: true, Count: 20, Upserts: []protocol.Resource{Resource("1", 1)}})
	stay()
}

// memory lists far more than a host allows, and takes memory itself.
func memory(p *peer) {
	hoard := make([]byte, 100<<20)
	for i := 0; i < len(hoard); i += 4096 {
		hoard[i] = 1
	}
	p.hello(Kind)
	for i := 0; ; i++ {
		d := protocol.Delta{Begin: i == 0}
		for j := range 1000 {
			d.Upserts = append(d.Upserts, Resource(fmt.Sprint(i, "-", j), 200))
		}
		p.delta(d)
		hoard[i%len(hoard)]++
	}
}

// slowReader makes the host answer, and does not read that.
func slowReader(p *peer) {
	p.hello(Kind)
	p.snapshot(5)
	for i := range 15_000 {
		p.delta(protocol.Delta{Upserts: []protocol.Resource{Resource("1", i%10)}})
	}
	stay()
}

func halfClosed(p *peer) {
	p.hello(Kind)
	p.snapshot(5)
	_ = syscall.Shutdown(0, syscall.SHUT_WR)
	stay()
}

func noSnapshot(p *peer) {
	p.hello(Kind)
	p.delta(protocol.Delta{Upserts: []protocol.Resource{Resource("1", 1)}})
	stay()
}

// Noise returns what a plugin gone mad might send after its hello: lines that
// are nearly right.
func Noise(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var out []byte
	for seq := uint64(1); seq < uint64(2+r.IntN(40)); seq++ {
		d := &protocol.Delta{Seq: seq, Begin: seq == 1 || r.IntN(8) == 0, End: r.IntN(3) == 0, Count: r.IntN(6)}
		for range r.IntN(6) {
			d.Upserts = append(d.Upserts, Resource(strconv.Itoa(r.IntN(50)), r.IntN(300)))
		}
		for range max(0, r.IntN(8)-4) {
			d.Deletes = append(d.Deletes, protocol.Key{Kind: Kind, ID: strconv.Itoa(r.IntN(50))})
		}
		if r.IntN(3) > 0 && d.End {
			d.Count = len(d.Upserts)
		}
		f := protocol.Frame{Delta: d}
		switch r.IntN(12) {
		case 0:
			f = protocol.Frame{Status: &protocol.Status{Level: []string{"ok", "degraded", "failed", "?"}[r.IntN(4)], Text: "noise"}}
		case 1:
			f = protocol.Frame{Event: &protocol.Event{About: protocol.Key{Kind: Kind, ID: "1"}, Type: "noise"}}
		case 2:
			f = protocol.Frame{Pong: &protocol.Ping{Nonce: r.Uint64() % 5}}
		}
		b, err := json.Marshal(f)
		if err != nil {
			panic(err)
		}
		if r.IntN(10) == 0 {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
		out = append(append(out, b...), '\n')
	}
	return out
}
