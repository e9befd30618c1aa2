package main

import (
	"fmt"
	"io"
	"math"
)

// bar is one condition that the tunnel must meet. Limits from other stacks are
// asked of the same run.
type bar struct {
	text  string
	value float64 // ours
	limit float64
	least bool // value must be at least limit; otherwise at most
	run   bool // the row was run
	known bool // both figures are there; if not, something froze or failed
}

func (b bar) met() bool {
	if b.least {
		return b.value >= b.limit
	}
	return b.value <= b.limit
}

// bars judges ours. Comparisons with stacks that were not run are left out.
func bars(r results) []bar {
	j := judge{r: r}
	for _, d := range []string{"down1", "up1"} {
		j.atLeast("bulk, one stream, "+d+": 75 % of raw TLS", d, "raw-tls", 0.75)
		j.atLeast("bulk, one stream, "+d+": 4 x remotedialer", d, "remotedialer", 4)
		for _, peer := range []string{"yamux", "go-yamux", "smux-v1", "smux-v2", "http2", "yamux-16m", "smux-v2-4m", "http2-16m"} {
			j.atLeast("bulk, one stream, "+d+": not below "+peer, d, peer, 1)
		}
	}
	j.atMostConst("ping p99 beside one bulk stream, µs", "ping1.p99", 1000)
	j.atMost("ping p99 beside one bulk stream: a twentieth of remotedialer's", "ping1.p99", "remotedialer", 1./20)
	j.atLeast("open + echo + close: 1.8 x yamux", "open", "yamux", 1.8)
	for _, m := range []string{"far.down1", "far.up1"} {
		j.atLeast("50 ms, one stream, "+m+": 1.5 x one raw TLS connection", m, "raw-tls", 1.5)
	}
	for _, d := range []string{"down", "up"} {
		j.atLeastOf("50 ms, eight streams, far."+d+"8: 1.5 x one raw TLS connection", "far."+d+"8", "raw-tls", "far."+d+"1", 1.5)
	}
	j.atLeastConst("16 stalled: a new bulk stream keeps its rate, %", "stall.keep", 75)
	j.atMostConst("16 stalled: another stream's ping p99, µs", "stall.p99", 1000)
	j.atMostConst("16 stalled: cost at the far end, MiB", "stall.mem", 8)
	j.atMostConst("idle session: RSS, KiB", "idle.rss", 28)
	j.atMostConst("idle session: goroutines", "idle.goroutines", 1.01)
	j.atMost("1,000 reconnects: 1.2 x TLS handshakes alone, time", "reconnect", "raw-tls", 1.2)
	j.atMost("1,000 reconnects: 1.2 x TLS handshakes alone, CPU", "reconnect.cpu", "raw-tls", 1.2)
	return j.bars
}

type judge struct {
	r    results
	bars []bar
}

func (j *judge) add(text, metric string, limit float64, limitKnown, least bool) {
	v, ok := j.r.median(ourName, metric)
	j.bars = append(j.bars, bar{
		text: text, value: v, limit: limit, least: least,
		run: j.r[ourName][metric] != nil, known: ok && limitKnown,
	})
}

func (j *judge) atLeast(text, metric, than string, factor float64) {
	j.atLeastOf(text, metric, than, metric, factor)
}

func (j *judge) atLeastOf(text, metric, than, thanMetric string, factor float64) {
	if j.r[than] == nil {
		return
	}
	v, ok := j.r.median(than, thanMetric)
	// Anything is more than what froze.
	j.add(text, metric, v*factor, ok || j.r.frozen(than, thanMetric), true)
}

func (j *judge) atMost(text, metric, than string, factor float64) {
	if j.r[than] == nil {
		return
	}
	v, ok := j.r.median(than, metric)
	if !ok && j.r.frozen(than, metric) {
		v, ok = math.Inf(1), true
	}
	j.add(text, metric, v*factor, ok, false)
}

func (j *judge) atLeastConst(text, metric string, limit float64) {
	j.add(text, metric, limit, true, true)
}

func (j *judge) atMostConst(text, metric string, limit float64) {
	j.add(text, metric, limit, true, false)
}

// printVerdicts prints one line per bar and reports whether all that were run
// are met.
func printVerdicts(w io.Writer, r results) bool {
	if r[ourName] == nil {
		return true
	}
	all := true
	fmt.Fprintln(w)
	for _, b := range bars(r) {
		sign := "<="
		if b.least {
			sign = ">="
		}
		figure := fmt.Sprintf("%.4g %s %.4g", b.value, sign, b.limit)
		verdict := "MISSED "
		switch {
		case !b.run:
			verdict, figure = "not run", "-"
		case !b.known:
			figure, all = "did not finish", false
		case b.met():
			verdict = "met    "
		default:
			all = false
		}
		fmt.Fprintf(w, "%s  %s  (%s)\n", verdict, b.text, figure)
	}
	return all
}
