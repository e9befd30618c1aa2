package tty_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/tty"
)

func TestWithoutATerminalTheFlagsAreNamed(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	err := (&tty.Asker{Path: nowhere}).Need("--user", "--thumbprint")
	if err == nil || err.Error() != "there is nobody to ask, for this runs without a terminal; give --user and --thumbprint" {
		t.Errorf("Need: %v", err)
	}
	a := &tty.Asker{Path: nowhere, In: strings.NewReader("")}
	err = a.Need("--user", "--code-file", "--password-file")
	if err == nil || !strings.Contains(err.Error(), "give --user, --code-file and --password-file; a file with a secret must be readable by you alone") || !strings.Contains(err.Error(), `"-" is standard input`) {
		t.Errorf("Need: %v", err)
	}
	if _, err := a.Ask(t.Context(), "User: "); err == nil {
		t.Error("nobody was asked, and there is no error")
	}
	if _, err := a.Secret(t.Context(), "", "Password: "); err == nil {
		t.Error("nobody was asked for a secret, and there is no error")
	}
	a.Close()
}

func TestAnAskerAsksOnTheTerminal(t *testing.T) {
	_, person := open(t)
	a := &tty.Asker{Path: slave(t, person)}
	defer a.Close()
	if err := a.Need("--user"); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() {
		user, err := a.Ask(t.Context(), "User: ")
		secret, errs := a.Secret(t.Context(), "", "Password: ")
		answer <- strings.Join([]string{user, secret}, "/")
		if err != nil || errs != nil {
			t.Errorf("%v, %v", err, errs)
		}
	}()
	read(t, person, "User: ")
	write(t, person, "joe\n")
	read(t, person, "Password: ")
	write(t, person, "hush\n")
	if got := <-answer; got != "joe/hush" {
		t.Errorf("it heard %q", got)
	}
}

func TestSecretsOfFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(text string, mode os.FileMode) string {
		t.Helper()
		f, err := os.CreateTemp(dir, "")
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err != nil || f.Chmod(mode) != nil || f.Close() != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	for name, test := range map[string]struct {
		file, in, want, says, warns string
	}{
		"a line":                   {file: file("hush\n", 0o600), want: "hush"},
		"blanks are part of it":    {file: file(" hush \r\n", 0o400), want: " hush "},
		"standard input":           {file: "-", in: "hush\n", want: "hush"},
		"others may read it":       {file: file("hush", 0o640), want: "hush", warns: "others may read the secret in"},
		"nothing":                  {file: file("\n", 0o600), says: "want one line"},
		"two lines":                {file: "-", in: "a\nb\n", says: "standard input: want one line"},
		"a large file":             {file: file(strings.Repeat("x", 5000), 0o600), says: "of at most 4096 bytes"},
		"a file that is not there": {file: filepath.Join(dir, "none"), says: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var warned strings.Builder
			a := &tty.Asker{In: strings.NewReader(test.in), Warn: &warned}
			got, err := a.Secret(t.Context(), test.file, "")
			if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("Secret = %q, %v, want %q or an error with %q", got, err, test.want, test.says)
			}
			if !strings.Contains(warned.String(), test.warns) || test.warns == "" && warned.Len() > 0 {
				t.Errorf("it warned %q, want %q", warned.String(), test.warns)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	for typed, want := range map[string]bool{
		"yes\n": true, " Yes \n": true, "no\n": false, "N\n": false,
		"y\nyes\n": true, "y\nno\n": false, "y\ny\ny\n": false, "\n?\nyes\n": true, "\n\n\n": false,
	} {
		_, person := open(t)
		a := &tty.Asker{Path: slave(t, person)}
		defer a.Close()
		if err := a.Need(); err != nil {
			t.Fatal(err)
		}
		write(t, person, typed)
		if got, err := a.Confirm(t.Context(), "Sure?"); got != want || err != nil {
			t.Errorf("%q: %v, %v; want %v", typed, got, err, want)
		}
	}
	if _, err := (&tty.Asker{}).Confirm(t.Context(), "Sure?"); err == nil {
		t.Error("nobody was asked, and there is no error")
	}
}
