package du

import (
	"context"
	"fmt"
	"sync"
)

// A part is something that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// runParts starts the parts in order. When ctx ends or one of them returns, it
// stops them in the reverse order, each after the one that needs it has ended.
// It returns the first error.
func runParts(ctx context.Context, parts ...part) error {
	var mu sync.Mutex // guards first
	var first error
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type running struct {
		cancel context.CancelFunc
		done   chan struct{}
	}
	var started []running
	var wg sync.WaitGroup
	for _, p := range parts {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{cancel, make(chan struct{})}
		started = append(started, r)
		wg.Go(func() {
			defer close(r.done)
			defer stop() // whoever returns ends all
			if err := p.run(own); err != nil {
				mu.Lock()
				if first == nil {
					first = fmt.Errorf("%s: %w", p.name, err)
				}
				mu.Unlock()
			}
		})
	}
	<-ctx.Done()
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		<-started[i].done
	}
	wg.Wait()
	return first
}
