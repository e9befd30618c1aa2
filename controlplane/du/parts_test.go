package du

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestPartsStopInReverse(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]bool{"context ends": false, "a part fails": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan string, 3)
			wait := func(name string) part {
				return part{name, func(ctx context.Context) error {
					<-ctx.Done()
					ended <- name
					return nil
				}}
			}
			last := wait("c")
			if fail {
				last.run = func(context.Context) error { ended <- "c"; return broken }
			} else {
				cancel()
			}
			err := runParts(ctx, wait("a"), wait("b"), last)
			if errors.Is(err, broken) != fail {
				t.Fatalf("got %v", err)
			}
			if got := []string{<-ended, <-ended, <-ended}; !slices.Equal(got, []string{"c", "b", "a"}) {
				t.Errorf("ended in the order %q", got)
			}
		})
	}
}
