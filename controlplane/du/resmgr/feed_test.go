package resmgr

import (
	"strings"
	"testing"
)

func TestFeedIsBounded(t *testing.T) {
	f := newFeed(8)
	for i := range 100 {
		size := i * 10
		if i == 50 {
			size = feedBytes // pushes all others out
		}
		f.add(change{e: entry{text: strings.Repeat("x", size), gen: uint64(i + 1)}})
		bytes := 0
		for r := f.first; r <= f.rev; r++ {
			if f.at(r).e.gen != r {
				t.Fatalf("change %d is at the place of %d", f.at(r).e.gen, r)
			}
			bytes += len(f.at(r).e.text)
		}
		if kept := f.rev - f.first + 1; bytes != f.bytes || bytes > feedBytes || kept > 8 || len(f.ring) > 8 {
			t.Fatalf("after %d changes the feed keeps %d of %d bytes and counts %d", i+1, kept, bytes, f.bytes)
		}
	}
	if f.rev != 100 || f.first != 93 {
		t.Fatalf("the feed goes from %d to %d", f.first, f.rev)
	}
}
