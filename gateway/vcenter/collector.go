package vcenter

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
)

// maxDropped bounds the properties that a vCenter may not know.
const maxDropped = 32

// maxHeap is how much of the program's memory may be in use, in bytes, when more is
// taken in: the gateway's unit has 512 MiB, for other vCenters too, and this one may
// have no end.
const maxHeap = 352 << 20

// crowded is an error if there is no memory for more.
func crowded() error {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if used := live[0].Value.Uint64(); used > maxHeap {
		return fmt.Errorf("the gateway has no memory for more, %d MiB are in use: choose clusters, or give some vCenters to another gateway", used>>20)
	}
	return nil
}

// collector is a property collector of ours on vCenter.
type collector struct {
	name    string
	types   []collected
	limits  timing
	ref     types.ManagedObjectReference
	unknown bool   // it may have been made, under a name that was never told
	version string // up to which everything was taken in
}

// create makes the collector and its filter. A property that this vCenter does
// not know is left out, and noted in drop.
func (c *collector) create(ctx context.Context, client *vim25.Client, drop map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.limits.callLimit)
	defer cancel()
	res, err := methods.CreatePropertyCollector(ctx, client, &types.CreatePropertyCollector{This: client.ServiceContent.PropertyCollector})
	if err != nil {
		c.unknown = session.Fault(err) == nil
		return err
	}
	c.ref = res.Returnval
	for {
		_, err := methods.CreateFilter(ctx, client, &types.CreateFilter{This: c.ref, Spec: filter(client, c.types, drop)})
		unknown, ok := session.Fault(err).(types.InvalidProperty)
		if !ok || drop[unknown.Name] || len(drop) >= maxDropped {
			return err
		}
		drop[unknown.Name] = true
	}
}

// wait returns what has changed since the version; nil: nothing has, for so many
// seconds. An answer that says that the session is gone is an error, in whatever
// place it says so.
func (c *collector) wait(ctx context.Context, client *vim25.Client, seconds int32) (*types.UpdateSet, error) {
	if err := crowded(); err != nil {
		return nil, err
	}
	limit := min(c.limits.waitLimit, c.limits.callLimit+time.Duration(seconds)*time.Second)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var set *types.UpdateSet
	scanned := false
	ctx = session.Rewriting(ctx, func(reply []byte) []byte {
		if set, scanned = scanReply(reply); scanned {
			return emptyReply
		}
		return reply
	})
	res, err := methods.WaitForUpdatesEx(ctx, client, &types.WaitForUpdatesEx{
		This: c.ref, Version: c.version, Options: &types.WaitOptions{MaxWaitSeconds: &seconds},
	})
	if err != nil {
		return nil, silent(ctx, limit, err)
	}
	if !scanned {
		set = res.Returnval
	}
	return set, seen(set)
}

// cancel ends a wait that vCenter may hold for nobody: it would take the next
// changes.
func (c *collector) cancel(ctx context.Context, client *vim25.Client) error {
	ctx, cancel := context.WithTimeout(ctx, c.limits.callLimit)
	defer cancel()
	_, err := methods.CancelWaitForUpdates(ctx, client, &types.CancelWaitForUpdates{This: c.ref})
	return err
}

// seen is an error if something was not.
func seen(set *types.UpdateSet) error {
	if set == nil {
		return nil
	}
	for i := range set.FilterSet {
		f := &set.FilterSet[i]
		if err := missing(f.MissingSet); err != nil {
			return err
		}
		for j := range f.ObjectSet {
			if err := unauthenticated(f.ObjectSet[j].MissingSet); err != nil {
				return err
			}
		}
	}
	return nil
}

// advance notes that everything up to the reply was taken in.
func (c *collector) advance(set *types.UpdateSet) {
	if set != nil {
		c.version = set.Version
	}
}

// truncated says whether the rest follows in another reply.
func truncated(set *types.UpdateSet) bool {
	return set != nil && set.Truncated != nil && *set.Truncated
}

// objects counts those that a reply shows.
func objects(set *types.UpdateSet) (n int) {
	if set == nil {
		return 0
	}
	for i := range set.FilterSet {
		n += len(set.FilterSet[i].ObjectSet)
	}
	return n
}

// missing is an error if objects could not be looked at: they may be there.
func missing(objects []types.MissingObject) error {
	for _, m := range objects {
		switch f := m.Fault.Fault.(type) {
		case *types.NotAuthenticated:
			return session.ErrNotAuthenticated
		case *types.ManagedObjectNotFound: // gone while it was looked at
		default:
			return fmt.Errorf("vCenter does not show %s: %T (%s): give the account the role Read-only there, propagating", m.Obj.Value, f, m.Fault.LocalizedMessage)
		}
	}
	return nil
}

// unauthenticated is an error if properties are missing because the session is gone.
func unauthenticated(properties []types.MissingProperty) error {
	for _, m := range properties {
		if _, gone := m.Fault.Fault.(*types.NotAuthenticated); gone {
			return session.ErrNotAuthenticated
		}
	}
	return nil
}

// alive is an error unless the session is.
func alive(ctx context.Context, client *vim25.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := methods.GetCurrentTime(ctx, client)
	return silent(ctx, limit, err)
}

// leftover are collectors of a session that were not destroyed.
type leftover struct {
	client     *vim25.Client
	collectors []types.ManagedObjectReference
}

// destroy frees what an earlier pass left on vCenter, if its session still is. It
// goes on with the rest when it is called again after an error.
func (l *leftover) destroy(ctx context.Context, c *vim25.Client, limit time.Duration) error {
	if l.client != c {
		*l = leftover{} // it went with its session
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for ; len(l.collectors) > 0; l.collectors = l.collectors[1:] {
		_, err := methods.DestroyPropertyCollector(ctx, c, &types.DestroyPropertyCollector{This: l.collectors[0]})
		if err != nil && session.Fault(err) == nil { // a fault says that it is gone, as after a restart of vCenter
			return fmt.Errorf("free what was left before: %w", err)
		}
	}
	return nil
}
