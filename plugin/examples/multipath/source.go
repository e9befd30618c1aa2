package main

import (
	"context"
	"fmt"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// source lists what is below a mounted sysfs.
type source struct {
	sys  string
	poll time.Duration
}

// The words of member state.
const (
	stateOK        = "ok"
	stateDegraded  = "degraded"  // some ways work
	stateFailed    = "failed"    // none does
	stateSuspended = "suspended" // input and output wait, by somebody's command
)

func (s *source) List(ctx context.Context, emit func(plugin.Resource)) error {
	l := &look{}
	if len(l.names(s.sys, "class")) == 0 && l.err == nil {
		return fmt.Errorf("no class in %s: is sysfs mounted there?", s.sys)
	}
	for _, list := range []func(*look, string, func(plugin.Resource)){listMaps, listSessions, listSubsystems} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		list(l, s.sys, emit)
	}
	return l.err
}

// Watch asks for a list when the kernel has told anybody of a changed device,
// such as a path that failed. The counter of that is one small file.
func (s *source) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	if s.poll == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.poll)
	defer tick.Stop()
	l := &look{}
	for last := l.number(s.sys, "kernel/uevent_seqnum"); l.err == nil; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now := l.number(s.sys, "kernel/uevent_seqnum"); now != last {
			last = now
			changed()
		}
	}
	return l.err
}

// health is the state of something with several ways.
func health(working, all int) string {
	switch working {
	case 0:
		return stateFailed
	case all:
		return stateOK
	}
	return stateDegraded
}
