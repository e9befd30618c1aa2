package pluginhost

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const leaveTime = 2 * time.Second // that a plugin has to leave, after the protocol

// Exec is the runner for development: the plugin is our child. It ends with the
// connection, and with us, however we end.
type Exec struct {
	Command []string
	Env     []string // nil: PATH, HOME, LANG and TZ only
	Dir     string   // where the plugin runs; "" means /
	// Grace is how long it may take to leave; 0 means 2 s, as the protocol has it.
	Grace time.Duration
	// Log is where the plugin's standard output and error go; nil: nowhere.
	Log *os.File
}

// childLink is a connection with a child.
type childLink struct {
	*net.UnixConn
	cmd   *exec.Cmd
	grace time.Duration
	ended chan struct{} // closed when the child has been reaped
	err   error         // how it ended; set before ended is closed
}

// Dial starts the child with one end of a pair of sockets as its standard input.
func (e Exec) Dial(context.Context) (Link, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket for the plugin: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "plugin")
	defer func() {
		_ = ours.Close() // FileConn has its own
		_ = theirs.Close()
	}()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	c := &childLink{UnixConn: conn.(*net.UnixConn), grace: cmp.Or(e.Grace, leaveTime), ended: make(chan struct{})}
	c.cmd = exec.Command(e.Command[0], e.Command[1:]...)
	c.cmd.Dir, c.cmd.Env, c.cmd.Stdin = cmp.Or(e.Dir, "/"), e.environment(), theirs
	if e.Log != nil {
		c.cmd.Stdout, c.cmd.Stderr = e.Log, e.Log
	}
	// In a group of its own, so that all of it can be killed. The kernel kills
	// it when the thread ends that started it: so that one stays, see run.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go c.run(started) // End waits for it
	if err := <-started; err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start the plugin: %w", err)
	}
	return c, nil
}

// run starts the child and waits for its end, on one thread.
func (c *childLink) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	c.err = c.cmd.Wait()
	close(c.ended)
}

// End closes the connection, which tells the plugin to leave, and kills it with
// all that it started if it does not.
func (c *childLink) End() string {
	_ = c.Close() // again, mostly
	late := time.NewTimer(c.grace)
	defer late.Stop()
	forced := ""
	select {
	case <-c.ended:
	case <-late.C:
		forced = fmt.Sprintf("it stayed for %v more and was killed", c.grace)
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // what it left behind, if anything
	<-c.ended
	switch {
	case forced != "":
		return forced
	case c.err != nil:
		return c.err.Error()
	}
	return "exit status 0"
}

func (e Exec) environment() []string {
	if e.Env != nil {
		return e.Env
	}
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
