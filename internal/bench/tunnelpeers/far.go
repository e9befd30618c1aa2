package main

import (
	"context"
	"fmt"
	"time"

	"github.com/openpf9/openpf9/internal/bench/delayline"
)

// far runs the rows through a round trip of 50 ms.
func (r *runner) far(ctx context.Context, o options) error {
	path, err := delayline.New(delayline.Options{RTT: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	defer path.Close()
	at := place{
		host: path.Near.IP.String(),
		in: func(role Role, f func() error) error {
			if role == RoleDU {
				return path.Near.Inside(f)
			}
			return path.Far.Inside(f)
		},
	}
	for i := range o.farRounds {
		r.round(ctx, farRows(o.plan), at, fmt.Sprintf("50 ms, round %d", i+1))
	}
	return nil
}
