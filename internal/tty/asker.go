package tty

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

// Asker asks on a terminal that it opens when it is first needed, and reads from
// files what scripts give instead. Close it.
type Asker struct {
	Path string    // of the terminal
	In   io.Reader // what the file "-" is; nil: there is no such file
	Warn io.Writer // where it is told that others may read a secret's file

	t *Terminal
}

// Close closes the terminal, if it was opened.
func (a *Asker) Close() {
	if a.t != nil {
		_ = a.t.Close()
	}
}

// Need opens the terminal. Where there is none, the error names the flags that
// would do without it.
func (a *Asker) Need(flags ...string) (err error) {
	if a.t != nil {
		return nil
	}
	if a.t, err = Open(a.Path); err == nil {
		return nil
	}
	text := strings.Join(flags, ", ")
	if i := strings.LastIndex(text, ", "); i >= 0 {
		text = text[:i] + " and" + text[i+1:]
	}
	if strings.Contains(text, "-file") {
		text += "; a file with a secret must be readable by you alone (chmod 600), and holds nothing else"
		if a.In != nil {
			text += "; \"-\" is standard input"
		}
	}
	return fmt.Errorf("%w; give %s", err, text)
}

// Ask shows a question and reads a line. The terminal must be open.
func (a *Asker) Ask(ctx context.Context, question string) (string, error) {
	if a.t == nil {
		return "", errNobody
	}
	return a.t.Ask(ctx, question)
}

// mostAnswers is how often a person may answer neither yes nor no, which then is no.
const mostAnswers = 3

// Confirm asks a question until it gets a yes, in full, as what is at stake is more
// than a key, or a no.
func (a *Asker) Confirm(ctx context.Context, question string) (bool, error) {
	question += " (yes/no) "
	for range mostAnswers {
		answer, err := a.Ask(ctx, question)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "yes":
			return true, nil
		case "no", "n":
			return false, nil
		}
		question = "Please type yes, in full, or no: "
	}
	return false, nil
}

// Secret reads a secret from a file or, if none is given, asks for it.
func (a *Asker) Secret(ctx context.Context, file, question string) (string, error) {
	switch {
	case file != "":
		return a.read(file)
	case a.t == nil:
		return "", errNobody
	}
	return a.t.AskSecret(ctx, question)
}

func (a *Asker) read(file string) (string, error) {
	in, name := a.In, "standard input"
	if file != "-" || in == nil {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && a.Warn != nil {
			fmt.Fprintf(a.Warn, "others may read the secret in %s: chmod 600 it\n", file)
		}
		in, name = f, file
	}
	b, err := io.ReadAll(io.LimitReader(in, maxLine+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" || len(b) > maxLine || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("%s: want one line of at most %d bytes", name, maxLine)
	}
	return text, nil
}
