package tunnel

import "time"

const (
	firstBound  = 192 << 10 // bytes, until a rate is known
	leastBound  = 16 << 10
	slowTime    = 20 * time.Millisecond   // of data is in flight at least, to slowMost
	slowMost    = 192 << 10               // bytes
	sharedTime  = 300 * time.Microsecond  // of data is in flight at least, to sharedMost
	sharedMost  = 480 << 10               // bytes
	aloneTime   = 1200 * time.Microsecond // the same while nothing small is sent
	aloneMost   = 1536 << 10
	aloneAfter  = 250 * time.Millisecond // without small data
	asks        = 4                      // for acknowledgement, in a bound
	rounds      = 8                      // of which the best delivery rate counts
	shortRound  = time.Millisecond
	rttFresh    = 10 * time.Second // after which the shortest round trip is looked for again
	startGain   = 2.0
	cruiseGain  = 1.25
	probeEvery  = 8 // rounds between probes for more
	drainGain   = 0.5
	growth      = 1.25 // of the rate in a round, for the start to go on
	frameTime   = 2 * time.Millisecond
	maxInFlight = 64 << 20
)

// pipe estimates what the path holds, from acknowledgements: the best recent
// rate times the shortest round trip. What is in flight is bounded to a little
// more, so that queues stay short and the path stays full. The writer's mu
// guards it.
//
// Acknowledgements are asked for, a few times in a bound. Whenever no more may
// be sent, one has been asked for that covers all that is in flight.
type pipe struct {
	sent, acked uint64 // bytes of data
	asked       uint64 // sent, when an acknowledgement was last asked for
	bound       int64  // of sent - acked
	smallAt     time.Time

	rtt     time.Duration // shortest; 0: unknown
	rttAt   time.Time
	drain   time.Time // until then the queue is let run dry, to see the path's own round trip
	mark    uint64    // when acked reaches it, a round trip is over; 0: none under way
	markAt  time.Time
	rates   [rounds]float64 // bytes per second
	round   int
	began   time.Time // of the round
	beganAt uint64    // acked, then
	starved bool      // in this round there was nothing to send for a while
	best    float64   // at the last round that grew
	flat    int       // rounds without growth since; three end the start
}

func newPipe() pipe { return pipe{bound: firstBound} }

func (p *pipe) inFlight() int64 { return int64(p.sent - p.acked) }

// open says whether data may be sent.
func (p *pipe) open() bool { return p.inFlight() < p.bound }

// openTo says whether n bytes may be sent. Small data need not wait for the
// bound: there is never more than a little of it beyond.
func (p *pipe) openTo(n int) bool {
	return p.open() || n <= smallFrame && p.inFlight() < p.bound+maxSmall
}

// send counts n bytes that are about to be written, and says whether to ask for
// an acknowledgement behind them.
func (p *pipe) send(n int) (ask bool) {
	p.sent += uint64(n)
	if n <= smallFrame {
		p.smallAt = time.Now()
	}
	return p.ask(int64(p.sent-p.asked) >= p.bound/asks)
}

// ask says whether to ask for an acknowledgement now: because it is due, or
// because without one nothing would go on.
func (p *pipe) ask(due bool) bool {
	if p.asked == p.sent || !due && p.open() {
		return false
	}
	p.asked = p.sent
	if p.mark == 0 {
		p.mark, p.markAt = p.sent, time.Now()
	}
	return true
}

// ack counts data that the far side has taken off the wire. It reports false
// for more than was sent.
func (p *pipe) ack(n uint32, idle bool) bool {
	if uint64(n) > p.sent-p.acked {
		return false
	}
	p.acked += uint64(n)
	now := time.Now()
	if p.mark != 0 && p.acked >= p.mark {
		p.mark = 0
		p.measured(now.Sub(p.markAt), now)
	}
	p.starved = p.starved || idle
	p.turn(now)
	return true
}

// measured takes a round trip into account.
func (p *pipe) measured(rtt time.Duration, now time.Time) {
	switch {
	case p.rtt == 0 || rtt <= p.rtt:
		p.rtt, p.rttAt = rtt, now
	case now.Sub(p.rttAt) > rttFresh && p.drain.IsZero():
		p.drain = now.Add(2*p.rtt + 10*time.Millisecond)
	case !p.drain.IsZero() && now.After(p.drain):
		p.rtt, p.rttAt, p.drain = rtt, now, time.Time{}
	}
}

// turn ends a round when a round trip has passed.
func (p *pipe) turn(now time.Time) {
	if p.began.IsZero() {
		p.began, p.beganAt = now, p.acked
		return
	}
	took := now.Sub(p.began)
	if took < max(p.rtt, shortRound) {
		return
	}
	rate := float64(p.acked-p.beganAt) / took.Seconds()
	best := p.rate()
	if !p.starved || rate > best {
		p.rates[p.round%rounds] = rate
		p.round++
		if best = p.rate(); best > p.best*growth {
			p.best, p.flat = best, 0
		} else {
			p.flat++
		}
	}
	p.began, p.beganAt, p.starved = now, p.acked, false
	least := p.least(best, now.Sub(p.smallAt) > aloneAfter)
	p.bound = min(max(int64(p.gain()*best*p.rtt.Seconds()), least), maxInFlight)
}

// least is the bound of a path whose round trip is short. On a fast one the
// round trip is over before the far end has even been scheduled: a little
// time's worth of data keeps both ends busy, and a little more if nobody is
// there to wait behind it. On a slow one, too much would stand in its queue.
func (p *pipe) least(rate float64, alone bool) int64 {
	some := func(d time.Duration, most int64) int64 { return min(int64(rate*d.Seconds()), most) }
	fast := some(sharedTime, sharedMost)
	if alone {
		fast = some(aloneTime, aloneMost)
	}
	return max(fast, some(slowTime, slowMost), leastBound)
}

func (p *pipe) gain() float64 {
	switch {
	case !p.drain.IsZero():
		return drainGain
	case p.flat < 3 || p.round%probeEvery == 0:
		return startGain
	}
	return cruiseGain
}

// rate is the best recent delivery rate in bytes per second; 0: unknown.
func (p *pipe) rate() float64 {
	best := 0.0
	for _, r := range p.rates {
		best = max(best, r)
	}
	return best
}

// frame is how much data one frame should hold, so that nobody waits long for
// one to leave.
func (p *pipe) frame() int {
	r := p.rate()
	if r == 0 {
		return maxFrame
	}
	return min(max(int(r*frameTime.Seconds()), smallFrame), maxFrame)
}
