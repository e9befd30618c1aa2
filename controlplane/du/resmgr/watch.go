package resmgr

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/plugin"
)

const (
	watchBeat  = 15 * time.Second // a comment when nothing happens, so that dead peers are noticed
	watchWrite = 20 * time.Second // a client that takes no data for so long is cut; it may resume
	watchBatch = 256              // changes or resources between two flushes
)

// A watcher writes the catalogue's changes to one client as server-sent
// events. It has no queue of its own: it reads the feed at its own pace.
type watcher struct {
	m    *Manager
	f    *filter
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  bytes.Buffer
	json *json.Encoder
	next uint64 // revision of the change to send next
}

// Watch serves the changes from the revision since on, or first a snapshot if
// since is empty. It ends with the context or with the client.
func (m *Manager) Watch(ctx context.Context, w http.ResponseWriter, q *Query, since string) error {
	select {
	case m.watchers <- struct{}{}:
		defer func() { <-m.watchers }()
	default:
		return &httpapi.Error{
			Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second,
			Message: fmt.Sprintf("%d watches are running, no more are served", cap(m.watchers)),
		}
	}
	wa := &watcher{m: m, f: newFilter(q), w: w, rc: http.NewResponseController(w)}
	wa.json = json.NewEncoder(&wa.buf)
	wa.json.SetEscapeHTML(false)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold the events back
	// The server's deadline is for requests that end.
	if err := wa.rc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	wa.buf.WriteString("retry: 1000\n\n")
	var err error
	rev, same := m.parseRevision(since)
	switch {
	case since == "":
		err = wa.snapshot(ctx)
	case !same:
		err = wa.reset(ctx, "the revision is of another run of the deployment unit")
	default:
		wa.next = rev + 1
	}
	for err == nil {
		err = wa.follow(ctx)
	}
	if ctx.Err() == nil {
		m.metrics.watchersCut.Inc()
		m.log.Debug("watch ended", "err", err)
	}
	return nil // the response has begun, there is nobody to tell
}

// snapshot sends everything, then where it stands.
func (wa *watcher) snapshot(ctx context.Context) error {
	wa.m.mu.RLock()
	rev := wa.m.feed.rev
	hosts := make([]api.Host, 0, len(wa.m.order))
	for _, h := range wa.m.order {
		if wa.f.host == "" || wa.f.host == h.id {
			hosts = append(hosts, h.view())
		}
	}
	wa.m.mu.RUnlock()
	for i := range hosts {
		wa.event(api.HostSeen, 0, &hosts[i])
		if err := wa.flushOver(ctx, 64<<10); err != nil {
			return err
		}
	}
	at, more := cursor{}, true
	for more {
		page := make([]api.Resource, 0, watchBatch)
		at, more = wa.m.walk(at, wa.f, watchBatch, func(h *host, l *list, e *entry) bool {
			page = append(page, present(h, l, e))
			return true
		})
		for i := range page {
			wa.event(api.Added, 0, &page[i])
			if err := wa.flushOver(ctx, 64<<10); err != nil {
				return err
			}
		}
	}
	wa.next = rev + 1
	wa.event(api.Synced, rev, &api.Resources{Items: []api.Resource{}, Revision: wa.m.revision(rev)})
	return wa.flushOver(ctx, 0)
}

// reset tells the client to drop what it has and sends a snapshot.
func (wa *watcher) reset(ctx context.Context, why string) error {
	wa.event(api.Reset, 0, &api.ResetReason{Reason: why})
	return wa.snapshot(ctx)
}

// An outgoing event.
type outgoing struct {
	name string
	rev  uint64
	data any
}

// follow sends the changes that there are, or waits for one.
func (wa *watcher) follow(ctx context.Context) error {
	out, wait, lost := wa.collect()
	if lost {
		return wa.reset(ctx, "the watch fell too far behind")
	}
	for _, o := range out {
		wa.event(o.name, o.rev, o.data)
	}
	if wait == nil {
		return wa.flushOver(ctx, 64<<10)
	}
	if err := wa.flushOver(ctx, 0); err != nil {
		return err
	}
	beat := time.NewTimer(watchBeat)
	defer beat.Stop()
	select {
	case <-wait:
		return nil
	case <-beat.C:
		wa.buf.WriteString(": still here\n\n")
		return wa.flushOver(ctx, 0)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// collect takes up to watchBatch changes from the feed. If it took all, it
// returns a channel to wait on.
func (wa *watcher) collect() (out []outgoing, wait <-chan struct{}, lost bool) {
	m := wa.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if wa.next > m.feed.rev+1 || wa.next < m.feed.first {
		return nil, nil, true
	}
	for n := 0; wa.next <= m.feed.rev && n < watchBatch; n++ {
		c := m.feed.at(wa.next)
		if o, ok := wa.outgoing(c); ok {
			o.rev = wa.next
			out = append(out, o)
		}
		wa.next++
	}
	if wa.next <= m.feed.rev {
		return out, nil, false
	}
	return out, m.feed.wait(), false
}

// outgoing turns a change into an event if the watch is about it.
func (wa *watcher) outgoing(c *change) (outgoing, bool) {
	if wa.f.host != "" && wa.f.host != c.host.id {
		return outgoing{}, false
	}
	if c.op == opHost {
		if c.host.forgotten {
			return outgoing{name: api.HostSeen, data: &api.Gone{Host: c.host.id, Deleted: true}}, true
		}
		v := c.host.view()
		return outgoing{name: api.HostSeen, data: &v}, true
	}
	if wa.f.kind != "" && wa.f.kind != c.kind {
		return outgoing{}, false
	}
	if c.op == opDeleted {
		return outgoing{name: api.Deleted, data: &api.Gone{
			Host: c.host.id, Key: plugin.Key{Kind: c.kind, ID: c.e.id()}, Name: c.e.name(), Deleted: true,
		}}, true
	}
	l := c.host.list(c.kind)
	if l == nil { // forgotten since
		return outgoing{}, false
	}
	r := present(c.host, l, &c.e)
	r.Revision = wa.next
	if c.op == opAdded {
		return outgoing{name: api.Added, data: &r}, true
	}
	return outgoing{name: api.Modified, data: &r}, true
}

// event writes an event into the buffer; rev 0 means that it has no id.
func (wa *watcher) event(name string, rev uint64, data any) {
	if rev != 0 || name == api.Synced {
		wa.buf.WriteString("id: ")
		wa.buf.WriteString(wa.m.boot)
		wa.buf.WriteByte('.')
		wa.buf.Write(strconv.AppendUint(wa.buf.AvailableBuffer(), rev, 10))
		wa.buf.WriteByte('\n')
	}
	fmt.Fprintf(&wa.buf, "event: %s\ndata: ", name)
	if err := wa.json.Encode(data); err != nil { // ends with a line feed
		wa.buf.WriteString("{}\n")
		wa.m.log.Error("encode a watch event", "err", err)
	}
	wa.buf.WriteByte('\n')
}

// flushOver sends the buffer if it holds more than n bytes.
func (wa *watcher) flushOver(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if wa.buf.Len() <= n {
		return nil
	}
	if err := wa.rc.SetWriteDeadline(time.Now().Add(watchWrite)); err != nil {
		return err
	}
	if _, err := wa.w.Write(wa.buf.Bytes()); err != nil {
		return fmt.Errorf("the client takes no data: %w", err)
	}
	wa.buf.Reset()
	return wa.rc.Flush()
}
