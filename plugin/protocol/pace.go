package protocol

import (
	"sync/atomic"
	"time"
)

// What a plugin may send for long. Reading it costs the host a few thousandths
// of a processor.
const (
	lineRate  = 200     // a second,
	lineBurst = 20_000  // and as many as these at once
	byteRate  = 1 << 20 // a second, and two snapshots and a line at once
)

// pace says how long to leave a plugin waiting that sends too much. A plugin
// that is slowed down is not read, so it sends no faster.
type pace struct {
	lines, bytes bucket
	slowed       atomic.Bool
}

func newPace(l Limits) pace {
	burst := float64(2*l.MaxBytes + l.MaxLine)
	return pace{
		lines: bucket{rate: lineRate, burst: lineBurst, tokens: lineBurst},
		bytes: bucket{rate: byteRate, burst: burst, tokens: burst},
	}
}

func (p *pace) take(now time.Time, line int) time.Duration {
	wait := max(p.lines.take(now, 1), p.bytes.take(now, float64(line)))
	if wait > 0 {
		p.slowed.Store(true)
	}
	return wait
}

// note explains, at the end of an error, that a plugin was slowed down.
func (p *pace) note() string {
	if p.slowed.Load() {
		return "; it sends more than its share and was slowed down"
	}
	return ""
}

// bucket is a token bucket that lends: who takes too much waits afterwards.
type bucket struct {
	rate, burst, tokens float64
	at                  time.Time
}

func (b *bucket) take(now time.Time, n float64) time.Duration {
	if !b.at.IsZero() {
		b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	b.tokens -= n
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}
