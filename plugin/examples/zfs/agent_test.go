package zfs

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// The class Agent is there to be copied, so what this plugin is too small for is
// tested too: a snapshot of many deltas, and deltas of what changed.
func TestManyPoolsAndThenAChange(t *testing.T) {
	const pools = 2500
	recording := t.TempDir() + "/pools"
	record := func(from, size int) {
		var b strings.Builder
		for i := from; i < pools; i++ {
			fmt.Fprintf(&b, "pool%d\t%d\t%d\t0\t0\tONLINE\n", i, i, size)
			size = 1
		}
		if err := os.WriteFile(recording+".new", []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(recording+".new", recording); err != nil {
			t.Fatal(err)
		}
	}
	record(0, 1)
	h := start(t, map[string]any{"zpool": script(t, "exec cat "+recording), "datasets": false})
	first, deltas := h.batch()
	if !first.Whole || len(first.Upserts) != pools || deltas < pools/1000 {
		t.Fatalf("first come %d resources in %d deltas (whole: %v), want %d in several", len(first.Upserts), deltas, first.Whole, pools)
	}
	record(1, 2) // the first pool is gone, the next one has grown
	change, _ := h.batch()
	if change.Whole || len(change.Upserts) != 1 || change.Upserts[0].ID != "1" || len(change.Deletes) != 1 || change.Deletes[0].ID != "0" {
		t.Errorf("then comes %+v, want an upsert of 1 and a delete of 0", change)
	}
	record(pools, 0)
	if empty, _ := h.batch(); len(empty.Upserts) != 0 {
		t.Errorf("without pools comes %d upserts", len(empty.Upserts))
	}
	h.send(protocol.Frame{Resync: &protocol.Resync{}})
	for { // more deletes may come before
		b, _ := h.batch()
		if b.Whole && len(b.Upserts) == 0 {
			break
		}
		if len(b.Upserts) > 0 {
			t.Fatalf("without pools comes %+v", b.Upserts)
		}
	}
}

// host is an agent that takes one delta at a time.
type host struct {
	t        *testing.T
	conn     net.Conn
	in       *protocol.Reader
	receiver *protocol.Receiver
}

func start(t *testing.T, config map[string]any) *host {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "plugin")
	defer ours.Close() // FileConn has its own
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t), "-I", "zfs.py")
	cmd.Stdin, cmd.Stderr = theirs, t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = cmd.Wait()
	})
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, conn: conn, in: protocol.NewReader(conn, 0)}
	hello := h.next().Hello
	if hello == nil {
		t.Fatal("the first line is no hello")
	}
	h.receiver = protocol.NewReceiver(hello.Kinds, protocol.Limits{})
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	h.send(protocol.Frame{Welcome: &protocol.Welcome{Protocol: 1, Window: 1, IntervalMS: 50, Config: raw}})
	return h
}

func (h *host) next() protocol.Frame {
	h.t.Helper()
	f, err := h.in.Frame()
	if err != nil {
		h.t.Fatal(err)
	}
	return f
}

func (h *host) send(f protocol.Frame) {
	h.t.Helper()
	if err := protocol.NewWriter(h.conn).Frame(f); err != nil {
		h.t.Fatal(err)
	}
}

// batch takes in deltas until they come to something.
func (h *host) batch() (b protocol.Batch, deltas int) {
	h.t.Helper()
	for {
		f := h.next()
		if f.Delta == nil {
			h.t.Fatalf("want a delta, got %+v", f)
		}
		b, complete, err := h.receiver.Delta(f.Delta)
		if err != nil {
			h.t.Fatal(err)
		}
		deltas++
		h.send(protocol.Frame{Ack: &protocol.Ack{Seq: f.Delta.Seq}})
		if complete {
			return b, deltas
		}
	}
}
