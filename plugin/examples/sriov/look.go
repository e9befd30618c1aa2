package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// look reads sysfs and remembers the first error, so that a list checks once, at
// its end. What is not there reads as nothing: attributes differ between kernels
// and drivers, and devices go while one looks at them.
type look struct{ err error }

// text is an attribute's content.
func (l *look) text(path ...string) string {
	b, err := os.ReadFile(filepath.Join(path...))
	l.note(err)
	return strings.TrimSpace(string(b))
}

// number is an attribute's content, decimal; 0 if it is not there.
func (l *look) number(path ...string) int64 {
	text := l.text(path...)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		l.note(fmt.Errorf("%s: %.40q is no number", filepath.Join(path...), text))
	}
	return n
}

// target is the last name in what a symbolic link points to.
func (l *look) target(path ...string) string {
	to, err := os.Readlink(filepath.Join(path...))
	l.note(err)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// names are the entries of a folder, sorted.
func (l *look) names(path ...string) []string {
	entries, err := os.ReadDir(filepath.Join(path...))
	l.note(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// note keeps an error that says more than that nothing is there.
func (l *look) note(err error) {
	for _, nothing := range []error{fs.ErrNotExist, syscall.ENODEV, syscall.ENXIO, syscall.ENOTCONN, syscall.EINVAL, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if errors.Is(err, nothing) {
			return
		}
	}
	if l.err == nil {
		l.err = err
	}
}
