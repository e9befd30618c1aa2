package uplink

import (
	"context"
	"encoding/json"
	"runtime/debug"
	"slices"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// talk is one conversation on one session, from a hello to an error.
type talk struct {
	*Uplink
	session *tunnel.Session
	newer   chan *tunnel.Session
	watch   *mirror.Watch
	seq     uint64
	name    string // of the host, as the last hello said
	usage   time.Duration
}

func (t *talk) run(ctx context.Context) error {
	t.watch = t.o.Mirror.Compare()
	defer t.watch.Close()
	if err := t.hello(ctx); err != nil {
		return err
	}
	check := time.NewTimer(recheck)
	defer check.Stop()
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	usage := time.NewTimer(max(t.usage, time.Second))
	defer usage.Stop()
	if t.usage == 0 {
		usage.Stop()
	}
	history := time.NewTimer(0)
	defer history.Stop()
	for {
		t.o.Tick()
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.session.Done():
			return t.session.Err()
		case <-alive.C:
			if hostname() != t.name {
				err = t.hello(ctx)
			}
		case s := <-t.newer:
			select {
			case t.newer <- s: // for Run
			default: // a newer one yet is there
			}
			return errReplaced
		case <-t.watch.C:
			err = t.changes(ctx, nil)
		case <-usage.C:
			var now *inventory.Usage
			if now, err = t.sample(ctx); err == nil {
				err = t.changes(ctx, now)
			}
			usage.Reset(t.usage)
		case <-t.o.Spool.Notify():
			history.Reset(eventsPause)
		case <-history.C:
			var more bool
			if more, err = t.events(ctx); more {
				history.Reset(0)
			}
		case <-check.C:
			err = t.hello(ctx)
			check.Reset(recheck)
		}
		if err != nil {
			return err
		}
	}
}

func (t *talk) sample(ctx context.Context) (*inventory.Usage, error) {
	if t.o.Usage == nil {
		return nil, nil
	}
	now, err := t.o.Usage(ctx)
	if err != nil {
		t.o.Log.Debug("usage not sampled", "err", err)
		return nil, ctx.Err()
	}
	return &now, nil
}

// hello compares digests and sends whole what differs.
func (t *talk) hello(ctx context.Context) error {
	now, err := t.sample(ctx)
	if err != nil {
		return err
	}
	var welcome wire.Welcome
	t.name = hostname()
	err = t.call(ctx, "/v1/hello", wire.Hello{
		Version: wire.Version, Agent: t.o.Agent, Hostname: t.name, Hypervisor: t.o.Kind, Epoch: t.o.Epoch,
		Time: time.Now().UTC(), Sources: t.o.Mirror.Statuses(), Digests: t.o.Mirror.Digests(), Usage: now,
	}, &welcome)
	if err != nil {
		return err
	}
	t.usage = time.Duration(welcome.UsageSeconds) * time.Second
	t.packs.Store(slices.Contains(welcome.Encodings, wire.EncodingGzip))
	return t.whole(ctx, welcome.Need)
}

// whole sends all resources of some kinds.
func (t *talk) whole(ctx context.Context, kinds []string) error {
	sent := 0
	for _, kind := range kinds {
		rs, digest := t.watch.TakeKind(kind)
		for first := true; first || len(rs) > 0; first = false {
			n, size := 0, 0
			for n < len(rs) && (n == 0 || size < partBytes) {
				size += len(rs[n].Spec) + len(rs[n].Ext) + 300
				n++
			}
			sent += size
			r := wire.Report{Full: kind, Begin: first, End: n == len(rs), Upserts: rs[:n]}
			if r.End {
				r.Digests = map[string]wire.Digest{kind: digest}
			}
			if _, err := t.report(ctx, r); err != nil {
				return err
			}
			rs = rs[n:]
		}
	}
	t.agreed()
	if sent > muchSent {
		debug.FreeOSMemory()
	}
	return nil
}

// report sends one report and returns the answer.
func (t *talk) report(ctx context.Context, r wire.Report) (wire.Ack, error) {
	t.o.Tick()
	t.seq++
	r.Epoch, r.Seq = t.o.Epoch, t.seq
	var ack wire.Ack
	err := t.call(ctx, "/v1/report", r, &ack)
	return ack, err
}

// changes sends the newest state of what has changed, until nothing is left.
func (t *talk) changes(ctx context.Context, usage *inventory.Usage) error {
	for {
		c := t.watch.Take(partBytes)
		if c.Empty() && usage == nil {
			return nil
		}
		if c.Compare {
			if err := t.hello(ctx); err != nil {
				return err
			}
			continue
		}
		r := wire.Report{Upserts: c.Upserts, Deletes: c.Deletes, Sources: c.Sources, Digests: c.Digests, Usage: usage}
		ack, err := t.report(ctx, r)
		if err != nil {
			return err // the next hello finds what is missing
		}
		if err := t.whole(ctx, ack.Need); err != nil {
			return err
		}
		usage = nil
	}
}

// events sends a batch of history; more: there is another.
func (t *talk) events(ctx context.Context) (more bool, err error) {
	records, err := t.o.Spool.Read(t.o.Spool.Acked(), eventsAtOnce)
	if err != nil || len(records) == 0 {
		return false, err
	}
	batch := make([]wire.Event, 0, len(records))
	for _, r := range records {
		var e wire.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			t.o.Log.Warn("event in the spool cannot be read", "seq", r.Seq, "err", err)
			e = wire.Event{Type: "gap", Time: time.Now().UTC(), Lost: 1, Detail: "unreadable"}
		}
		if r.Lost > 0 {
			batch = append(batch, wire.Event{Epoch: t.o.Spool.Born(), Seq: r.Seq - 1, Time: e.Time, Type: "gap", Lost: r.Lost, Detail: "the spool was full"})
		}
		// The spool's numbers go on from start to start of the agent.
		e.Epoch, e.Seq = t.o.Spool.Born(), r.Seq
		batch = append(batch, e)
	}
	var ack wire.EventsAck
	if err := t.call(ctx, "/v1/events", wire.Events{Events: batch}, &ack); err != nil {
		return false, err
	}
	if err := t.o.Spool.Ack(min(ack.Seq, records[len(records)-1].Seq)); err != nil {
		return false, err
	}
	return len(records) == eventsAtOnce, nil
}
