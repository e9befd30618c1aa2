package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimEvery = time.Minute
	trimSlack = 32 << 20 // bytes that are not worth a collection
)

// trim gives back to the system what a mass reconnect has left behind, until
// ctx ends. The runtime alone keeps a heap of the size that it once needed for
// as long as little is allocated.
func trim(ctx context.Context) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		held := samples[0].Value.Uint64() - samples[1].Value.Uint64()
		if live := samples[2].Value.Uint64(); held > live+live/4+trimSlack {
			debug.FreeOSMemory()
		}
	}
}
