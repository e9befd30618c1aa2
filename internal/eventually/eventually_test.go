package eventually

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestNilReturnsWhenItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		Nil(t, func() error {
			if time.Since(began) < 30*time.Second {
				return errors.New("not yet")
			}
			return nil
		})
		if took := time.Since(began); took > 31*time.Second {
			t.Errorf("it waits %v for what takes 30s", took)
		}
	})
}
