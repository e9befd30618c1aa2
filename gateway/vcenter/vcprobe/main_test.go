package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// From the server to the moment of sending, as the gateway does it.
func TestChangesArriveAsFastAsTheyAreMade(t *testing.T) {
	v, err := testvcenter.Start(testvcenter.Options{VMs: 300})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- discover(ctx, config{URL: v.URL(), Pin: v.Pin(), User: "gw@vsphere.local", Password: "secret"}, in)
		_ = in.Close()
	}()
	defer func() {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the pipe
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := v.Sessions(); n != 0 {
			t.Errorf("%d sessions are left behind", n)
		}
	}()
	lines := bufio.NewReader(out)
	next := func(is func(Event) bool) Event {
		t.Helper()
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			var e Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if is(e) {
				return e
			}
		}
	}
	next(func(e Event) bool { return e.Event == "listed" && e.Kinds[inventory.KindVM] == 300 })
	next(func(e Event) bool { return e.Event == "status" && e.State == "ok" })
	vms := v.IDs("VirtualMachine")
	for _, id := range vms {
		v.Stamp(id, time.Now())
	}
	seen := 0
	for seen < len(vms) {
		e := next(func(e Event) bool {
			if e.Event == "listed" {
				t.Error("300 changes needed a list")
			}
			return e.Event == "seen"
		})
		for _, d := range e.Latencies {
			if d > 5*time.Second {
				t.Errorf("a change took %v", d)
			}
		}
		seen += len(e.Latencies)
	}
}
