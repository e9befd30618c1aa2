package mirror_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

func TestChangesOfAModule(t *testing.T) {
	m := mirror.New(mirror.Options{})
	kinds := []string{"vm"}
	m.Listed("acme", kinds, many(30))
	m.Listed("other", kinds, []plugin.Resource{vm("x", spec{})})
	m.Status(status("acme", "ok"))
	keys := func(n int) (ks []plugin.Key) {
		for i := range n {
			ks = append(ks, plugin.Key{Kind: "vm", ID: strconv.Itoa(i)})
		}
		return ks
	}
	m.Changed("acme", kinds, []plugin.Resource{vm("29", spec{State: "off"}), vm("new", spec{})}, keys(1))
	if r, _ := m.Get(plugin.Key{Kind: "vm", ID: "29"}); len(m.Kind("vm")) != 31 || r.Generation != 2 || m.Doubts("acme") != "" {
		t.Errorf("after one changed, one new and one gone: %d VMs, %+v", len(m.Kind("vm")), r)
	}
	m.Changed("acme", kinds, []plugin.Resource{vm("x", spec{State: "stolen"})}, []plugin.Key{{Kind: "vm", ID: "x"}, {Kind: "vm", ID: "never"}})
	if r, ok := m.Get(plugin.Key{Kind: "vm", ID: "x"}); !ok || r.Source != "other" {
		t.Errorf("a module changed what is another's: %+v", r)
	}
	m.Listed("acme2", kinds, []plugin.Resource{vm("x", spec{State: "stolen"})})
	if r, _ := m.Get(plugin.Key{Kind: "vm", ID: "x"}); r.Source != "other" {
		t.Errorf("a module listed what is another's: %+v", r)
	}
	m.Changed("acme", kinds, nil, keys(30))
	if n := len(m.Kind("vm")); n != 31 || m.Doubts("acme") == "" || m.Statuses()[0].State != "degraded" {
		t.Errorf("when nearly all is gone at once: %d VMs, doubts %q, %+v", n, m.Doubts("acme"), m.Statuses()[0])
	}
	m.Listed("acme", kinds, []plugin.Resource{vm("new", spec{})})
	if n := len(m.Kind("vm")); n != 2 || m.Doubts("acme") != "" || m.Statuses()[0].State != "ok" {
		t.Errorf("when a list says so too: %d VMs, doubts %q", n, m.Doubts("acme"))
	}
}

func TestHistoryOfOneModuleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lost := 0, uint64(0)
		m := mirror.New(mirror.Options{Event: func(_ string, e wire.Event) { n++; lost += e.Lost }})
		m.Listed("mad", []string{"vm"}, nil)
		for i := range 30_000 {
			m.Changed("mad", []string{"vm"}, []plugin.Resource{vm("x", spec{State: strconv.Itoa(i)})}, nil)
		}
		if n != 20_000 || lost != 0 {
			t.Errorf("%d entries are told, %d lost", n, lost)
		}
		m.Listed("other", []string{"vm"}, nil)
		m.Changed("other", []string{"vm"}, []plugin.Resource{vm("y", spec{})}, nil)
		if n != 20_001 {
			t.Error("another module's history is left out, too")
		}
		time.Sleep(10 * time.Second)
		m.Changed("mad", []string{"vm"}, []plugin.Resource{vm("x", spec{State: "calm"})}, nil)
		if lost != 10_000 {
			t.Errorf("the gap says %d, want 10,000", lost)
		}
	})
}
