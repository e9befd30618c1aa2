package plugin

import (
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// maxBatch bounds one delta in bytes of its line, well below what the protocol
// suggests: a line is in memory twice while it is written. One resource that is
// larger goes alone.
const maxBatch = 48 << 10

// outbox holds what waits for the agent, and cuts deltas when there is room in
// the window. It never holds more than one call found.
type outbox struct {
	control []protocol.Frame // hello, then pongs, of which the oldest gives way
	status  *protocol.Status // the newest only
	event   *protocol.Event

	window     uint64
	seq, acked uint64

	whole   bool // what waits is a snapshot,
	begun   bool // of which a part is sent
	count   int  // of the whole snapshot
	upserts []protocol.Resource
	deletes []protocol.Key
	waiting bool // there is a delta to send, perhaps an empty one

	cut, cutDeletes int // how many the delta that next returned has
}

// put takes what a call found. Nothing may be pending.
func (o *outbox) put(whole bool, upserts []protocol.Resource, deletes []protocol.Key) {
	o.whole, o.begun, o.count = whole, false, len(upserts)
	o.upserts, o.deletes = upserts, deletes
	o.waiting = whole || len(upserts) > 0 || len(deletes) > 0
}

// pong answers a ping.
func (o *outbox) pong(p *protocol.Ping) {
	const most = 16
	if n := len(o.control); n == most {
		o.control = append(o.control[:1], o.control[2:]...) // not the first, which may be the hello
	}
	o.control = append(o.control, protocol.Frame{Pong: p})
}

// pending reports whether deltas wait.
func (o *outbox) pending() bool { return o.waiting }

// drop forgets deltas, before a last status.
func (o *outbox) drop() { o.waiting, o.upserts, o.deletes = false, nil, nil }

func (o *outbox) ack(seq uint64) { o.acked = max(o.acked, min(seq, o.seq)) }

// next returns what to send now, if anything. It is sent only when sent is called.
func (o *outbox) next() (protocol.Frame, bool) {
	switch {
	case len(o.control) > 0:
		return o.control[0], true
	case o.waiting && o.seq-o.acked < o.window:
		return protocol.Frame{Delta: o.delta()}, true
	case o.status != nil && !o.waiting: // after what it is about
		return protocol.Frame{Status: o.status}, true
	case o.event != nil:
		return protocol.Frame{Event: o.event}, true
	}
	return protocol.Frame{}, false
}

// delta cuts the next one.
func (o *outbox) delta() *protocol.Delta {
	size := 1024 // of what surrounds the resources
	for o.cut = 0; o.cut < len(o.upserts); o.cut++ {
		size += lineBytes(&o.upserts[o.cut])
		if size > maxBatch && o.cut > 0 {
			break
		}
	}
	d := &protocol.Delta{Seq: o.seq + 1, Upserts: o.upserts[:o.cut]}
	if o.whole {
		d.Begin = !o.begun
		d.End = o.cut == len(o.upserts)
		if d.End {
			d.Count = o.count
		}
	} else if o.cut == len(o.upserts) {
		for o.cutDeletes = 0; o.cutDeletes < len(o.deletes) && size < maxBatch-lineBytesMost; o.cutDeletes++ {
			size += lineBytes(&protocol.Resource{Key: o.deletes[o.cutDeletes]})
		}
		d.Deletes = o.deletes[:o.cutDeletes]
	}
	return d
}

// lineBytesMost is more than any key takes up in a line.
const lineBytesMost = 2048

// lineBytes is at least what r takes up in a line: a byte of a string may
// become six when it is escaped.
func lineBytes(r *protocol.Resource) int {
	text := len(r.Kind) + len(r.ID) + len(r.Name) + len(r.Parent.Kind) + len(r.Parent.ID)
	for _, s := range [...]string{r.ID, r.Name, r.Parent.ID} {
		for i := range len(s) {
			if c := s[i]; c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
				text += 5
			}
		}
	}
	return text + len(r.Spec) + len(r.Ext) + len(`{"kind":"","id":"","name":"","parent":{"kind":"","id":""},"spec":,"ext":},`)
}

// sent notes that what next returned is on its way.
func (o *outbox) sent() {
	switch {
	case len(o.control) > 0:
		o.control = o.control[1:]
	case o.waiting && o.seq-o.acked < o.window:
		o.seq++
		o.begun = true
		o.upserts = o.upserts[o.cut:]
		if len(o.upserts) > 0 {
			return
		}
		o.upserts = nil
		if !o.whole && len(o.deletes) > o.cutDeletes {
			o.deletes = o.deletes[o.cutDeletes:]
			return
		}
		o.deletes, o.waiting = nil, false
	case o.status != nil && !o.waiting:
		o.status = nil
	default:
		o.event = nil
	}
}

// plan says when to list next.
type plan struct {
	interval time.Duration // 0: no welcome yet
	due      time.Time     // of the next call
	tick     time.Time     // of the next list that nothing hinted
	notYet   time.Time     // hints cannot bring a call forward beyond this
	whole    bool          // the next list is to be a snapshot
	failures int
}

func newPlan() plan { return plan{} }

// regular reports whether a list, not only a look at what was hinted, is due.
func (p *plan) regular(now time.Time) bool { return p.whole || !now.Before(p.tick) }

// hint asks for a call soon. Hints come in flocks, so it waits for company.
func (p *plan) hint(now time.Time) {
	at := now.Add(company)
	if at.Before(p.notYet) {
		at = p.notYet
	}
	if at.Before(p.due) {
		p.due = at
	}
}

// now asks for a call at once.
func (p *plan) now() { p.due, p.notYet = time.Time{}, time.Time{} }

func (p *plan) began(list bool, now time.Time) {
	if list {
		p.tick = now.Add(p.interval)
	}
	p.due = p.tick
}

func (p *plan) succeeded() { p.failures, p.notYet = 0, time.Time{} }

// failed puts the next try off, longer with each failure up to the interval.
func (p *plan) failed(now time.Time) {
	p.notYet = now.Add(min(firstBackOff<<min(p.failures, 10), max(p.interval, firstBackOff)))
	p.failures++
	p.due, p.tick = p.notYet, p.notYet
}
