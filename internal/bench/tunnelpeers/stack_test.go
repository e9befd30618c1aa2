package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// TestEcho sends through each stack and compares what comes back, on two
// streams of one session after one another.
func TestEcho(t *testing.T) {
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range allStacks() {
		t.Run(s.name, func(t *testing.T) {
			o := connectOne(t, s, id)
			for range 2 {
				echoOnce(t, o)
			}
		})
	}
}

// connectOne returns the DU's end of a new session of s.
func connectOne(t *testing.T, s Stack, id Identity) Opener {
	t.Helper()
	conf, err := id.TLS()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan Opener, 1)
	srv, err := s.Listen(l, conf, func(o Opener) { up <- o })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	session, err := s.Connect(ctx, l.Addr().String(), conf, newService().serve)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	select {
	case o := <-up:
		return o
	case <-ctx.Done():
		t.Fatal("the DU has no session")
		return nil
	}
}

func echoOnce(t *testing.T, o Opener) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sent := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(sent)
	c, err := openOp(ctx, o, UseBulk, opEcho, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	wrote := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, bytes.NewReader(sent))
		wrote <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatal("what came back is not what was sent")
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestVerdicts(t *testing.T) {
	r := results{}
	r.record(ourName, "down1", 90)
	r.record("raw-tls", "down1", 100)
	r.record("yamux", "down1", 95)
	r.record(ourName, "ping1.p99", 800)
	r.missed("remotedialer", "ping1.p99", errFrozen)
	got := map[string]bool{}
	for _, b := range bars(r) {
		if b.run && b.known {
			got[b.text] = b.met()
		}
	}
	want := map[string]bool{
		"bulk, one stream, down1: 75 % of raw TLS":                       true,
		"bulk, one stream, down1: not below yamux":                       false,
		"ping p99 beside one bulk stream, µs":                            true,
		"ping p99 beside one bulk stream: a twentieth of remotedialer's": true,
	}
	for text, met := range want {
		if was, ok := got[text]; !ok || was != met {
			t.Errorf("%s: met %v, judged %v; want %v", text, was, ok, met)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d bars judged, want %d", len(got), len(want))
	}
}
