package delayline

import (
	"os"
	"sync"
	"time"
)

// maxPacket is the largest thing a TUN device hands over: 64 KiB and its header.
const maxPacket = 1<<16 + 64

var pool = sync.Pool{New: func() any { return new([maxPacket]byte) }}

// packet is one packet on the line.
type packet struct {
	due time.Time
	buf *[maxPacket]byte
	n   int
}

// line is one direction.
type line struct {
	from, to *os.File
	delay    time.Duration
	rate     int           // bytes per second; 0: no bound
	queue    time.Duration // longest wait for the rate
	held     chan packet   // full: the packet is dropped, as a real queue would
}

// take reads packets and says when each is due. It ends with the device.
func (l *line) take() {
	defer close(l.held)
	var free time.Time // when the line has sent what it has
	for {
		buf := pool.Get().(*[maxPacket]byte)
		n, err := l.from.Read(buf[:])
		if err != nil {
			return
		}
		due := time.Now()
		if l.rate > 0 {
			if free.Before(due) {
				free = due
			}
			if free.Sub(due) > l.queue {
				pool.Put(buf)
				continue
			}
			free = free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
			due = free
		}
		select {
		case l.held <- packet{due.Add(l.delay), buf, n}:
		default:
			pool.Put(buf)
		}
	}
}

// give writes packets when they are due. It ends after take.
func (l *line) give() {
	for p := range l.held {
		if wait := time.Until(p.due); wait > 0 {
			time.Sleep(wait)
		}
		_, _ = l.to.Write(p.buf[:p.n]) // a full device drops, as a real one does
		pool.Put(p.buf)
	}
}
