package network

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// ovsServer is a real ovsdb-server with an empty switch database.
type ovsServer struct {
	t      *testing.T
	socket string
	proc   *os.Process
}

func startOVS(t *testing.T) *ovsServer {
	t.Helper()
	const schema = "/usr/share/openvswitch/vswitch.ovsschema"
	server, err := exec.LookPath("ovsdb-server")
	if err != nil {
		t.Skip("needs ovsdb-server")
	}
	dir, err := os.MkdirTemp("", "ovs") // t.TempDir is too long for a socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	db, socket := filepath.Join(dir, "db"), filepath.Join(dir, "sock")
	run(t, "ovsdb-tool", "create", db, schema)
	cmd := exec.Command(server, "--remote=punix:"+socket, "--unixctl="+filepath.Join(dir, "ctl"), "--no-chdir", "-vconsole:off", db)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s := &ovsServer{t, socket, cmd.Process}
	eventually(t, "ovsdb-server listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	s.vsctl("init")
	return s
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func (s *ovsServer) vsctl(args ...string) {
	s.t.Helper()
	run(s.t, "ovs-vsctl", append([]string{"--no-wait", "--db=unix:" + s.socket}, args...)...)
}

func TestOVSBridges(t *testing.T) {
	s := startOVS(t)
	s.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "fail_mode=secure", "datapath_type=netdev")
	s.vsctl("set-controller", "br-int", "tcp:192.0.2.1:6653", "tcp:192.0.2.2:6653")
	s.vsctl("add-port", "br-int", "tap1", "tag=7", "--", "add-port", "br-int", "trunk0", "trunks=30,10,20")
	s.vsctl("add-port", "br-int", "vx0", "--", "set", "interface", "vx0", "type=vxlan")
	s.vsctl("add-bond", "br-int", "bond0", "eth8", "eth9")
	s.vsctl("add-br", "br-ex")
	got := make(map[string]inventory.OVSBridge)
	for k, r := range list(t, &OVS{Socket: s.socket}) {
		if len(k.ID) != 36 {
			t.Errorf("id %q is no UUID", k.ID)
		}
		got[r.Name] = r.Spec.(inventory.OVSBridge)
	}
	want := map[string]inventory.OVSBridge{
		"br-ex": {Name: "br-ex", Ports: []inventory.OVSPort{{Name: "br-ex", Interfaces: []string{"br-ex (internal)"}}}},
		"br-int": {
			Name: "br-int", DatapathType: "netdev", FailMode: "secure",
			Controllers: []string{"tcp:192.0.2.1:6653", "tcp:192.0.2.2:6653"},
			Ports: []inventory.OVSPort{
				{Name: "bond0", Interfaces: []string{"eth8 (system)", "eth9 (system)"}},
				{Name: "br-int", Interfaces: []string{"br-int (internal)"}},
				{Name: "tap1", Tag: 7, Interfaces: []string{"tap1 (system)"}},
				{Name: "trunk0", Trunks: []int{10, 20, 30}, Interfaces: []string{"trunk0 (system)"}},
				{Name: "vx0", Interfaces: []string{"vx0 (vxlan)"}},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("bridges (-want +got):\n%s", diff)
	}
}

func TestOVSConforms(t *testing.T) {
	s := startOVS(t)
	s.vsctl("add-br", "br-int", "--", "add-port", "br-int", "tap1", "tag=7")
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return &OVS{Socket: s.socket} },
		Kinds: (*OVS)(nil).Kinds(),
	})
}

func TestOVSChangesAreHinted(t *testing.T) {
	s := startOVS(t)
	s.vsctl("add-br", "br-int")
	ready := make(chan struct{})
	hints := watch(t, &OVS{Socket: s.socket, watching: func() { close(ready) }})
	<-ready
	took := hinted(t, hints, 10*time.Second, func() { s.vsctl("add-port", "br-int", "tap1") })
	t.Logf("hint %v after ovs-vsctl was started", took)
	hinted(t, hints, 10*time.Second, func() { s.vsctl("set", "port", "tap1", "tag=9") })
	s.vsctl("set", "interface", "tap1", "external_ids:x=y")
	quiet(t, hints, 100*time.Millisecond)
}

func TestADeadOVSServerEndsTheWatch(t *testing.T) {
	s := startOVS(t)
	done := make(chan error, 1)
	ready := make(chan struct{})
	o := &OVS{Socket: s.socket, watching: func() { close(ready) }}
	go func() { done <- o.Watch(t.Context(), func(...plugin.Key) {}) }()
	<-ready
	must(t, s.proc.Kill())
	select {
	case err := <-done:
		if err == nil {
			t.Error("Watch = nil after the server died")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the watch goes on without a server")
	}
}

func TestWithoutOVSIsCalm(t *testing.T) {
	o := &OVS{Root: t.TempDir()}
	if err := o.List(t.Context(), func(plugin.Resource) {}); !errors.Is(err, ErrAbsent) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List = %v, want ErrAbsent", err)
	}
	if err := o.Watch(t.Context(), func(...plugin.Key) {}); !errors.Is(err, ErrAbsent) {
		t.Errorf("Watch = %v, want ErrAbsent", err)
	}
}

// fakeOVS serves each connection with answer.
func fakeOVS(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ovs")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); answer(c) }()
		}
	}()
	return l.Addr().String()
}

func TestASilentOVSServerIsAnError(t *testing.T) {
	socket := fakeOVS(t, func(c net.Conn) { _, _ = bufio.NewReader(c).ReadString(0) })
	o := &OVS{Socket: socket, Timeout: 50 * time.Millisecond}
	if err := o.List(t.Context(), func(plugin.Resource) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("List of a silent server = %v, want context.DeadlineExceeded", err)
	}
	if err := o.Watch(t.Context(), func(...plugin.Key) {}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Watch of a silent server = %v, want os.ErrDeadlineExceeded", err)
	}
}

func TestAnEndlessMessageIsRefused(t *testing.T) {
	socket := fakeOVS(t, func(c net.Conn) {
		chunk := []byte(strings.Repeat("[", 1<<16))
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})
	err := (&OVS{Socket: socket}).List(t.Context(), func(plugin.Resource) {})
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("List = %v, want the message refused", err)
	}
}

// TestTheWatchKeepsTheConnectionAlive plays a server that asks by echo, and one
// that hangs later.
func TestTheWatchKeepsTheConnectionAlive(t *testing.T) {
	answered := make(chan rpcMessage, 1)
	asked := make(chan struct{}, 100)
	socket := fakeOVS(t, func(c net.Conn) {
		dec := json.NewDecoder(c)
		for {
			var m rpcMessage
			if dec.Decode(&m) != nil {
				return
			}
			switch m.Method {
			case "monitor":
				_, _ = c.Write([]byte(`{"id":` + string(m.ID) + `,"result":{},"error":null}{"method":"echo","params":["hi"],"id":"e"}`))
			case "echo":
				asked <- struct{}{}
				if len(asked) < 3 { // the third is not answered
					_, _ = c.Write([]byte(`{"id":` + string(m.ID) + `,"result":[],"error":null}`))
				}
			case "":
				answered <- m
			}
		}
	})
	o := &OVS{Socket: socket, Timeout: 200 * time.Millisecond, Keepalive: 20 * time.Millisecond}
	err := o.Watch(t.Context(), func(...plugin.Key) {})
	if !errors.Is(err, os.ErrDeadlineExceeded) || len(asked) != 3 {
		t.Errorf("Watch = %v after %d questions, want a deadline after 3", err, len(asked))
	}
	select {
	case m := <-answered:
		if string(m.ID) != `"e"` || string(m.Result) != `["hi"]` {
			t.Errorf("answer to echo = %s %s", m.ID, m.Result)
		}
	default:
		t.Error("the server's echo was not answered")
	}
}

func FuzzOVSRow(f *testing.F) {
	f.Add([]byte(`{"_uuid":["uuid","a"],"tag":7,"trunks":["set",[1,2]],"ports":["set",[["uuid","p"]]],"fail_mode":["set",[]],"name":"br0"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var row ovsRow
		if json.Unmarshal(b, &row) != nil {
			return
		}
		row.UUID = ovsSet{{text: "id"}}
		if out, err := (ovsRows{"Bridge": {"id": row}}).bridges(); err == nil && len(out) != 1 {
			t.Errorf("%d bridges", len(out))
		}
	})
}
