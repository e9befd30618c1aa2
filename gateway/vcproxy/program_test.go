package vcproxy_test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prepare writes what OpenStack's programs are given: the broker's certificate,
// and the settings of docs/vcenter-broker.md with what is different here.
func (s *stand) prepare(t *testing.T) {
	t.Helper()
	ca := filepath.Join(s.dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/vcenter-broker.md")
	if err != nil {
		t.Fatal(err)
	}
	_, settings, _ := strings.Cut(string(doc), "```ini\n")
	settings, _, _ = strings.Cut(settings, "```")
	for name, value := range map[string]string{
		"host_port": s.port(t), "ca_file": ca, "host_username": localUser, "host_password": localSecret,
		"cluster_name": "DC0_C0", "datastore_regex": "LocalDS_0", "task_poll_interval": "0.01",
	} {
		before, after, ok := strings.Cut(settings, "\n"+name+" = ")
		if !ok {
			t.Fatalf("the settings in docs/vcenter-broker.md have no %s", name)
		}
		settings = before + "\n" + name + " = " + value + after[strings.IndexByte(after, '\n'):]
	}
	if err := os.WriteFile(filepath.Join(s.dir, "nova.conf"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *stand) port(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// script runs a Python program against the broker, whose certificate it checks.
// The functions of after are called when a step of that name is done.
func (s *stand) script(t *testing.T, name string, want map[string]string, after map[string]func()) {
	t.Helper()
	began, got := time.Now(), make(map[string]string)
	err := s.program(t, name, func(step, value string) {
		t.Logf("%6.2fs %s: %s", time.Since(began).Seconds(), step, value)
		got[step] = value
		if f := after[step]; f != nil {
			f()
		}
	})
	if err != nil {
		t.Fatalf("%v\nlog:\n%s\naudit:\n%s", err, s.log, s.auditText(t))
	}
	for step, value := range want {
		if got[step] != value {
			t.Errorf("%s: %q, want %q", step, got[step], value)
		}
	}
	s.noSecret(t)
}

// program runs a Python program and tells each of its steps; the next one begins
// when that returns.
func (s *stand) program(t *testing.T, name string, tell func(step, value string)) error {
	args := []string{"300", python, filepath.Join("testdata", name), "127.0.0.1", s.port(t), filepath.Join(s.dir, "ca.pem"), s.dir}
	cmd := exec.CommandContext(t.Context(), "timeout", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if step, value, ok := strings.Cut(lines.Text(), ": "); ok {
			tell(step, value)
			_, _ = io.WriteString(in, "\n") // a program that has ended says so below
		}
	}
	err = cmd.Wait()
	if strings.Contains(stderr.String(), realPassword) {
		t.Errorf("%s says the real password", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, &stderr)
	}
	return nil
}
