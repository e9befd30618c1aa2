package delayline

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestRoundTrip sends a byte and its answer through a line of 50 ms.
func TestRoundTrip(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	line, err := New(25 * time.Millisecond)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("may not make network namespaces:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- line.Run(t.Context()) }()
	defer func() { line.Close(); <-ended }()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	near, far := connect(ctx, t, line)
	go func() { _, _ = io.Copy(far, far) }()
	buf := make([]byte, 1)
	best := time.Minute
	for range 5 {
		start := time.Now()
		if _, err := near.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(near, buf); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	if best < 50*time.Millisecond || best > 80*time.Millisecond {
		t.Fatalf("round trip of %v through a line of 50 ms", best)
	}
}

// connect makes a TCP connection through the line.
func connect(ctx context.Context, t *testing.T, line *Line) (near, far net.Conn) {
	t.Helper()
	var l net.Listener
	err := line.In(B, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(B.Addr().String(), "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = line.In(A, func() (err error) {
		// The dialler's own goroutines may run in another namespace; a literal
		// address needs none.
		var d net.Dialer
		near, err = d.DialContext(ctx, "tcp", l.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	deadline, _ := ctx.Deadline()
	for _, c := range []net.Conn{near, far} {
		_ = c.SetDeadline(deadline)
		t.Cleanup(func() { c.Close() })
	}
	return near, far
}
