package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// child is one run of the plugin and the conversation with it.
type child struct {
	kit      *kit
	cmd      *exec.Cmd
	conn     *net.UnixConn
	heard    counter // reads conn
	in       *protocol.Reader
	began    time.Time
	greeted  time.Duration // after which hello came
	interval time.Duration // between lists, that it is told
	ended    chan struct{} // closed when the process has ended
	stdout   tail          // alone
	log      tail          // standard output and error, and what the kit did

	hello    protocol.Hello
	receiver *protocol.Receiver
	dontAck  bool
	deltas   int                                // taken in
	wholes   int                                // snapshots among them
	deletes  int                                // keys deleted, also by their absence in a later snapshot
	state    map[protocol.Key]protocol.Resource // in force
	status   protocol.Status
	pong     uint64
	nonce    uint64
}

// The ends of a wait.
var (
	errTimeout = errors.New("out of time")
	errGone    = errors.New("the plugin has left")
	errDeaf    = errors.New("the plugin does not read what the agent sends")
)

// tardy is a timeout that says what did not come, and what to do.
type tardy string

func (e tardy) Error() string { return string(e) }

// Is makes it an errTimeout.
func (e tardy) Is(target error) bool { return target == errTimeout }

var errNoCommand = errors.New("no command is given")

// counter counts what is read.
type counter struct {
	from io.Reader
	n    int
}

func (r *counter) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	r.n += n
	return n, err
}

// start starts the plugin as the agent would, perhaps with a socket that holds
// little of what is not read.
func (k *kit) start(ctx context.Context, narrow bool) (*child, error) {
	if len(k.opt.Command) == 0 {
		return nil, errNoCommand
	}
	k.starts++
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket for the plugin: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "plugin")
	defer ours.Close() // FileConn has its own
	defer theirs.Close()
	if narrow {
		_ = syscall.SetsockoptInt(fds[1], syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096) // else the check is only weaker
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	c := &child{
		kit: k, conn: conn.(*net.UnixConn), heard: counter{from: conn}, ended: make(chan struct{}), interval: fastInterval,
		state: make(map[protocol.Key]protocol.Resource), status: protocol.Status{Level: protocol.OK},
	}
	c.in = protocol.NewReader(&c.heard, 0)
	c.cmd = exec.CommandContext(ctx, k.opt.Command[0], k.opt.Command[1:]...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = theirs, io.MultiWriter(&c.stdout, &c.log), &c.log
	c.cmd.Env = k.opt.environment()
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Cancel = func() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }
	c.cmd.WaitDelay = time.Second
	c.began = time.Now()
	if err := c.cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	go func() { // close waits for it
		_ = c.cmd.Wait() // its state is looked at
		close(c.ended)
	}()
	return c, nil
}

func (o *Options) environment() []string {
	if o.Env != nil {
		return o.Env
	}
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// close ends the plugin, by force if need be, with all that it started.
func (c *child) close() {
	c.did("ends this run")
	_ = c.conn.Close()
	if !c.ends(50 * time.Millisecond) {
		_ = c.cmd.Cancel() // it may have just ended
	}
	<-c.ended
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // what it left behind, if anything
}

// leaves waits up to d for the process to end, and reads what it still says.
func (c *child) leaves(d time.Duration) bool {
	var wg sync.WaitGroup
	_ = c.conn.SetReadDeadline(time.Now().Add(d))
	wg.Go(func() { _, _ = io.Copy(io.Discard, c.conn) })
	left := c.ends(d)
	_ = c.conn.SetReadDeadline(time.Now())
	wg.Wait()
	return left
}

// left says whether the process has ended.
func (c *child) left() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// ends waits up to d for the process to end.
func (c *child) ends(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.ended:
		return true
	case <-t.C:
		return false
	}
}

// crashed says by which signal the process ended, if by any.
func (c *child) crashed() string {
	<-c.ended
	if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal().String()
	}
	return ""
}

func (c *child) send(frames ...protocol.Frame) error {
	w := protocol.NewWriter(c.conn)
	for _, f := range frames {
		_ = c.conn.SetWriteDeadline(time.Now().Add(leaveTime + c.kit.opt.Slack))
		if err := w.Frame(f); errors.Is(err, os.ErrDeadlineExceeded) {
			return errDeaf
		} else if err != nil {
			return c.gone()
		}
	}
	return nil
}

// sendRaw writes bytes that are no frame.
func (c *child) sendRaw(b []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(leaveTime + c.kit.opt.Slack))
	_, err := c.conn.Write(b)
	return err
}

func (c *child) readHello(limit time.Duration) error {
	f, err := c.next(c.began.Add(limit))
	if err != nil {
		return err
	}
	if f.Status != nil {
		return &protocol.Violation{Rule: protocol.RuleHello, Text: fmt.Sprintf("the first line is no hello but a status: %s %s", f.Status.Level, f.Status.Text)}
	}
	if f.Hello == nil {
		return &protocol.Violation{Rule: protocol.RuleHello, Text: "the first line is no hello"}
	}
	c.hello, c.greeted = *f.Hello, time.Since(c.began)
	c.receiver = protocol.NewReceiver(c.hello.Kinds, protocol.Limits{})
	return nil
}

// next reads one frame.
func (c *child) next(limit time.Time) (protocol.Frame, error) {
	_ = c.conn.SetReadDeadline(limit)
	f, err := c.in.Frame()
	if _, theirs := errors.AsType[*protocol.Violation](err); theirs || err == nil {
		return f, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return f, errTimeout
	}
	return f, c.gone()
}

// gone says how the plugin left, and what it logged last.
func (c *child) gone() error {
	how := "it closed the connection and still runs"
	if c.ends(time.Second) { // all of its log is here then
		how = c.cmd.ProcessState.String()
	}
	if last := c.log.last(); last != "" {
		how += "; it logged last: " + last
	}
	return fmt.Errorf("%w (%s)", errGone, how)
}

// did notes in the log what the kit does, which explains what follows there.
func (c *child) did(what string) { c.log.note(kitSays + what) }

// until takes in what the plugin sends until done, for at most d.
func (c *child) until(done func() bool, d time.Duration) error {
	limit := time.Now().Add(d)
	for !done() {
		f, err := c.next(limit)
		if err != nil {
			return err
		}
		if err := c.take(f); err != nil {
			return err
		}
	}
	return nil
}

func (c *child) take(f protocol.Frame) error {
	switch {
	case f.Delta != nil:
		return c.delta(f.Delta)
	case f.Pong != nil:
		c.pong = f.Pong.Nonce
	case f.Status != nil:
		c.status = *f.Status
		return f.Status.Validate()
	case f.Event != nil:
		return f.Event.Validate()
	case f.Hello != nil, f.Welcome != nil, f.Ack != nil, f.Resync != nil, f.Refresh != nil, f.Ping != nil, f.Stop != nil:
		return &protocol.Violation{Rule: protocol.RuleDirection, Text: "it sends a message that is the agent's to send, or hello again"}
	}
	return nil
}

func (c *child) delta(d *protocol.Delta) error {
	b, complete, err := c.receiver.Delta(d)
	if err != nil {
		return err
	}
	c.deltas++
	if complete {
		c.apply(b)
	}
	if c.dontAck {
		return nil
	}
	return c.send(protocol.Frame{Ack: &protocol.Ack{Seq: d.Seq}})
}

func (c *child) apply(b protocol.Batch) {
	before := c.state
	if b.Whole {
		c.wholes++
		c.state = make(map[protocol.Key]protocol.Resource, len(b.Upserts))
	}
	for _, r := range b.Upserts {
		c.state[r.Key] = r
	}
	for _, key := range b.Deletes {
		delete(c.state, key)
		c.deletes++
	}
	if b.Whole {
		for key := range before {
			if _, still := c.state[key]; !still {
				c.deletes++
			}
		}
	}
}

// ping asks for a pong and waits for it.
func (c *child) ping(d time.Duration) error {
	c.nonce++
	if err := c.send(protocol.Frame{Ping: &protocol.Ping{Nonce: c.nonce}}); err != nil {
		return err
	}
	return c.until(func() bool { return c.pong == c.nonce }, d)
}
