package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/bench/delayline"
)

// oneWay is the delay line's delay in each direction.
const oneWay = 25 * time.Millisecond

// far runs the rows through a round trip of 50 ms.
func (r *runner) far(ctx context.Context, o options) error {
	line, err := delayline.New(oneWay)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer line.Close()
	wg.Go(func() { _ = line.Run(ctx) })
	at := place{
		host: delayline.A.Addr().String(),
		in: func(role Role, f func() error) error {
			if role == RoleDU {
				return line.In(delayline.A, f)
			}
			return line.In(delayline.B, f)
		},
	}
	for i := range o.farRounds {
		r.round(ctx, farRows(o.plan), at, fmt.Sprintf("50 ms, round %d", i+1))
	}
	return nil
}
