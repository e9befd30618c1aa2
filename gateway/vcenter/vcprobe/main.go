// Command vcprobe discovers one vCenter as the gateway does, without an uplink,
// and prints what happens as a JSON object per line: for whoever wants to see a
// vCenter through the gateway's eyes, and for internal/bench/bars, which measures
// by it. It only reads. Its one argument is a file, "-" for its input, with url,
// pin, user and password in JSON; it ends with SIGTERM, and logs out.
//
//	echo '{"url":"https://vc","pin":"…","user":"u","password":"p"}' | vcprobe -
//
// With two more, a directory and a name, it does not look at all: it puts the
// account into the vault in the directory, for a gateway that is to be measured.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/gateway/vcenter"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vcprobe:", err)
		os.Exit(1)
	}
}

// config is what the argument's file holds.
type config struct {
	URL      string   `json:"url"`
	Pin      string   `json:"pin"`
	User     string   `json:"user"`
	Password string   `json:"password"`
	Clusters []string `json:"clusters"`
}

func read(args []string) (c config, err error) {
	if len(args) != 2 && len(args) != 4 {
		return c, fmt.Errorf("usage: %s FILE [VAULT NAME], FILE or - for standard input", args[0])
	}
	in := io.Reader(os.Stdin)
	if args[1] != "-" {
		f, err := os.Open(args[1])
		if err != nil {
			return c, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	return c, json.NewDecoder(bufio.NewReader(in)).Decode(&c)
}

// gcPercent keeps the process small: what it reads is garbage at once, and its
// inventory is most of what it holds. The gateway does the same.
const gcPercent = 40

// keep puts the account into a vault.
func keep(c config, dir, name string) error {
	v, err := vault.Open(vault.Options{Dir: dir})
	if err != nil {
		return err
	}
	return v.Set(name, vault.Secret{User: c.User, Password: c.Password})
}

func run() error {
	debug.SetGCPercent(gcPercent)
	c, err := read(os.Args)
	if err == nil && len(os.Args) == 4 {
		return keep(c, os.Args[2], os.Args[3])
	}
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return discover(ctx, c, os.Stdout)
}

// discover runs until ctx ends.
func discover(ctx context.Context, c config, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s, err := session.New(session.Options{
		Name: "probe", URL: c.URL, Pin: c.Pin, Owner: "vcprobe", Log: log,
		Account: func() (session.Account, error) {
			return session.Account{User: c.User, Password: c.Password}, nil
		},
	})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	source := vcenter.New(vcenter.Options{Session: s, Clusters: c.Clusters, Log: log})
	m := mirror.New(mirror.Options{Log: log})
	sink := &sink{Mirror: m, out: json.NewEncoder(out), began: time.Now()}
	runner := discovery.New(sink, log)
	var wg sync.WaitGroup
	wg.Go(func() { sink.follow(ctx) })
	_ = runner.Run(ctx, []discovery.Module{{Name: source.Module(), Kinds: vcenter.Kinds(), Source: source, Interval: 5 * time.Minute}})
	wg.Wait()
	return nil
}

// Event is a line of output.
type Event struct {
	Event  string         `json:"event"` // "status", "listed", "sent", "seen"
	State  string         `json:"state,omitempty"`
	Reason string         `json:"reason,omitempty"`
	Kinds  map[string]int `json:"kinds,omitempty"`
	// Of "listed": since the program's start.
	Took time.Duration `json:"took,omitempty"`
	CPU  time.Duration `json:"cpu,omitempty"`
	RSS  int           `json:"rss,omitempty"`  // bytes
	Peak int           `json:"peak,omitempty"` // bytes
	// Of "sent": what was taken since nothing was left to take before.
	Changes int `json:"changes,omitempty"`
	// Of "seen": from a VM's annotation, which holds the time of its change, to
	// the moment at which it would be sent; of all since the last line.
	Latencies []time.Duration `json:"latencies,omitempty"`
}

// manyChanges are as many as are worth a line of their own.
const manyChanges = 1000

// sink is the agent's mirror, and tells what it is given.
type sink struct {
	*mirror.Mirror
	began time.Time

	mu  sync.Mutex // guards out
	out *json.Encoder
}

func (s *sink) tell(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(e)
}

// Listed tells the mirror, and what it took.
func (s *sink) Listed(module string, kinds []string, rs []plugin.Resource) {
	s.Mirror.Listed(module, kinds, rs)
	rss, peak := memory()
	s.tell(Event{Event: "listed", Kinds: s.Kinds(), Took: time.Since(s.began), CPU: cpu(), RSS: rss, Peak: peak})
}

// Status tells the mirror, and the state.
func (s *sink) Status(st wire.SourceStatus) {
	s.Mirror.Status(st)
	s.tell(Event{Event: "status", State: st.State, Reason: st.Reason})
}

// follow takes changes as the uplink does.
func (s *sink) follow(ctx context.Context) {
	w := s.Watch()
	defer w.Close()
	var seen []time.Duration
	changes := 0
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			if len(seen) > 0 {
				s.tell(Event{Event: "seen", Latencies: seen})
				seen = nil
			}
		case <-w.C:
			now := time.Now()
			c := w.Take(1 << 20)
			if changes += len(c.Upserts) + len(c.Deletes); c.Digests != nil && changes > manyChanges {
				s.tell(Event{Event: "sent", Changes: changes})
			}
			if c.Digests != nil {
				changes = 0
			}
			for i := range c.Upserts {
				if at, ok := stamp(&c.Upserts[i]); ok {
					seen = append(seen, now.Sub(at))
				}
			}
		}
	}
}

// stamp reads a time from a VM's annotation.
func stamp(r *wire.Resource) (time.Time, bool) {
	var spec struct {
		Description string `json:"description"`
	}
	if r.Kind != inventory.KindVM || json.Unmarshal(r.Spec, &spec) != nil {
		return time.Time{}, false
	}
	ns, err := strconv.ParseInt(spec.Description, 10, 64)
	return time.Unix(0, ns), err == nil
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is what the process holds now and has held at most.
func memory() (rss, peak int) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || !slices.Contains([]string{"VmRSS:", "VmHWM:"}, f[0]) {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		if f[0] == "VmRSS:" {
			rss = n << 10
		} else {
			peak = n << 10
		}
	}
	return rss, peak
}
