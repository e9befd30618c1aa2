package tunnel_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/bench/delayline"
	"github.com/openpf9/openpf9/internal/tunnel"
)

// The benchmarks run over real mutual TLS: on loopback, and, as root, through a
// path with a round trip of 50 ms, where bulk needs -benchtime 5s or more to get
// up to speed. Both ends are in this process.

// paths are what the benchmarks run over.
func paths(b *testing.B, run func(b *testing.B, s, c *tunnel.Session, at *tunnel.Services)) {
	b.Run("loopback", func(b *testing.B) { run(joined(b, nil)) })
	b.Run("50ms", func(b *testing.B) {
		if os.Geteuid() != 0 {
			b.Skip("network namespaces need root")
		}
		p, err := delayline.New(delayline.Options{RTT: 50 * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(p.Close)
		run(joined(b, p))
	})
}

// joined returns both ends of a session over a path; nil: loopback.
func joined(b *testing.B, p *delayline.Path) (_ *testing.B, s, c *tunnel.Session, at *tunnel.Services) {
	services := tunnel.NewServices()
	var l net.Listener
	d := &tunnel.Dialer{}
	if p != nil {
		var err error
		if l, err = p.Far.Listen(); err != nil {
			b.Fatal(err)
		}
		d.DialContext = p.Near.DialContext
	}
	srv := serve(b, tunnel.Config{Services: services}, l)
	d.TLS = srv.TLS
	c, err := d.Connect(b.Context(), srv.URL, tunnel.Config{Services: services})
	if err != nil {
		b.Fatal(err)
	}
	s = <-srv.sessions
	b.Cleanup(func() {
		_ = c.Close("done")
		c.Wait()
		s.Wait()
	})
	return b, s, c, services
}

// sink serves a service that reads and forgets.
func sink(b *testing.B, s *tunnel.Services, name string) {
	l := listen(b, s, name)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
		}
	})
}

func BenchmarkBulk(b *testing.B) {
	for _, streams := range []int{1, 8} {
		for _, up := range []bool{true, false} {
			b.Run(fmt.Sprintf("streams=%d/up=%v", streams, up), func(b *testing.B) {
				paths(b, func(b *testing.B, s, c *tunnel.Session, at *tunnel.Services) {
					sink(b, at, "sink")
					from := s
					if up {
						from = c
					}
					bulk(b, from, streams)
				})
			})
		}
	}
}

func bulk(b *testing.B, from *tunnel.Session, streams int) {
	buf := make([]byte, 32<<10)
	work := make(chan struct{}, streams)
	var wg sync.WaitGroup
	for range streams {
		c, err := from.Dial(b.Context(), "sink")
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			for range work {
				if _, err := c.Write(buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}

func BenchmarkPing(b *testing.B) {
	for _, beside := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("beside=%d", beside), func(b *testing.B) {
			paths(b, func(b *testing.B, _, c *tunnel.Session, at *tunnel.Services) {
				sink(b, at, "sink")
				echo(b, at, "echo")
				for range beside {
					bulk, err := c.Dial(b.Context(), "sink")
					if err != nil {
						b.Fatal(err)
					}
					var wg sync.WaitGroup
					wg.Go(func() {
						for buf := make([]byte, 32<<10); ; {
							if _, err := bulk.Write(buf); err != nil {
								return
							}
						}
					})
					defer wg.Wait()
					defer bulk.Close()
				}
				ping, err := c.Dial(b.Context(), "echo")
				if err != nil {
					b.Fatal(err)
				}
				defer ping.Close()
				var took []time.Duration
				for b.Loop() {
					began := time.Now()
					roundTrip(b, ping, 1<<10)
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			})
		})
	}
}

func BenchmarkOpenEchoClose(b *testing.B) {
	paths(b, func(b *testing.B, _, c *tunnel.Session, at *tunnel.Services) {
		echo(b, at, "echo")
		for b.Loop() {
			st, err := c.Dial(b.Context(), "echo")
			if err != nil {
				b.Fatal(err)
			}
			roundTrip(b, st, 1<<10)
			_ = st.Close()
		}
	})
}

// BenchmarkSessions makes a thousand sessions at once: how long that takes, and
// what both ends of one hold when idle, which is more than a server's alone.
func BenchmarkSessions(b *testing.B) {
	const sessions = 1000
	for b.Loop() {
		srv := serve(b, tunnel.Config{}, nil)
		before := held()
		all := make([]*tunnel.Session, sessions)
		next := make(chan int)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for i := range next {
					c, err := (&tunnel.Dialer{TLS: srv.TLS}).Connect(b.Context(), srv.URL, tunnel.Config{})
					if err != nil {
						b.Error(err)
						return
					}
					all[i] = c
				}
			})
		}
		began := time.Now()
		for i := range sessions {
			next <- i
		}
		close(next)
		wg.Wait()
		b.ReportMetric(time.Since(began).Seconds(), "s/1000-sessions")
		b.ReportMetric(float64(held()-before)/sessions/1024, "KiB/both-ends")
		for _, c := range all {
			_ = c.Close("done")
		}
		for range sessions {
			(<-srv.sessions).Wait()
		}
	}
}

// held is heap and stacks after a collection.
func held() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
