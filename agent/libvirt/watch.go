package libvirt

import (
	"context"
	"sync"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// maxTouched bounds the domains that a watcher names. When more are waiting,
// it names none and asks for a list.
const maxTouched = 1024

// A watcher collects the domains that events named until Watch takes them.
type watcher struct {
	wake chan struct{} // holds one

	mu      sync.Mutex // guards the fields below
	touched map[rpc.UUID]struct{}
	all     bool // more than maxTouched, or all on purpose
}

func (w *watcher) add(id rpc.UUID) {
	w.mu.Lock()
	if len(w.touched) < maxTouched {
		w.touched[id] = struct{}{}
	} else {
		w.all = true
	}
	w.mu.Unlock()
	w.signal()
}

func (w *watcher) addAll() {
	w.mu.Lock()
	w.all = true
	w.mu.Unlock()
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns the domains named since the last take, none meaning all.
func (w *watcher) take() []plugin.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []plugin.Key
	if !w.all {
		for id := range w.touched {
			keys = append(keys, plugin.Key{Kind: inventory.KindVM, ID: uuidText(id)})
		}
	}
	clear(w.touched)
	w.all = false
	return keys
}

// Watch implements plugin.Watcher. It asks for a list when it starts and some
// times again while the daemon meets its guests, and then names the VMs of each event.
// It ends with an error when the session does.
func (v *VMs) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	w := &watcher{wake: make(chan struct{}, 1), touched: make(map[rpc.UUID]struct{})}
	v.mu.Lock()
	v.watchers[w] = struct{}{}
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.watchers, w)
		v.mu.Unlock()
	}()
	s, err := v.conn.session(ctx, roleVMs)
	if err != nil {
		return err
	}
	changed()
	start, again := time.Now(), v.conn.time.again
	later := time.NewTimer(again[0])
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.down:
			return s.err()
		case <-later.C:
			changed()
			if again = again[1:]; len(again) > 0 {
				later.Reset(again[0] - time.Since(start))
			}
		case <-w.wake:
			changed(w.take()...)
		}
	}
}
