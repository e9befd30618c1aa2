package vcenter

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// maxTags bounds the tags that are read: each costs a call.
const maxTags = 1000

// readTags reads the tags and what they are attached to. They are extras: that
// they cannot be read is no trouble of the discovery, and the old ones stay.
func (p *pass) readTags(ctx context.Context, changed func(...plugin.Key)) {
	var found []tag2objects
	err := p.s.opts.Session.REST(ctx, func(ctx context.Context, c *rest.Client) (err error) {
		found, err = retrieveTags(ctx, tags.NewManager(c))
		return err
	})
	if err != nil {
		p.s.log.Debug("tags cannot be read", "err", err)
		return
	}
	if keys := p.s.store.setTags(found); len(keys) > 0 {
		changed(keys...)
	}
}

// tag2objects is a tag and what it is attached to.
type tag2objects struct {
	id, name string
	spec     inventory.Tag
}

func retrieveTags(ctx context.Context, m *tags.Manager) ([]tag2objects, error) {
	ids, err := m.ListTags(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if len(ids) > maxTags {
		return nil, fmt.Errorf("%d tags are more than %d", len(ids), maxTags)
	}
	categories, err := m.GetCategories(ctx)
	if err != nil {
		return nil, fmt.Errorf("categories: %w", err)
	}
	names := make(map[string]string)
	for i := range categories {
		names[categories[i].ID] = categories[i].Name
	}
	attached, err := m.GetAttachedObjectsOnTags(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	var out []tag2objects
	for i := range attached {
		t := attached[i].Tag
		if t == nil {
			continue // it was removed meanwhile
		}
		found := tag2objects{id: t.ID, name: t.Name, spec: inventory.Tag{Category: names[t.CategoryID], Description: t.Description}}
		for _, o := range attached[i].ObjectIDs {
			found.spec.Objects = append(found.spec.Objects, intern(o.Reference().Value))
		}
		slices.Sort(found.spec.Objects)
		out = append(out, found)
	}
	return out, nil
}

// setTags lists tags in the place of the old ones and returns the keys that
// differ now.
func (s *store) setTags(found []tag2objects) (keys []plugin.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := make(map[plugin.Key]bool)
	for i := range found {
		objects := slices.DeleteFunc(found[i].spec.Objects, func(id string) bool {
			o := s.objects[id]
			return o == nil || o.shown == nil // not of the chosen clusters
		})
		found[i].spec.Objects = slices.Clip(objects)
		r := &plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindTag, ID: s.view.id(found[i].id)},
			Name: cut(found[i].name), Parent: s.view.serverKey(), Spec: found[i].spec,
		}
		there[r.Key] = true
		keys = append(keys, s.put(nil, r)...)
	}
	for k := range s.listed {
		if k.Kind == inventory.KindTag && !there[k] {
			delete(s.listed, k)
			keys = append(keys, k)
		}
	}
	return keys
}
