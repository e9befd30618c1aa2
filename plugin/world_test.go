package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

const kind = "com.example.thing"

// world is a source whose things a test sets.
type world struct {
	mu     sync.Mutex
	things map[string]any
	err    error
	lists  int
	gets   int
	hang   chan struct{} // nil: List returns
}

func (w *world) List(_ context.Context, emit func(Resource)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists++
	if w.hang != nil {
		<-w.hang // whatever the context says
	}
	for id, spec := range w.things {
		emit(Resource{Key: Key{Kind: kind, ID: id}, Spec: spec})
	}
	return w.err
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// watched is a world that hints and looks at single things.
type watched struct {
	world
	hints chan []Key
	watch func() error // how watching ends; nil: with its context
}

func (w *watched) Watch(ctx context.Context, changed func(...Key)) error {
	if w.watch != nil {
		return w.watch()
	}
	for {
		select {
		case keys := <-w.hints:
			changed(keys...)
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *watched) Get(_ context.Context, k Key) (Resource, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gets++
	spec, found := w.things[k.ID]
	return Resource{Key: k, Spec: spec}, found, w.err
}

type settings struct {
	Fail string `json:"fail"`
}

func programOf(s Source) *program {
	g, err := Plugin[settings]{
		Name: "test", Version: "1.0", Kinds: []Kind{{Name: kind}},
		New: func(_ context.Context, c settings) (Source, error) {
			switch c.Fail {
			case "":
				return s, nil
			case "nonsense":
				return nil, BadConfig("fail", "%q: want sense", c.Fail)
			}
			return nil, errors.New(c.Fail)
		},
	}.program()
	if err != nil {
		panic(err)
	}
	return g
}

// agent is the host's end of a conversation with a plugin under test.
type agent struct {
	batches  chan protocol.Batch
	statuses chan protocol.Status
	session  *protocol.Session
	ended    chan error // of the session
	exit     chan int   // of the plugin
	stop     context.CancelFunc
}

// start runs source's plugin and a session with it, within a bubble.
func start(t *testing.T, source Source, config string) *agent {
	t.Helper()
	host, conn := net.Pipe()
	a := &agent{
		batches: make(chan protocol.Batch, 1000), statuses: make(chan protocol.Status, 100),
		ended: make(chan error, 1), exit: make(chan int, 1),
	}
	go func() { a.exit <- talk(t.Context(), programOf(source), conn, slog.New(slog.DiscardHandler)) }()
	s, err := protocol.Open(t.Context(), host, protocol.Options{
		Agent: "agent 1", Interval: 10 * time.Second,
		Admit:  func(protocol.Hello) (json.RawMessage, error) { return json.RawMessage(config), nil },
		Apply:  func(b protocol.Batch) error { a.batches <- b; return nil },
		Status: func(st protocol.Status) { a.statuses <- st },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a.session, a.stop = s, cancel
	go func() { a.ended <- s.Run(ctx) }()
	t.Cleanup(cancel)
	return a
}

// after lets d pass and returns what the agent took in meanwhile.
func (a *agent) after(d time.Duration) []protocol.Batch {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
	var got []protocol.Batch
	for len(a.batches) > 0 {
		got = append(got, <-a.batches)
	}
	return got
}
