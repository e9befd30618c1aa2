package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// runner measures rows of stacks and collects the figures.
type runner struct {
	id     Identity
	stacks []named
	groups []string // of rows; nil: all
	out    results
	log    io.Writer // progress
}

// round runs each row once for each stack. All stacks do a row, in random
// order, before the next row, so that what else the machine does at the time
// meets them alike.
func (r *runner) round(ctx context.Context, rows []row, at place, what string) {
	rows = slices.DeleteFunc(rows, func(x row) bool {
		return r.groups != nil && !slices.Contains(r.groups, x.group)
	})
	if len(rows) == 0 {
		return
	}
	start := time.Now()
	pairs := map[string]*pair{}
	defer func() {
		for _, p := range pairs {
			p.stop()
		}
	}()
	for _, x := range rows {
		order := slices.Clone(r.stacks)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, s := range order {
			if ctx.Err() != nil {
				fmt.Fprintf(r.log, "%s: out of time at %s\n", what, x.metrics[0])
				return
			}
			p, err := r.row(ctx, s.name, x, pairs[s.name], at)
			if err != nil || x.alone {
				if p != nil {
					p.stop()
				}
				p = nil
			}
			if pairs[s.name] = p; p == nil {
				delete(pairs, s.name)
			}
		}
	}
	fmt.Fprintf(r.log, "%s: %.0f s\n", what, time.Since(start).Seconds())
}

// row measures a row of one stack, with a new pair of processes if p is nil,
// and returns the pair. After an error the pair is of no more use.
func (r *runner) row(ctx context.Context, stack string, x row, p *pair, at place) (*pair, error) {
	within, cancel := context.WithTimeout(ctx, x.limit)
	defer cancel()
	got := map[string]bool{}
	err := func() (err error) {
		if p == nil {
			if p, err = newPair(within, stack, r.id, at); err != nil {
				return err
			}
		}
		if err := p.fresh(within); err != nil {
			return err
		}
		// Leave no load beside the next stack's row. If this fails, so will fresh.
		defer func() { _ = p.closeAll(within) }()
		return x.run(within, p, func(metric string, v float64) {
			got[metric] = true
			r.out.record(stack, metric, v)
		})
	}()
	if err == nil || ctx.Err() != nil { // out of time altogether says nothing about the stack
		return p, err
	}
	for _, m := range x.metrics {
		if !got[m] {
			r.out.missed(stack, m, err)
		}
	}
	return p, err
}

// parseList splits a flag's comma-separated value and checks its words.
func parseList(s string, known []string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	list := strings.Split(s, ",")
	for _, w := range list {
		if !slices.Contains(known, w) {
			return nil, errors.New("unknown " + w + "; known: " + strings.Join(known, ","))
		}
	}
	return list, nil
}
