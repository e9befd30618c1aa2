// Package eventually waits, in tests, for what other processes or goroutines
// are to bring about where no channel says that they have. Where all goroutines
// are the test's own, testing/synctest is better.
package eventually

import (
	"testing"
	"time"
)

// Nil calls f until it returns nil. After a minute it ends the test with f's
// last error.
func Nil(t *testing.T, f func() error) {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}
