package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// gone is the state of a VM that is not there.
const gone = "gone"

// tracker follows the states of VMs and when they were seen.
type tracker struct {
	mu      sync.Mutex // guards the fields below
	seen    map[string]sighting
	changed chan struct{} // closed at each change
	synced  bool
	wg      sync.WaitGroup
}

type sighting struct {
	state string
	at    time.Time
}

func newTracker() *tracker {
	return &tracker{seen: make(map[string]sighting), changed: make(chan struct{})}
}

func (t *tracker) note(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tracker) set(id, state string) {
	if old, ok := t.seen[id]; !ok || old.state != state {
		t.seen[id] = sighting{state, time.Now()}
	}
}

// wait waits until a VM is in one of the states, separated by "|", and says
// since when it is.
func (t *tracker) wait(ctx context.Context, id, want string) (time.Time, error) {
	for {
		t.mu.Lock()
		s, ok := t.seen[id]
		changed := t.changed
		t.mu.Unlock()
		if !ok {
			s.state = gone
		}
		if slices.Contains(strings.Split(want, "|"), s.state) {
			return s.at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("VM %s is %s, not %s: %w", id, s.state, want, ctx.Err())
		}
	}
}

func (t *tracker) ready(ctx context.Context) error {
	for {
		t.mu.Lock()
		synced, changed := t.synced, t.changed
		t.mu.Unlock()
		if synced {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("no first picture: %w", ctx.Err())
		}
	}
}

// cloud follows the deployment unit's watch until ctx ends.
func cloud(ctx context.Context, c *client.Client) *tracker {
	t := newTracker()
	t.wg.Go(func() {
		_ = c.Watch(ctx, url.Values{"kind": {inventory.KindVM}}, func(e client.Event) {
			switch e.Type {
			case api.Added, api.Modified:
				var r api.Resource
				if json.Unmarshal(e.Data, &r) == nil {
					t.note(func() { t.set(r.ID, r.State) })
				}
			case api.Deleted:
				var g api.Gone
				if json.Unmarshal(e.Data, &g) == nil {
					t.note(func() { t.set(g.ID, gone) })
				}
			case api.Synced:
				t.note(func() { t.synced = true })
			}
		}, nil)
	})
	return t
}

// change is a line of the agent's watch.
type change struct {
	Upserts []wire.Resource `json:"upserts"`
	Deletes []plugin.Key    `json:"deletes"`
	Synced  bool            `json:"synced"`
}

// local follows an agent's mirror until ctx ends.
func local(ctx context.Context, a *sandbox.Agent) (*tracker, error) {
	resp, err := a.Get(ctx, "/v1/watch?kind="+inventory.KindVM)
	if err != nil {
		return nil, err
	}
	t := newTracker()
	t.wg.Go(func() {
		defer func() { _ = resp.Body.Close() }()
		lines := json.NewDecoder(resp.Body)
		for {
			var c change
			if lines.Decode(&c) != nil {
				return
			}
			t.note(func() {
				for _, r := range c.Upserts {
					var vm inventory.VM
					if json.Unmarshal(r.Spec, &vm) == nil {
						t.set(r.ID, vm.State)
					}
				}
				for _, k := range c.Deletes {
					t.set(k.ID, gone)
				}
				t.synced = t.synced || c.Synced
			})
		}
	})
	return t, nil
}
