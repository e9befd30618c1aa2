package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

const (
	defaultInterval = time.Minute
	leaving         = 700 * time.Millisecond // that calls have to return when the agent has gone
	lastWords       = 500 * time.Millisecond // that a last status has to get out
)

// conversation is one connection to the agent. Its loop waits for nothing but
// events: calls of the source, reading and writing each have a goroutine, so
// pings are answered and the end is seen while a source hangs.
type conversation struct {
	prog   *program
	log    *slog.Logger
	notify *notifier

	frames chan protocol.Frame // from the agent; closed at its end
	writes chan protocol.Frame // to the writer
	wrote  chan struct{}       // closed when the writer has ended
	garble error               // of the agent's; set before frames is closed
	ended  chan error          // the call under way
	broken chan error          // a panic beside the calls
	events chan protocol.Event

	// Of the loop.
	source   Source
	getter   Getter
	hints    *hints
	ledger   *ledger
	send     outbox
	plan     plan
	call     *call // nil: none
	status   protocol.Status
	exit     int              // exit code, once closing
	closing  <-chan time.Time // nil: not yet
	watchdog <-chan time.Time // nil: nobody asks
}

// call is what the source is doing.
type call struct {
	what   string // "start", "list", "get"
	late   bool   // it does not return
	limit  time.Time
	source Source // that a start made; read only when it has ended
}

// talk holds a conversation and returns the exit code. It leaves when the agent
// does, even if the source does not return.
func talk(ctx context.Context, p *program, conn io.ReadWriteCloser, log *slog.Logger) int {
	ctx, cancel := context.WithCancel(ctx)
	c := &conversation{
		prog: p, log: log, notify: newNotifier(os.Getenv),
		frames: make(chan protocol.Frame), writes: make(chan protocol.Frame), wrote: make(chan struct{}),
		ended: make(chan error, 1), broken: make(chan error, 2), events: make(chan protocol.Event),
		hints: newHints(), ledger: newLedger(p.hello.Kinds), plan: newPlan(),
		status: protocol.Status{Level: protocol.OK},
	}
	defer c.notify.close()
	var wg sync.WaitGroup
	wg.Go(func() { c.readAll(ctx, conn) })
	wg.Go(func() { c.writeAll(ctx, conn) })
	c.send.control = []protocol.Frame{{Hello: &p.hello}}
	code := c.loop(ctx, &wg)
	cancel()
	_ = conn.Close() // wakes the reader; there is nobody to tell of an error
	left := make(chan struct{})
	go func() { wg.Wait(); close(left) }() // ends with the process at the latest
	select {
	case <-left:
	case <-time.After(leaving):
		log.Warn("the source does not return; leaving without it")
	}
	return code
}

// readAll passes on what the agent says.
func (c *conversation) readAll(ctx context.Context, conn io.Reader) {
	defer close(c.frames)
	in := protocol.NewReader(conn, 0)
	for {
		f, err := in.Frame()
		if err != nil {
			if _, theirs := errors.AsType[*protocol.Violation](err); theirs {
				c.garble = err
			}
			return
		}
		select {
		case c.frames <- f:
		case <-ctx.Done():
			return
		}
	}
}

// writeAll writes what the loop gives it.
func (c *conversation) writeAll(ctx context.Context, conn io.Writer) {
	defer close(c.wrote)
	out := protocol.NewWriter(conn)
	for {
		select {
		case f, more := <-c.writes:
			if !more || out.Frame(f) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// loop runs until the agent or the plugin has had enough.
func (c *conversation) loop(ctx context.Context, wg *sync.WaitGroup) int {
	c.notify.tell("READY=1")
	defer c.notify.tell("STOPPING=1")
	if c.notify.every > 0 {
		t := time.NewTicker(c.notify.every)
		defer t.Stop()
		c.watchdog = t.C
	}
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		due.Reset(c.begin(ctx, wg))
		next, ready := c.send.next()
		var writes chan protocol.Frame
		if ready {
			writes = c.writes
		} else if c.closing != nil {
			c.flush()
			return c.exit
		}
		events := c.events
		if c.send.event != nil {
			events = nil // one at a time: who tells more waits
		}
		select {
		case writes <- next:
			c.send.sent()
		case f, ok := <-c.frames:
			if !ok {
				return c.gone()
			}
			if c.take(ctx, wg, f) {
				return c.exit
			}
		case err := <-c.ended:
			c.finish(ctx, wg, err)
		case <-c.hints.c:
			c.plan.hint(time.Now())
		case e := <-events:
			c.send.event = &e
		case err := <-c.broken:
			c.fail(err)
		case <-due.C:
		case <-c.watchdog:
			if c.call == nil || !c.call.late { // a source that hangs is for systemd to restart
				c.notify.tell("WATCHDOG=1")
			}
		case <-c.closing:
			return c.exit
		case <-c.wrote: // nobody reads any more, but may have said why
			return c.hearOut(ctx, wg)
		case <-ctx.Done():
			return exitOK // SIGTERM
		}
	}
}

// flush waits until the last status is out.
func (c *conversation) flush() {
	close(c.writes)
	select {
	case <-c.wrote:
	case <-c.closing:
	}
}

// hearOut takes in what the agent said before it stopped to read, and returns
// the exit code.
func (c *conversation) hearOut(ctx context.Context, wg *sync.WaitGroup) int {
	limit := time.After(lastWords)
	for {
		select {
		case f, ok := <-c.frames:
			if !ok {
				return c.gone()
			}
			if f.Stop != nil {
				c.take(ctx, wg, f)
				return c.exit
			}
		case <-limit:
			return c.exit
		}
	}
}

// gone returns the exit code when the agent has gone.
func (c *conversation) gone() int {
	if c.garble != nil {
		c.log.Error("the agent says what cannot be understood", "err", c.garble)
		return exitError
	}
	return c.exit
}

// take deals with one frame and reports whether to leave.
func (c *conversation) take(ctx context.Context, wg *sync.WaitGroup, f protocol.Frame) bool {
	switch {
	case f.Ping != nil:
		c.send.pong(f.Ping)
	case f.Ack != nil:
		c.send.ack(f.Ack.Seq)
	case f.Welcome != nil && c.plan.interval == 0:
		c.welcome(ctx, wg, f.Welcome)
	case f.Resync != nil:
		c.plan.whole = true
		c.plan.now()
	case f.Refresh != nil:
		var keys []Key
		for _, k := range f.Refresh.Keys {
			keys = append(keys, Key(k))
		}
		c.hints.add(keys...)
		c.plan.now()
	case f.Stop != nil:
		if f.Stop.Reason != "" {
			c.log.Error("the agent dismisses the plugin", "reason", f.Stop.Reason)
			c.exit = exitError
		}
		return true
	}
	return false // also what is of a later time
}

// welcome starts the source.
func (c *conversation) welcome(ctx context.Context, wg *sync.WaitGroup, w *protocol.Welcome) {
	if w.Protocol < protocol.Oldest || w.Protocol > protocol.Version {
		h := c.prog.hello
		c.fail(fmt.Errorf("%s wants to speak protocol %d, plugin %s %s (%s) speaks %v: upgrade the plugin",
			w.Agent, w.Protocol, h.Name, h.Version, h.SDK, h.Protocols))
		return
	}
	c.send.window = uint64(protocol.Window)
	if w.Window > 0 {
		c.send.window = uint64(min(w.Window, protocol.Window))
	}
	c.plan.interval = defaultInterval
	if w.IntervalMS > 0 {
		c.plan.interval = time.Duration(w.IntervalMS) * time.Millisecond
	}
	made := c.start("start")
	wg.Go(func() {
		c.ended <- safely(func() (err error) {
			made.source, err = c.prog.open(ctx, w.Config)
			if err == nil && made.source == nil {
				err = errors.New("no source was made, and no error")
			}
			return err
		})
	})
}

// start notes that a call begins, of which there is one at a time.
func (c *conversation) start(what string) *call {
	c.call = &call{what: what, limit: time.Now().Add(c.prog.timeout + time.Second)}
	return c.call
}

// begin begins what is due, and returns how long until more may be.
func (c *conversation) begin(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	now := time.Now()
	switch {
	case c.call != nil && c.call.late, c.source == nil && c.call == nil, c.closing != nil:
		return time.Hour
	case c.call != nil:
		if wait := c.call.limit.Sub(now); wait > 0 {
			return wait
		}
		c.call.late = true
		c.say(protocol.Degraded, c.call.what, fmt.Sprintf("the source has not returned for %v", c.prog.timeout+time.Second))
		return time.Hour
	case c.send.pending():
		return time.Hour // the agent is slower than the source: wait for it
	}
	if wait := c.plan.due.Sub(now); wait > 0 {
		return wait
	}
	keys, all := c.hints.take()
	list := all || c.getter == nil && len(keys) > 0 || c.ledger.told == nil || c.plan.regular(now)
	if !list && len(keys) == 0 {
		c.plan.due = c.plan.tick // a list saw to it already
		return c.plan.tick.Sub(now)
	}
	c.plan.began(list, now)
	c.ledger.begin(list && (c.plan.whole || c.ledger.told == nil))
	what, f := "list", func(ctx context.Context) error { return c.ledger.list(ctx, c.source) }
	if !list {
		what, f = "get", func(ctx context.Context) error { return c.ledger.get(ctx, c.getter, keys) }
	}
	c.start(what)
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, c.prog.timeout)
		defer cancel()
		c.ended <- f(ctx)
	})
	return c.prog.timeout
}

// finish takes the end of the call under way.
func (c *conversation) finish(ctx context.Context, wg *sync.WaitGroup, err error) {
	done := c.call
	c.call = nil
	if c.closing != nil || ctx.Err() != nil { // leaving: how a call ends is of no interest
		return
	}
	now := time.Now()
	_, panicked := errors.AsType[*panicked](err)
	switch {
	case panicked, done.what == "start" && err != nil:
		c.fail(err)
	case done.what == "start":
		c.source = done.source
		c.started(ctx, wg, now)
	case done.what == "get" && err != nil:
		c.log.Debug("single resources could not be looked at, listing all", "err", err)
		c.hints.add()
		c.plan.now()
	case err != nil:
		c.plan.failed(now)
		c.say(protocol.Degraded, "list", err.Error())
	default:
		whole := c.ledger.whole
		upserts, deletes := c.ledger.commit()
		if whole {
			c.plan.whole = false
			deletes = nil // a snapshot says it by their absence
		}
		c.send.put(whole, upserts, deletes)
		if done.what == "list" {
			c.plan.succeeded()
			c.say(protocol.OK, "", "")
		}
	}
}

// started goes on when the source is there.
func (c *conversation) started(ctx context.Context, wg *sync.WaitGroup, now time.Time) {
	c.getter, _ = c.source.(Getter)
	if w, ok := c.source.(Watcher); ok {
		wg.Go(func() {
			if err := watch(ctx, w, c.hints, c.log); err != nil {
				c.broken <- err
			}
		})
	}
	if h, ok := c.source.(Historian); ok {
		wg.Go(func() {
			if err := safely(func() error { return h.Events(ctx, func(e Event) { c.tell(ctx, e) }) }); err != nil && ctx.Err() == nil {
				c.broken <- fmt.Errorf("events: %w", err)
			}
		})
	}
	c.plan.due = now
}

// tell hands an event of the source to the loop.
func (c *conversation) tell(ctx context.Context, e Event) {
	out := protocol.Event{About: protocol.Key(e.About), Type: e.Type, At: e.At}
	if out.At.IsZero() {
		out.At = time.Now().UTC()
	}
	var err error
	if e.Data != nil {
		out.Data, err = json.Marshal(e.Data)
	}
	if err = errors.Join(err, out.Validate()); err != nil {
		c.log.Error("an event cannot be told", "err", err)
		return
	}
	select {
	case c.events <- out:
	case <-ctx.Done():
	}
}

// say tells the agent of the plugin's health when it changes.
func (c *conversation) say(level, code, text string) {
	const most = 4000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	st := protocol.Status{Level: level, Code: code, Text: text}
	if st == c.status {
		return
	}
	c.status = st
	c.send.status = &st
	switch level {
	case protocol.OK:
		c.log.Info("the plugin is well again")
	case protocol.Degraded:
		c.log.Warn("the plugin fails; its last list stays in force", "code", code, "err", text)
	default:
		c.log.Error("the plugin cannot go on and leaves", "code", code, "err", text)
	}
}

// fail gives up: the agent is told and the program ends.
func (c *conversation) fail(err error) {
	if c.closing != nil {
		return
	}
	code := "start"
	c.exit = exitError
	if p, ok := errors.AsType[*panicked](err); ok {
		c.log.Error("panic in the source", "panic", fmt.Sprint(p.value), "stack", string(p.stack))
		code, c.exit = "panic", exitPanic
	}
	if isBadConfig(err) {
		code, c.exit = "config", exitConfig
	}
	c.say(protocol.Failed, code, err.Error())
	c.send.drop()
	c.closing = time.After(lastWords)
}
