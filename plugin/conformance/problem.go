package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// Unstartable says why a command could not be started, and what would help. err
// is what the start returned.
func Unstartable(command []string, err error) string {
	if len(command) == 0 {
		return "no command is given"
	}
	program := command[0]
	info, missing := os.Stat(program)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, exec.ErrDot):
		return fmt.Sprintf("there is no program %s in PATH; one in this directory is ./%s", program, program)
	case missing == nil && info.IsDir():
		return program + " is a directory: name the program in it"
	case errors.Is(err, fs.ErrNotExist) && missing == nil:
		return fmt.Sprintf("%s needs %s, which is not there: mend its first line, or install that", program, interpreter(program, "a loader or library of another system"))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no file %s: build it first, or mend the path", program)
	case errors.Is(err, fs.ErrPermission) && missing == nil && info.Mode()&0o111 == 0:
		return fmt.Sprintf("%s is not executable: chmod +x %s, or name its interpreter before it: %s %s", program, program, interpreter(program, "python3"), program)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s may not be started: %v; look at the rights of its directories, and whether the file system is mounted noexec", program, err)
	case errors.Is(err, syscall.ENOEXEC):
		return program + " is no program that this machine can run: a script begins with a line such as #!/usr/bin/python3, and a binary must be built for this system and processor"
	}
	return fmt.Sprintf("%s does not start: %v", program, err)
}

// interpreter is what the first line of a script names, or other if it does not.
func interpreter(script, other string) string {
	f, err := os.Open(script)
	if err != nil {
		return other
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	name, ok := strings.CutPrefix(string(line), "#!")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return other
	}
	return strings.Fields(name)[0]
}

// silence says what was seen of a plugin that says no hello, and what that hints
// at.
func (c *child) silence(waited time.Duration) string {
	text := fmt.Sprintf("nothing was written to the socket, file descriptor 0, within %v", waited.Round(100*time.Millisecond))
	_, printed := c.stdout.text()
	switch {
	case c.heard.n > 0:
		return fmt.Sprintf("within %v came %d bytes and no whole line: end each message with a newline, and flush after it", waited.Round(100*time.Millisecond), c.heard.n)
	case c.saysOnStdout():
		return text + ", but a message to standard output: the protocol is spoken on file descriptor 0, in both directions"
	case printed > 0:
		text += fmt.Sprintf(", but %d bytes to standard output, which is only log: does it say hello on file descriptor 0?", printed)
	default:
		text += ": does it flush its output? The plugin speaks first, before it lists"
	}
	return text + c.logged()
}

// untimelyEnd says how a plugin ended that has not said hello.
func (c *child) untimelyEnd(lived time.Duration) string {
	if !c.ends(time.Second) {
		return fmt.Sprintf("it closed file descriptor 0 after %v, before a hello, and still runs: that is its connection with the agent%s",
			lived.Round(time.Millisecond), c.logged())
	}
	text := fmt.Sprintf("it ended after %v (%v), before a hello", lived.Round(time.Millisecond), c.cmd.ProcessState)
	_, printed := c.stdout.text()
	switch {
	case c.heard.n > 0:
		text += fmt.Sprintf("; %d bytes came and no whole line: end each message with a newline", c.heard.n)
	case c.saysOnStdout():
		return text + "; it wrote a message to standard output: the protocol is spoken on file descriptor 0, in both directions"
	case c.cmd.ProcessState.Success() && printed > 0:
		text += fmt.Sprintf("; it printed %d bytes, as by hand: a plugin takes no arguments that make it print, and speaks when file descriptor 0 is a socket", printed)
	case c.cmd.ProcessState.Success():
		text += ": a plugin runs until the agent closes the connection"
	}
	return text + c.logged()
}

func (c *child) logged() string {
	if last := c.log.last(); last != "" {
		return "; it logged last: " + last
	}
	return ""
}

// saysOnStdout says whether a message of the protocol is on standard output.
func (c *child) saysOnStdout() bool {
	b, _ := c.stdout.text()
	for line := range strings.Lines(string(b)) {
		f, err := protocol.ParseFrame([]byte(line))
		if err == nil && (f.Hello != nil || f.Delta != nil || f.Pong != nil || f.Status != nil || f.Event != nil) {
			return true
		}
	}
	return false
}
