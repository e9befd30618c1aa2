package delayline_test

import (
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/bench/delayline"
)

func path(t testing.TB, o delayline.Options) *delayline.Path {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	p, err := delayline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestRoundTripTakesItsTime(t *testing.T) {
	const rtt = 20 * time.Millisecond
	p := path(t, delayline.Options{RTT: rtt})
	l, err := p.Far.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	})
	c, err := p.Near.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fastest := time.Hour
	for range 5 {
		began := time.Now()
		if _, err := c.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest < rtt {
		t.Errorf("a round trip took %v, less than the line's %v", fastest, rtt)
	}
}

func BenchmarkTCP50ms(b *testing.B) {
	p := path(b, delayline.Options{RTT: 50 * time.Millisecond})
	l, err := p.Far.Listen()
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(io.Discard, c)
	})
	c, err := p.Near.DialContext(b.Context(), "tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}
