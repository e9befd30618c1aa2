package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// brokerPackage has the tests and benchmarks that brokerBar runs: the broker is
// no program of its own, and only packages of the gateway may use vcsim.
const brokerPackage = "github.com/openpf9/openpf9/gateway/vcproxy"

var (
	testLine  = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+) \(([0-9.]+)s\)`)
	benchLine = regexp.MustCompile(`(?m)^BenchmarkCall/small/(direct|broker)\S*\s.*\s([0-9.]+) p50-µs\s+([0-9.]+) p99-µs`)
)

// brokerBar runs govc, oslo.vmware and nova's driver, unchanged and with a dummy
// password, through whole lives of machines by way of the broker, against vcsim,
// and times calls beside direct ones.
func brokerBar(ctx context.Context, r *run) error {
	out, err := goTest(ctx, "-v", "-run", "Govc|Unchanged|Killed|EveryMethod|Lease", brokerPackage, "-long")
	failed, passed := 0, 0
	for _, m := range testLine.FindAllSubmatch(out, -1) {
		switch string(m[1]) {
		case "PASS":
			passed++
			seconds, _ := strconv.ParseFloat(string(m[3]), 64) // the pattern is of a number
			note(r, string(m[2]), time.Duration(seconds*float64(time.Second)), "")
		case "SKIP":
			return fmt.Errorf("%s was skipped; apt-get install python3-oslo.vmware python3-nova", m[2])
		case "FAIL":
			failed++
		}
	}
	if passed == 0 {
		return fmt.Errorf("run the broker's tests: %w\n%s", err, out)
	}
	most(r, "of these failed", failed, 0, "")
	rounds := "20000x"
	if r.quick {
		rounds = "2000x"
	}
	out, err = goTest(ctx, "-run", "^$", "-bench", "Call/small", "-benchtime", rounds, brokerPackage)
	if err != nil {
		return fmt.Errorf("run the broker's benchmark: %w\n%s", err, out)
	}
	median := make(map[string]time.Duration)
	for _, m := range benchLine.FindAllSubmatch(out, -1) {
		p50, _ := strconv.ParseFloat(string(m[2]), 64)
		last, _ := strconv.ParseFloat(string(m[3]), 64)
		median[string(m[1])] = time.Duration(p50 * float64(time.Microsecond))
		note(r, "a small call, "+string(m[1])+", median", median[string(m[1])], "")
		note(r, "  99th percentile", time.Duration(last*float64(time.Microsecond)), "")
	}
	if len(median) != 2 {
		return fmt.Errorf("the benchmark has no figures:\n%s", out)
	}
	most(r, "what the broker adds to a call, median", median["broker"]-median["direct"], time.Millisecond, "")
	return nil
}

// goTest runs go test and returns what it wrote.
func goTest(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-timeout=10m"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}
