package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// series is one figure of one stack over the rounds.
type series struct {
	Values []float64 `json:"values,omitempty"`
	Frozen int       `json:"frozen,omitempty"` // rounds without an answer in time
	Failed int       `json:"failed,omitempty"` // rounds that ended with an error
	Error  string    `json:"error,omitempty"`  // the last one
}

// results are all figures: stack, then metric.
type results map[string]map[string]*series

func (r results) at(stack, metric string) *series {
	if r[stack] == nil {
		r[stack] = map[string]*series{}
	}
	if r[stack][metric] == nil {
		r[stack][metric] = &series{}
	}
	return r[stack][metric]
}

func (r results) record(stack, metric string, v float64) {
	s := r.at(stack, metric)
	s.Values = append(s.Values, v)
}

// missed notes that a metric could not be measured in a round.
func (r results) missed(stack, metric string, err error) {
	s := r.at(stack, metric)
	s.Error = err.Error()
	if errors.Is(err, errFrozen) {
		s.Frozen++
	} else {
		s.Failed++
	}
}

// median of the rounds. What froze or failed in half of them has none.
func (r results) median(stack, metric string) (float64, bool) {
	s := r[stack][metric]
	if s == nil || len(s.Values) <= s.Frozen+s.Failed {
		return 0, false
	}
	v := slices.Sorted(slices.Values(s.Values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2, true
	}
	return v[len(v)/2], true
}

// frozen reports whether a figure is missing because nothing came in time.
func (r results) frozen(stack, metric string) bool {
	s := r[stack][metric]
	return s != nil && s.Frozen > 0
}

// text is the median as a table shows it.
func (r results) text(stack, metric, format string) string {
	v, ok := r.median(stack, metric)
	s := r[stack][metric]
	switch {
	case ok:
		return fmt.Sprintf(format, v)
	case s == nil:
		return "-"
	case r.frozen(stack, metric):
		return "frozen"
	default:
		return "failed"
	}
}

func (r results) errors() []string {
	var out []string
	for _, stack := range slices.Sorted(maps.Keys(r)) {
		seen := map[string]bool{}
		for _, m := range slices.Sorted(maps.Keys(r[stack])) {
			if e := r[stack][m].Error; e != "" && !seen[e] {
				seen[e] = true
				out = append(out, fmt.Sprintf("%s %s: %s", stack, m, e))
			}
		}
	}
	return out
}
