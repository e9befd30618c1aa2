package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// small is the size of a ping and of an opened stream's exchange.
const small = 1 << 10

// PingArgs asks for pings of 1 KiB on one stream for a time, with a pause
// between an answer and the next ping.
type PingArgs struct {
	For, Pause time.Duration
}

// Latency is a distribution of round trips.
type Latency struct {
	N                    int
	P50, P99, Max, Total time.Duration
}

func latency(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	l := Latency{N: len(d), P50: d[len(d)/2], P99: d[len(d)*99/100], Max: d[len(d)-1]}
	for _, x := range d {
		l.Total += x
	}
	return l
}

// Ping replies the round trips. The first one, which opens the stream, is not
// counted. A ping that gets no answer blocks; the parent has a deadline.
func (d *DU) Ping(args PingArgs, reply *Latency) error {
	c, err := d.open(UsePing, opEcho)
	if err != nil {
		return err
	}
	buf := make([]byte, small)
	if err := pingOnce(c, buf); err != nil {
		return err
	}
	var all []time.Duration
	for end := time.Now().Add(args.For); time.Now().Before(end); {
		start := time.Now()
		if err := pingOnce(c, buf); err != nil {
			return err
		}
		all = append(all, time.Since(start))
		if args.Pause > 0 {
			time.Sleep(args.Pause)
		}
	}
	*reply = latency(all)
	return c.Close()
}

func pingOnce(c io.ReadWriter, buf []byte) error {
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf)
	return err
}

// OpenClose opens a stream, has 1 KiB echoed and closes it, one after another
// for the time asked, and replies how often.
func (d *DU) OpenClose(long time.Duration, n *int) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	buf := make([]byte, small)
	for end := time.Now().Add(long); time.Now().Before(end); *n++ {
		if err := openEchoClose(s, buf); err != nil {
			return fmt.Errorf("after %d streams: %w", *n, err)
		}
	}
	return nil
}

func openEchoClose(s Opener, buf []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := openOp(ctx, s, UsePing, opEcho, buf)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(c, buf); err != nil {
		c.Close()
		return err
	}
	return c.Close()
}

// Duplex is what an echo stream that is kept full both ways did.
type Duplex struct {
	Bytes   int64         // that came back
	Longest time.Duration // without a byte
}

// Duplex runs one for the time asked.
func (d *DU) Duplex(long time.Duration, reply *Duplex) error {
	c, err := d.open(UseBulk, opEcho)
	if err != nil {
		return err
	}
	go fill(c, nil)
	got := make(chan int, 64)
	go readSizes(c, got)
	end := time.After(long)
	for last := time.Now(); ; {
		select {
		case n, ok := <-got:
			if !ok {
				return fmt.Errorf("echo stream ended early")
			}
			now := time.Now()
			reply.Longest = max(reply.Longest, now.Sub(last))
			reply.Bytes += int64(n)
			last = now
		case <-end:
			reply.Longest = max(reply.Longest, time.Since(last))
			return nil
		}
	}
}

// readSizes reads c and sends the size of each piece, until c ends; it drops
// the news when nobody listens any more.
func readSizes(c net.Conn, got chan<- int) {
	defer close(got)
	buf := make([]byte, chunk)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		select {
		case got <- n:
		case <-time.After(10 * time.Second):
			return
		}
	}
}
