package vcenter

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/plugin"
)

// How many objects one reply of a sweep has: of most little is read, of a datastore
// all hosts that have it.
const (
	manyPerPage = 500
	fewPerPage  = 25
)

// sweep reads again, now and then, what changes without a notification.
func (p *pass) sweep(ctx context.Context, changed func(...plugin.Key)) error {
	return every(ctx, p.s.time.sweepEvery, func() error {
		for _, r := range []reading{{topology, traversal, slow, fewPerPage}, {volatile, traversalToVMs, slow, manyPerPage}} {
			if err := p.reread(ctx, r, changed); err != nil {
				return fmt.Errorf("read again what has no notification: %w", err)
			}
		}
		p.s.opts.Session.Tidy(ctx)
		return nil
	})
}

// watchFilling reads often how full the datastores are, of which there is no
// notification: one call, for all of them. That it fails once is no harm.
func (p *pass) watchFilling(ctx context.Context, changed func(...plugin.Key)) error {
	return every(ctx, p.s.time.fillsEvery, func() error {
		err := p.reread(ctx, reading{topology, traversalToStores, fills, manyPerPage}, changed)
		if session.IsNotAuthenticated(err) {
			return fmt.Errorf("read how full the datastores are: %w", err)
		}
		if err != nil {
			p.s.log.Debug("how full the datastores are cannot be read", "err", err)
			p.s.Doubt()
		}
		return nil
	})
}

// every calls f again and again until it fails or ctx ends.
func every(ctx context.Context, d time.Duration, f func() error) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := f(); err != nil {
			return err
		}
	}
}

// reading is what to read again of types, and the way to their objects.
type reading struct {
	list  []collected
	way   []types.BaseSelectionSpec
	paths func(*collected) []string
	page  int32 // objects of one reply
}

func slow(t *collected) []string  { return t.slow }
func fills(t *collected) []string { return t.fills }

// reread reads properties again.
func (p *pass) reread(ctx context.Context, r reading, changed func(...plugin.Key)) error {
	since := p.s.store.count()
	what := spec(p.client, r.list, r.way, func(t *collected) []string {
		return slices.DeleteFunc(slices.Clone(r.paths(t)), func(path string) bool { return dropped(p.s.drop, path) })
	})
	res, err := p.retrieve(ctx, what, r.page)
	for err == nil && res != nil {
		set, token := &types.UpdateSet{FilterSet: make([]types.PropertyFilterUpdate, 1)}, res.Token
		for i := range res.Objects {
			o := &res.Objects[i]
			if err := unauthenticated(o.MissingSet); err != nil {
				return err
			}
			set.FilterSet[0].ObjectSet = append(set.FilterSet[0].ObjectSet, modification(o))
		}
		p.s.health.answered(0)
		if keys := p.s.store.again(p.epoch, since, set); len(keys) > 0 {
			changed(keys...)
		}
		if token == "" {
			return nil
		}
		res, err = p.more(ctx, token)
	}
	return err
}

func modification(o *types.ObjectContent) types.ObjectUpdate {
	u := types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, Obj: o.Obj}
	for _, prop := range o.PropSet {
		u.ChangeSet = append(u.ChangeSet, types.PropertyChange{Name: prop.Name, Op: types.PropertyChangeOpAssign, Val: prop.Val})
	}
	return u
}

func (p *pass) retrieve(ctx context.Context, what types.PropertyFilterSpec, page int32) (*types.RetrieveResult, error) {
	ctx, cancel := context.WithTimeout(ctx, p.s.time.waitLimit)
	defer cancel()
	res, err := methods.RetrievePropertiesEx(ctx, p.client, &types.RetrievePropertiesEx{
		This: p.client.ServiceContent.PropertyCollector, SpecSet: []types.PropertyFilterSpec{what},
		Options: types.RetrieveOptions{MaxObjects: page},
	})
	if err != nil {
		return nil, err
	}
	return res.Returnval, nil
}

func (p *pass) more(ctx context.Context, token string) (*types.RetrieveResult, error) {
	ctx, cancel := context.WithTimeout(ctx, p.s.time.waitLimit)
	defer cancel()
	res, err := methods.ContinueRetrievePropertiesEx(ctx, p.client, &types.ContinueRetrievePropertiesEx{
		This: p.client.ServiceContent.PropertyCollector, Token: token,
	})
	if err != nil {
		return nil, err
	}
	return &res.Returnval, nil
}

// count is how much was taken in until now.
func (s *store) count() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changes
}

// again takes in what was read again, but of objects that have changed after
// that count: a newer value would be lost. It returns the keys that differ now.
func (s *store) again(epoch, count uint64, set *types.UpdateSet) []plugin.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	updates := &set.FilterSet[0].ObjectSet
	*updates = slices.DeleteFunc(*updates, func(u types.ObjectUpdate) bool {
		o := s.objects[u.Obj.Value]
		return o == nil || o.changed > count
	})
	touched, _, wide := s.apply(epoch, set)
	return s.refresh(touched, wide)
}
