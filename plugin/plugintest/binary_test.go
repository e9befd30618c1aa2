package plugintest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// TestMain is also the plugin that the test checks.
func TestMain(m *testing.M) {
	if os.Getenv("BE_A_PLUGIN") == "" {
		os.Exit(m.Run())
	}
	plugin.Serve(plugin.Plugin[struct{}]{
		Name: "two", Version: "1", Kinds: []plugin.Kind{{Name: "com.example.thing"}},
		New: func(context.Context, struct{}) (plugin.Source, error) { return two{}, nil },
	})
}

// two lists two things.
type two struct{}

func (two) List(_ context.Context, emit func(plugin.Resource)) error {
	for _, id := range []string{"1", "2"} {
		emit(plugin.Resource{Key: plugin.Key{Kind: "com.example.thing", ID: id}, Spec: struct{}{}})
	}
	return nil
}

func TestRunInProcess(t *testing.T) {
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return two{} },
		Kinds: []string{"com.example.thing"},
	})
}

func TestRunBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := plugintest.RunBinary(t, plugintest.CheckOptions{
		Command: []string{self}, Env: []string{"BE_A_PLUGIN=1"},
		Slack: 10 * time.Second, MaxMemory: 256 << 20, // the race detector's share
	})
	if r.Plugin != "two" || r.Resources != 2 {
		t.Errorf("the report is of %s with %d resources, want two with 2", r.Plugin, r.Resources)
	}
}
