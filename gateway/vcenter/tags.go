package vcenter

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
	ids = slices.DeleteFunc(ids, func(id string) bool { return !isID(id) })
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if len(ids) > maxTags {
		return nil, fmt.Errorf("%d tags are more than %d", len(ids), maxTags)
	}
	names, err := categoryNames(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("categories: %w", err)
	}
	attached, err := m.ListAttachedObjectsOnTags(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	var out []tag2objects
	for i := range attached {
		if !isID(attached[i].TagID) {
			continue
		}
		t, err := m.GetTag(ctx, attached[i].TagID)
		if rest.IsStatusError(err, http.StatusNotFound) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", attached[i].TagID, err)
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

// categoryNames reads the categories' names by id. What is no id is left out:
// govmomi would take it for a name and look for it among all categories, whose ids
// it would again take for names, without end.
func categoryNames(ctx context.Context, m *tags.Manager) (map[string]string, error) {
	ids, err := m.ListCategories(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string)
	for _, id := range ids[:min(len(ids), maxTags)] {
		if !isID(id) {
			continue
		}
		c, err := m.GetCategory(ctx, id)
		switch {
		case rest.IsStatusError(err, http.StatusNotFound): // removed meanwhile
		case err != nil:
			return nil, err
		default:
			names[c.ID] = c.Name
		}
	}
	return names, nil
}

// isID says whether a text is the id of a tag or category.
func isID(s string) bool { return strings.HasPrefix(s, "urn:") }

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
