// Command fuzzall runs every fuzz target of the repository, one after another,
// and ends with status 1 if one finds something.
//
//	go run ./internal/bench/fuzzall            # 60 s each
//	go run ./internal/bench/fuzzall -time 5s ./internal/tunnel
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"time"
)

var target = regexp.MustCompile(`(?m)^Fuzz\w+$`)

func main() {
	each := flag.Duration("time", time.Minute, "how long to fuzz each target")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	found, err := fuzzAll(ctx, patterns, *each)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(2)
	}
	if found > 0 {
		fmt.Printf("%d targets found something\n", found)
		os.Exit(1)
	}
}

func fuzzAll(ctx context.Context, patterns []string, each time.Duration) (found int, err error) {
	// Packages without tests are skipped by the template; the rest are asked.
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}"}, patterns...)...)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return 0, fmt.Errorf("list packages: %w", err)
	}
	run := 0
	for _, pkg := range strings.Fields(string(out)) {
		out, err := exec.CommandContext(ctx, "go", "test", "-list", "^Fuzz", pkg).CombinedOutput()
		if err != nil {
			return found, fmt.Errorf("list the fuzz targets of %s: %w\n%s", pkg, err, out)
		}
		for _, name := range target.FindAllString(string(out), -1) {
			run++
			if err := fuzz(ctx, pkg, name, each); err != nil {
				found++
				fmt.Println(err)
			}
			if ctx.Err() != nil {
				return found, ctx.Err()
			}
		}
	}
	if run == 0 {
		return 0, fmt.Errorf("no fuzz targets in %v", patterns)
	}
	fmt.Printf("%d targets, %v each\n", run, each)
	return found, nil
}

func fuzz(ctx context.Context, pkg, name string, each time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, each+2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+name+"$", "-fuzztime", each.String(), pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", pkg, name, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := ""
	for _, l := range lines {
		if strings.Contains(l, "execs:") {
			last = l
		}
	}
	fmt.Printf("ok   %s %s: %s\n", pkg, name, strings.TrimPrefix(last, "fuzz: "))
	return nil
}
