package vcenter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	maxTags = 1000 // that are read: each costs a call
	// tagsAtOnce bounds the tags of one reply, each of which has all objects that
	// it is attached to.
	tagsAtOnce = 4
)

// TagSource lists the tags of a Source's vCenter. It is a source of its own, for
// tags come another way, by REST, and more slowly: what is wrong with them is no
// trouble of the rest, and until they were read none is said to be gone.
type TagSource struct{ s *Source }

// Tags returns the source of the vCenter's tags.
func (s *Source) Tags() *TagSource { return &TagSource{s} }

// Module is the name of the discovery module.
func (t *TagSource) Module() string { return inventory.VCenterTagModule(t.s.opts.Name) }

// List reads the tags and what they are attached to, and emits them. A vCenter
// without REST has none.
func (t *TagSource) List(ctx context.Context, emit func(plugin.Resource)) error {
	if err := t.s.health.await(ctx, t.s.time.firstList, t.s.time.grace); err != nil {
		return t.s.describe(err)
	}
	var found []tag2objects
	err := t.s.opts.Session.REST(ctx, func(ctx context.Context, c *rest.Client) (err error) {
		found, err = retrieveTags(ctx, tags.NewManager(c))
		return err
	})
	if errors.Is(err, session.ErrNoREST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tags: %w", err)
	}
	for _, r := range t.s.store.tagged(found) {
		emit(r)
	}
	return nil
}

// Watch hints at the tags when vCenter begins or ceases to be followed: what is
// stale then, or true again, they are too.
func (t *TagSource) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	for was := t.s.health.now() == nil; ; {
		turn, is := t.s.health.next()
		if is != was {
			was = is
			changed()
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return ctx.Err()
		}
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
	var attached []tags.AttachedObjects
	for some := range slices.Chunk(ids, tagsAtOnce) {
		more, err := m.ListAttachedObjectsOnTags(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("objects: %w", err)
		}
		attached = append(attached, more...)
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

// tagged makes the tags' resources. Of the objects, those that are listed are named.
func (s *store) tagged(found []tag2objects) []plugin.Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]plugin.Resource, 0, len(found))
	for _, t := range found {
		t.spec.Objects = slices.DeleteFunc(t.spec.Objects, func(id string) bool {
			o := s.objects[id]
			return o == nil || o.shown == nil // not of the chosen clusters
		})
		all = append(all, plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindTag, ID: s.view.id(t.id)},
			Name: cut(t.name), Parent: s.view.serverKey(), Spec: t.spec,
		})
	}
	return all
}
