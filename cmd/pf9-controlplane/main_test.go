package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "controlplane.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestServeAndTokens(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	file := writeConfig(t, fmt.Sprintf("[du]\nstate = %q\nlisten = %q\nfqdn = \"du.test\"\n", t.TempDir(), address))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- command(ctx, []string{"all", "--config", file}, io.Discard, io.Discard) }()
	ask := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := command(t.Context(), append([]string{"--config", file}, args...), &out, io.Discard)
		return out.String(), err
	}
	late := time.After(20 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		if out, err := ask("token", "list"); err == nil {
			if !strings.Contains(out, "bootstrap") {
				t.Errorf("token list says %q", out)
			}
			break
		}
		select {
		case <-tick:
		case err := <-ended:
			t.Fatal(err)
		case <-late:
			t.Fatal("the control plane does not start")
		}
	}
	if out, err := ask("token", "create", "--name", "grafana"); err != nil || !strings.HasPrefix(out, "pf9a1.") {
		t.Errorf("token create says %q, %v", out, err)
	}
	if out, err := ask("join-token", "create", "--uses", "5"); err != nil || !strings.HasPrefix(out, "pf9j1.") {
		t.Errorf("join-token create says %q, %v", out, err)
	}
	if _, err := ask("token", "create"); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("a token without a name: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the control plane ended with %v", err)
	}
	if _, err := ask("token", "list"); err == nil || !strings.Contains(err.Error(), "must be running") {
		t.Errorf("with nothing running: %v", err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		args         []string
		want         string
	}{
		{"unknown key", "[du]\nstate = \"x\"\ncolour = 1\n", []string{"all"}, ":3: "},
		{"no name", "[du]\nstate = \"x\"\n", []string{"all"}, "du.fqdn"},
		{"odd level", "log_level = \"loud\"\n", []string{"all"}, "log_level"},
		{"no command", "", nil, "missing"},
		{"odd command", "", []string{"dance"}, "dance"},
		{"core", "", []string{"core"}, "not there yet"},
		{"odd argument", "", []string{"du", "x"}, "unknown argument"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := writeConfig(t, tc.config)
			err := command(t.Context(), append([]string{"--config", file}, tc.args...), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			_, isConfig := errors.AsType[configError](err)
			if want := tc.config != ""; isConfig != want {
				t.Errorf("a mistake of the configuration: %v, want %v", isConfig, want)
			}
		})
	}
	var out bytes.Buffer
	if err := command(t.Context(), []string{"version"}, &out, io.Discard); err != nil || !strings.HasPrefix(out.String(), "pf9-controlplane ") {
		t.Errorf("version says %q, %v", out.String(), err)
	}
}
