package resmgr

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const kindLUN = "com.acme.lun"

var lunColumns = []plugin.Column{{Name: "SIZE", Path: "size_bytes"}}

func lun(id int, spec string) wire.Resource {
	return wire.Resource{Key: plugin.Key{Kind: kindLUN, ID: fmt.Sprint(id)}, Name: fmt.Sprint("lun", id), Spec: []byte(spec), Source: "acme"}
}

// lunKind declares the kind.
func lunKind(version int, schema string) wire.Resource {
	k := inventory.Kind{Version: version, Columns: lunColumns, Modules: []string{"acme"}}
	if schema != "" {
		k.Schema = []byte(schema)
	}
	return resource(inventory.KindKind, kindLUN, kindLUN, "", k)
}

const sized = `{"type":"object","required":["size_bytes"],"properties":{"size_bytes":{"type":"integer"}}}`

// inspected runs f with a manager whose inspector runs, in a bubble in which
// synctest.Wait waits for that.
func inspected(t *testing.T, f func(t *testing.T, m *Manager)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = m.Run(ctx) })
		f(t, m)
		cancel()
		wg.Wait()
	})
}

// set changes the agent's mirror and tells the manager.
func (a *fakeAgent) set(t *testing.T, m *Manager, rs ...wire.Resource) {
	t.Helper()
	a.seq++
	for _, r := range rs {
		a.mirror[r.Key] = r
	}
	ack, err := m.Report(a.p, &wire.Report{Epoch: a.epoch, Seq: a.seq, Upserts: rs, Digests: a.digests()})
	if err != nil || len(ack.Need) > 0 {
		t.Fatalf("report: need %q, %v", ack.Need, err)
	}
}

func (a *fakeAgent) drop(t *testing.T, m *Manager, keys ...plugin.Key) {
	t.Helper()
	a.seq++
	for _, k := range keys {
		delete(a.mirror, k)
	}
	ack, err := m.Report(a.p, &wire.Report{Epoch: a.epoch, Seq: a.seq, Deletes: keys, Digests: a.digests()})
	if err != nil || len(ack.Need) > 0 {
		t.Fatalf("report: need %q, %v", ack.Need, err)
	}
}

// invalid are the reasons why resources do not fit, by id.
func invalid(t *testing.T, m *Manager, q Query) map[string]string {
	t.Helper()
	out := map[string]string{}
	q.Limit = 1000
	page, err := m.List(&q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Items {
		if r.Invalid != "" {
			out[r.ID] = r.Invalid
		}
	}
	return out
}

func TestResourcesAreCheckedAgainstTheirDeclaration(t *testing.T) {
	inspected(t, func(t *testing.T, m *Manager) {
		a := newAgent(1)
		for _, r := range []wire.Resource{lun(1, `{"size_bytes":1}`), lun(2, `{"size_bytes":"x"}`)} {
			a.mirror[r.Key] = r
		}
		steps := []struct {
			name string
			do   func()
			want map[string]string
		}{
			{"no declaration", func() { a.connect(t, m) }, nil},
			{"declaration behind the resources", func() { a.set(t, m, lunKind(1, sized)) }, map[string]string{"2": "size_bytes: got string, want integer"}},
			{"one more", func() { a.set(t, m, lun(3, `{}`)) }, map[string]string{"2": "size_bytes: got string, want integer", "3": "missing property 'size_bytes'"}},
			{"mended", func() { a.set(t, m, lun(3, `{"size_bytes":3}`)) }, map[string]string{"2": "size_bytes: got string, want integer"}},
			{"another schema", func() { a.set(t, m, lunKind(2, `{"properties":{"size_bytes":{"maximum":2}}}`)) }, map[string]string{"3": "size_bytes: maximum: got 3, want 2"}},
			{"gone and back", func() {
				a.drop(t, m, lun(3, "").Key)
				a.set(t, m, lun(3, `{"size_bytes":2}`))
			}, nil},
			{"bad again", func() { a.set(t, m, lun(3, `{"size_bytes":9}`)) }, map[string]string{"3": "size_bytes: maximum: got 9, want 2"}},
			{"no schema", func() { a.set(t, m, lunKind(3, "")) }, nil},
			{"a schema again", func() { a.set(t, m, lunKind(1, sized)) }, map[string]string{"2": "size_bytes: got string, want integer"}},
			{"no declaration any more", func() { a.drop(t, m, lunKind(1, "").Key) }, nil},
		}
		for _, s := range steps {
			s.do()
			synctest.Wait()
			if s.want == nil {
				s.want = map[string]string{}
			}
			if d := cmp.Diff(s.want, invalid(t, m, Query{Kind: kindLUN})); d != "" {
				t.Errorf("%s (-want +got):\n%s", s.name, d)
			}
			yes, no := true, false
			if n := len(invalid(t, m, Query{Kind: kindLUN, Invalid: &yes})); n != len(s.want) {
				t.Errorf("%s: the filter finds %d", s.name, n)
			}
			if n := len(invalid(t, m, Query{Kind: kindLUN, Invalid: &no})); n != 0 {
				t.Errorf("%s: the filter leaves %d", s.name, n)
			}
			a.same(t, m)
		}
	})
}

func TestWatchersLearnWhatDoesNotFit(t *testing.T) {
	inspected(t, func(t *testing.T, m *Manager) {
		a := newAgent(1)
		a.connect(t, m)
		a.set(t, m, lunKind(1, sized))
		synctest.Wait()
		a.set(t, m, lun(1, `{}`))
		synctest.Wait()
		from := m.feed.rev
		c := m.feed.at(from)
		if r := present(c.host, c.host.list(c.kind), &c.e); c.op != opModified || r.ID != "1" || r.Invalid == "" || r.Revision != from {
			t.Errorf("the last change is %d of %+v", c.op, r)
		}
		a.set(t, m, lunKind(2, sized)) // nothing else about the resource
		synctest.Wait()
		if m.feed.rev != from+1 {
			t.Errorf("the same verdict is told again: %d changes", m.feed.rev-from)
		}
	})
}

func TestKindsSumUpDeclarations(t *testing.T) {
	inspected(t, func(t *testing.T, m *Manager) {
		a, b, c := newAgent(1), newAgent(2), newAgent(3)
		for _, x := range []*fakeAgent{a, b, c} {
			x.connect(t, m)
		}
		a.set(t, m, lunKind(1, `{"title":"one"}`), lun(1, `{}`))
		b.set(t, m, lunKind(1, `{"title":"one"}`))
		c.set(t, m, lunKind(2, `{"title":"two"}`), lun(1, `[]`), lun(2, `{}`), resource("com.acme.tape", "1", "", "acme", 1))
		synctest.Wait()
		if len(m.variants) != 2 {
			t.Errorf("%d variants of two declarations", len(m.variants))
		}
		want := api.Kind{
			Kind: kindLUN, Resources: 3, Hosts: 2, Version: 2, Columns: lunColumns, SchemaBytes: 15, Schema: []byte(`{"title":"two"}`),
			Declarations: []api.Declaration{
				{Version: 2, Hosts: 1, Modules: []string{"acme"}, Checked: true},
				{Version: 1, Hosts: 2, Modules: []string{"acme"}, Checked: true},
			},
		}
		got, err := m.Kind(kindLUN)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
		names := ""
		for _, k := range m.Kinds(false).Items {
			names += k.Kind + " "
			if k.Schema != nil {
				t.Errorf("%s has a schema in a list without", k.Kind)
			}
		}
		if names != "agent.kind com.acme.lun com.acme.tape " {
			t.Errorf("kinds: %s", names)
		}
		if k := m.Kinds(true).Items[1]; string(k.Schema) != `{"title":"two"}` {
			t.Errorf("listed with the schema %s", k.Schema)
		}
		if k, err := m.Kind(inventory.KindVM); err != nil || !k.Core || len(k.Columns) == 0 {
			t.Errorf("a core kind that nobody has: %+v, %v", k, err)
		}
		if _, err := m.Kind("com.acme.none"); statusOf(err) != 404 {
			t.Errorf("an unknown kind: %v", err)
		}
		c.drop(t, m, lunKind(1, "").Key)
		if err := m.Forget(t.Context(), a.p.Host, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if k, err := m.Kind(kindLUN); err != nil || k.Version != 1 || len(k.Declarations) != 1 || k.Declarations[0].Hosts != 1 {
			t.Errorf("after one host went and one declares no more: %+v, %v", k, err)
		}
		b.drop(t, m, lunKind(1, "").Key)
		if len(m.variants) != 0 {
			t.Errorf("%d variants without declarations", len(m.variants))
		}
	})
}

func TestBadDeclarationsSayWhatIsWrong(t *testing.T) {
	declared := func(name, spec string) wire.Resource {
		return wire.Resource{Key: plugin.Key{Kind: inventory.KindKind, ID: name}, Name: name, Spec: []byte(spec)}
	}
	many := `"` + strings.Repeat("x", 64<<10) + `"`
	tests := []struct {
		name, kind, spec, want string
		version, columns       int
	}{
		{"bad schema", kindLUN, `{"version":3,"schema":{"type":"lun"},"columns":[{"name":"A","path":"a"}]}`, "the schema is not used: not a JSON Schema", 3, 1},
		{"remote schema", kindLUN, `{"version":3,"schema":{"$ref":"http://127.0.0.1/x"}}`, "a schema may refer to itself only", 3, 0},
		{"large schema", kindLUN, `{"version":3,"schema":{"title":` + many + `}}`, "64 KiB", 3, 0},
		{"bad columns", kindLUN, `{"version":3,"columns":[{"name":"\u001b","path":"a"}]}`, "the columns are not used: ", 3, 0},
		{"columns of another age", kindLUN, `{"version":3,"columns":{"a":"b"}}`, "the columns are not used: ", 3, 0},
		{"no version", kindLUN, `{}`, "version 0", 0, 0},
		{"no declaration", kindLUN, `[]`, "not a declaration", 0, 0},
		{"core kind", inventory.KindVM, `{"version":9,"schema":false}`, "is a core kind", 0, 0},
		{"no kind", "LUN", `{"version":1}`, "want lower-case letters", 0, 0},
		{"known to the agent", kindLUN, `{"version":1,"problem":"left out"}`, "left out", 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inspected(t, func(t *testing.T, m *Manager) {
				a := newAgent(1)
				a.connect(t, m)
				a.set(t, m, declared(test.kind, test.spec), lun(1, `{}`), vm(1, "web", "running"))
				synctest.Wait()
				if got := invalid(t, m, Query{Kind: inventory.KindKind})[test.kind]; !strings.Contains(got, test.want) {
					t.Errorf("the declaration is invalid because of %q, want %q", got, test.want)
				}
				k, err := m.Kind(test.kind)
				if err != nil || len(k.Declarations) != 1 || !strings.Contains(k.Declarations[0].Problem, test.want) {
					t.Fatalf("kind: %+v, %v", k, err)
				}
				if !k.Core && (k.Version != test.version || len(k.Columns) != test.columns || k.SchemaBytes != 0) {
					t.Errorf("kind: %+v, want version %d and %d columns", k, test.version, test.columns)
				}
				if got := invalid(t, m, Query{}); len(got) != 1 {
					t.Errorf("invalid: %v, want the declaration only", got)
				}
			})
		})
	}
}

func FuzzReadDeclaration(f *testing.F) {
	f.Add(kindLUN, `{"version":3,"schema":{"type":"object"},"columns":[{"name":"A","path":"a.0"}],"modules":["acme"]}`)
	f.Add("x", `{"version":-1,"columns":{}}`)
	f.Add(kindLUN, `{"version":1,"schema":null,"columns":null}`)
	f.Fuzz(func(t *testing.T, name, spec string) {
		r := readDeclaration(name, spec)
		if err := (&plugin.Kind{Name: name, Version: r.kind.Version, Columns: r.kind.Columns}).Validate(); err != nil && len(r.problems) == 0 {
			t.Errorf("no problem, but %v", err)
		}
		if (r.schema == nil) != (r.kind.Schema == nil) {
			t.Error("a schema is shown that is not used, or the other way round")
		}
	})
}

func TestCostlySchemaIsGivenUp(t *testing.T) {
	inspected(t, func(t *testing.T, m *Manager) {
		a, b := newAgent(1), newAgent(2)
		a.connect(t, m)
		b.connect(t, m)
		schema := `{"required":["a"],"allOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`
		a.set(t, m, lunKind(1, schema), lun(1, `{}`))
		b.set(t, m, lunKind(1, schema), lun(3, `{}`))
		synctest.Wait()
		if got := invalid(t, m, Query{Kind: kindLUN}); len(got) != 2 {
			t.Fatalf("invalid: %v", got)
		}
		a.set(t, m, lun(2, strings.Repeat("[", 40)+strings.Repeat("]", 40)))
		synctest.Wait()
		k, err := m.Kind(kindLUN)
		if err != nil || k.Invalid != 0 || k.Declarations[0].Checked || !strings.Contains(k.Declarations[0].Problem, "takes too long") {
			t.Errorf("kind: %+v, %v", k, err)
		}
		if got := invalid(t, m, Query{}); len(got) != 1 || got[kindLUN] == "" {
			t.Errorf("invalid: %v, want the declarations only", got)
		}
	})
}

func TestManyFaults(t *testing.T) {
	inspected(t, func(t *testing.T, m *Manager) {
		a := newAgent(1)
		a.connect(t, m)
		var rs []wire.Resource
		for i := range 3 * maxFaults {
			rs = append(rs, lun(i, `{}`))
		}
		a.set(t, m, rs...)
		a.set(t, m, lunKind(1, sized))
		synctest.Wait()
		own := 0
		faults := m.hosts[a.p.Host].list(kindLUN).verdicts.faults
		for _, why := range faults {
			if strings.Contains(why, "missing") {
				own++
			}
		}
		if len(faults) != 3*maxFaults || own != maxFaults {
			t.Errorf("%d faults, %d with their own reason", len(faults), own)
		}
	})
}

func TestSurplusDeclarationsAreNotUsed(t *testing.T) {
	inspected(t, func(t *testing.T, m *Manager) {
		a := newAgent(1)
		a.connect(t, m)
		for i := range plugin.MaxKinds + 2 {
			name := fmt.Sprintf("com.acme.k%03d", i)
			a.set(t, m, resource(inventory.KindKind, name, name, "", inventory.Kind{Version: 1}))
		}
		synctest.Wait()
		if got := invalid(t, m, Query{Kind: inventory.KindKind}); len(got) != 2 || !strings.Contains(got["com.acme.k257"], "too many") {
			t.Errorf("invalid: %v", got)
		}
	})
}

func TestKindsOfThePastGiveWay(t *testing.T) {
	m := newManager(t, Limits{Kinds: 3})
	a := newAgent(1)
	a.connect(t, m)
	for i := range 10 {
		r := resource(fmt.Sprintf("com.acme.k%d", i), "1", "", "acme", 1)
		a.set(t, m, r, vm(i, "web", "running"))
		a.drop(t, m, r.Key)
	}
	a.same(t, m)
	a.seq++
	_, err := m.Report(a.p, &wire.Report{Epoch: 1, Seq: a.seq, Upserts: []wire.Resource{
		resource("com.acme.a", "1", "", "", 1), resource("com.acme.b", "1", "", "", 1), resource("com.acme.c", "1", "", "", 1),
	}})
	if statusOf(err) != 413 {
		t.Errorf("four kinds where three may be: %v", err)
	}
}

// Verdicts are worked out again after a restart, and cost no statement.
func TestDeclarationsOutliveARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	m, stop := run(t, openDB(t, file), Limits{})
	a := newAgent(1)
	a.connect(t, m)
	a.set(t, m, lunKind(1, sized), lun(1, `{}`), lun(2, `{"size_bytes":1}`))
	marked := func(m *Manager) bool { return len(invalid(t, m, Query{Kind: kindLUN})) == 1 }
	await(t, m, marked)
	stop()

	db := openDB(t, file)
	m, stop = run(t, db, Limits{})
	before := db.Statements()
	await(t, m, marked)
	if k, err := m.Kind(kindLUN); err != nil || k.Version != 1 || k.Invalid != 1 || string(k.Schema) != sized {
		t.Errorf("kind after a restart: %+v, %v", k, err)
	}
	if m.unwritten() || db.Statements() != before {
		t.Errorf("verdicts are written: %d statements", db.Statements()-before)
	}
	a.p.Session++
	m.Connected(a.p)
	if w, err := m.Hello(a.p, a.hello()); err != nil || len(w.Need) > 0 {
		t.Errorf("hello of an unchanged host: need %q, %v", w.Need, err)
	}
	stop()
}

// await waits for what changes with the catalogue.
func await(t *testing.T, m *Manager, done func(*Manager) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		m.mu.RLock()
		changed := m.feed.wait()
		m.mu.RUnlock()
		if done(m) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("it does not come to be")
		}
	}
}
