package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// ConfigError is a mistake in a configuration file.
type ConfigError struct {
	File string
	Line int    // 0: not known
	Text string // what is wrong, and the line with a mark where it is known
}

// Error names the file, the line and the mistake.
func (e *ConfigError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
	}
	return e.File + ": " + e.Text
}

// Load reads a TOML file into v, and over it the drop-ins <path>.d/*.conf in
// the order of their names. An unknown key is a *ConfigError. A file may be
// missing if there are drop-ins; without either the error is fs.ErrNotExist.
func Load(path string, v any) error {
	files, err := filepath.Glob(filepath.Join(path+".d", "*.conf"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	if _, err := os.Stat(path); err == nil {
		files = slices.Insert(files, 0, path)
	} else if !errors.Is(err, fs.ErrNotExist) || len(files) == 0 {
		return err
	}
	for _, file := range files {
		if err := loadFile(file, v); err != nil {
			return err
		}
	}
	return nil
}

func loadFile(file string, v any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return Decode(file, text, v)
}

// Decode reads the text of a TOML file into v. An unknown key and any other
// mistake is a *ConfigError.
func Decode(file string, text []byte, v any) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		line, _ := first.Position()
		return &ConfigError{file, line, fmt.Sprintf("there is no setting %q\n%s", first.Key(), first.String())}
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := bad.Position()
		return &ConfigError{file, line, bad.Error() + "\n" + bad.String()}
	}
	if err != nil {
		return &ConfigError{File: file, Text: err.Error()}
	}
	return nil
}

// Show writes a configuration as TOML, with its defaults.
func Show(v any) ([]byte, error) { return toml.Marshal(v) }
