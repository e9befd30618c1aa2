package discovery

import (
	"math/rand/v2"
	"time"
)

const (
	firstBackOff  = time.Second
	lastBackOff   = 5 * time.Minute
	hintedBackOff = 5 * time.Second        // to which a hint may shorten a back-off
	healthyFor    = time.Minute            // after which old failures are forgotten
	quiet         = 20 * time.Millisecond  // that hints must have before a list,
	gatherMost    = 100 * time.Millisecond // but a list waits no longer for it
	listRate      = 2                      // lists per second, whatever asks for them, and as many as
	listBurst     = 5                      // these at once
	getRate       = 20
	getBurst      = 20
	batchRate     = 100 // looks at many keys together: what comes within 10 ms waits for one
	batchBurst    = 10
)

// schedule says when to list next. Hints bring a list forward and never put one
// back; no list comes sooner than the limits allow.
type schedule struct {
	interval time.Duration

	regular time.Time // when to list without a hint
	hinted  time.Time // when because of hints; zero: there are none
	first   time.Time // hint of those
	floor   time.Time // hints cannot bring a list forward beyond this

	failures int
	failed   time.Time // last
	lists    bucket
}

func newSchedule(interval time.Duration, now time.Time) schedule {
	return schedule{interval: interval, regular: now, lists: newBucket(listRate, listBurst)}
}

// hint asks for a list soon; hints come in flocks, so it waits for a pause.
func (s *schedule) hint(now time.Time) {
	if s.first.IsZero() {
		s.first = now
	}
	s.hinted = earlier(now.Add(quiet), s.first.Add(gatherMost))
}

// insist asks for a list at once.
func (s *schedule) insist(now time.Time) { s.regular, s.floor = now, time.Time{} }

// due says when the next list should be.
func (s *schedule) due() time.Time {
	if s.hinted.IsZero() {
		return s.regular
	}
	hinted := s.hinted
	if hinted.Before(s.floor) {
		hinted = s.floor
	}
	return earlier(s.regular, hinted)
}

// begin says how long to wait for the next list. If that is not at all, the
// list counts as begun.
func (s *schedule) begin(now time.Time) time.Duration {
	if wait := s.due().Sub(now); wait > 0 {
		return wait
	}
	if wait := s.lists.take(now); wait > 0 {
		return wait
	}
	s.hinted, s.first = time.Time{}, time.Time{}
	return 0
}

// succeeded plans the list after a good one.
func (s *schedule) succeeded(now time.Time) {
	s.regular, s.floor = now.Add(s.interval), time.Time{}
	if now.Sub(s.failed) > healthyFor {
		s.failures = 0
	}
}

// later plans the list after one that found nothing to list.
func (s *schedule) later(now time.Time, wait time.Duration) {
	s.regular, s.floor, s.failures = now.Add(wait), time.Time{}, 0
}

// missed plans the list after one more failure.
func (s *schedule) missed(now time.Time) {
	wait := jitter(backOff(s.failures))
	s.regular, s.floor = now.Add(wait), now.Add(min(wait, hintedBackOff))
	s.failed = now
	s.failures++
}

// backOff is how long to wait after so many failures before.
func backOff(failures int) time.Duration {
	return min(firstBackOff<<min(failures, 16), lastBackOff)
}

// jitter returns a time between half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// bucket allows so many actions per second, and some at once.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

func newBucket(rate, burst float64) bucket { return bucket{rate: rate, burst: burst, tokens: burst} }

// take returns how long to wait for the next action, and counts it if that is
// not at all.
func (b *bucket) take(now time.Time) time.Duration {
	if !b.at.IsZero() {
		b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return time.Duration((1-b.tokens)/b.rate*float64(time.Second)) + time.Millisecond
}
