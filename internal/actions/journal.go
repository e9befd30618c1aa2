package actions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/wire"
)

// A record is what the journal holds of an action. Of several records of one
// action the last counts.
type record struct {
	Request wire.ActionRequest `json:"request"`
	// Deadline is the request's, by the clock of this machine.
	Deadline time.Time          `json:"deadline"`
	Outcome  wire.ActionOutcome `json:"outcome"` // without secrets
	Memo     Memo               `json:"memo,omitzero"`
}

// A Memo is what is written down about an action, so that it is found again
// after a restart.
type Memo struct {
	// Asked is the hypervisor's clock right before it was asked. The zero time
	// says that it was not.
	Asked time.Time `json:"asked,omitzero"`
	// Task is the hypervisor's task, Object what the action is about beside its target.
	Task   string `json:"task,omitempty"`
	Object string `json:"object,omitempty"`
}

const (
	maxRecord  = 128 << 10 // bytes of one line
	maxJournal = 64 << 20  // bytes of the file that are read
)

// A journal is a file of records, a JSON document a line. What add has written
// is on disk when it returns.
type journal struct {
	path string

	mu    sync.Mutex // guards the fields below, and orders writes
	file  *os.File   // nil: closed
	size  int64      // of what is written whole
	lines int
}

// openJournal reads the journal, or makes it. A torn last line is cut off.
// damaged counts the lines that were not understood.
func openJournal(path string) (j *journal, all []record, damaged int, err error) {
	j = &journal{path: path}
	if j.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.file.Close())
		}
	}()
	info, err := j.file.Stat()
	if err != nil {
		return nil, nil, 0, err
	}
	if info.Size() > maxJournal {
		return nil, nil, 0, fmt.Errorf("%s has more than %d bytes: it is not ours", path, maxJournal)
	}
	for lines := bufio.NewReader(j.file); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil { // the end; what is left is torn
			break
		}
		j.size += int64(len(line))
		j.lines++
		var r record
		if json.Unmarshal(line, &r) != nil || r.Request.ID == "" {
			damaged++
			continue
		}
		all = append(all, r)
	}
	if err = j.file.Truncate(j.size); err != nil {
		return nil, nil, 0, err
	}
	if _, err = j.file.Seek(j.size, 0); err != nil {
		return nil, nil, 0, err
	}
	return j, all, damaged, nil
}

// add appends a record. After an error the journal is as it was.
func (j *journal) add(r *record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(line) >= maxRecord {
		return fmt.Errorf("record of %d bytes", len(line))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return fs.ErrClosed
	}
	_, err = j.file.Write(append(line, '\n'))
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		_, back := j.file.Seek(j.size, 0)
		return errors.Join(err, j.file.Truncate(j.size), back)
	}
	j.size += int64(len(line)) + 1
	j.lines++
	return nil
}

// long says whether the journal has many more lines than records are needed.
func (j *journal) long(needed int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines > 4*needed+100
}

// rewrite replaces the file by the records that needed returns, which are all
// that add was given for actions that still matter.
func (j *journal) rewrite(needed func() []record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return fs.ErrClosed
	}
	var text bytes.Buffer
	all := needed()
	for i := range all {
		line, err := json.Marshal(&all[i])
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	if err := atomicfile.Write(j.path, text.Bytes(), 0o600); err != nil {
		return err
	}
	file, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := file.Seek(int64(text.Len()), 0); err != nil {
		return errors.Join(err, file.Close())
	}
	_ = j.file.Close() // nothing of it is unwritten
	j.file, j.size, j.lines = file, int64(text.Len()), len(all)
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
