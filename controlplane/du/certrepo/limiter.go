package certrepo

import (
	"sync"
	"time"
)

const (
	failuresPerMinute = 20
	remembered        = 4096 // addresses; when more fail within a minute, those beyond go free
)

// limiter slows down whoever guesses at join tokens: an address that failed
// too often within a minute has to wait for the next one. Success is free, so
// that many hosts behind one address can enrol at once. It spares log and audit;
// what makes guessing hopeless is a token's 128 random bits.
type limiter struct {
	mu     sync.Mutex // guards the fields below
	minute time.Time
	failed map[string]int
}

// wait returns how long the address must wait; 0: not at all.
func (l *limiter) wait(address string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	if l.failed[address] < failuresPerMinute {
		return 0
	}
	return l.minute.Add(time.Minute).Sub(now)
}

// fail counts a failure of the address.
func (l *limiter) fail(address string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	if l.failed[address] > 0 || len(l.failed) < remembered {
		l.failed[address]++
	}
}

func (l *limiter) turn(now time.Time) {
	if minute := now.Truncate(time.Minute); !minute.Equal(l.minute) {
		l.minute, l.failed = minute, make(map[string]int)
	}
}
