package vcproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Record is one entry of the audit: who did what to which object.
type Record struct {
	Time    time.Time     `json:"time"`
	Client  Client        `json:"client,omitempty"`
	Session string        `json:"session,omitempty"` // a name for it, not its secret
	Remote  string        `json:"remote,omitempty"`
	Method  string        `json:"method"`
	Class   string        `json:"class,omitempty"`
	Object  string        `json:"object,omitempty"` // type:value, or the path of a file
	OpID    string        `json:"op_id,omitempty"`
	Result  string        `json:"result"`           // ok, refused, fault, error, cut
	Detail  string        `json:"detail,omitempty"` // why
	Took    time.Duration `json:"took_ns"`
	Bytes   int64         `json:"bytes,omitempty"` // of a transfer
	Count   int           `json:"count,omitempty"` // of calls that this entry sums up; 0: one
}

// classTransfer is the class of files in the audit.
const classTransfer = "transfer"

// Results of calls in the audit.
const (
	resultOK      = "ok"
	resultRefused = "refused"
	resultFault   = "fault"
	resultError   = "error"
	resultCut     = "cut"
)

const (
	auditBytes = 32 << 20    // of one file
	auditFiles = 8           // path, path.1 ... path.7; the oldest goes
	sumEvery   = time.Minute // how long equal entries are counted
	sumKeys    = 1024        // entries counted at once; more are written as they come
	apartMax   = 120         // entries of one client that are told apart between sums
	detailMax  = 512         // bytes of a detail and of an object
	auditMode  = os.FileMode(0o600)
)

// Audit writes records to a file that only grows, until it is full and put
// aside; a fixed number of them is kept. What changes something is written, and so are
// logins. Of all else, of reads, refusals and failures, equal ones within a minute
// are counted, and so is what of it a client does beyond some a minute: nobody pushes
// out the record of what he did by asking a million times.
type Audit struct {
	path    string
	tell    func(Record)
	maxSize int64

	mu   sync.Mutex // guards the fields below
	file *os.File
	size int64
	err  error // of the last write
	sums map[sumKey]*Record
	// apart counts what was told apart of each client since the last flush.
	apart map[Client]int
}

// sumKey is what makes records equal.
type sumKey struct {
	client                         Client
	method, object, result, detail string
}

// OpenAudit opens the file. tell, which may be nil, gets each record after it is
// written; it must not block. Close it.
func OpenAudit(path string, tell func(Record)) (*Audit, error) {
	a := &Audit{path: path, tell: tell, maxSize: auditBytes, sums: make(map[sumKey]*Record), apart: make(map[Client]int)}
	if err := a.open(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Audit) open() error {
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, auditMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.file, a.size = f, info.Size()
	return nil
}

// Ready returns the error of the last write, if it had one: what cannot be
// recorded must not be done.
func (a *Audit) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		a.write(Record{Time: time.Now().UTC(), Method: "audit", Result: resultError, Detail: "records were lost: " + a.err.Error()})
	}
	return a.err
}

// add records a call. Changes are written at once; the first of equal others is
// too, and the rest is counted.
func (a *Audit) add(r Record) {
	r.Time = r.Time.UTC()
	r.Detail, r.Object = short(r.Detail), short(r.Object)
	a.mu.Lock()
	written := a.sum(r)
	if written {
		a.write(r)
	}
	a.mu.Unlock()
	if written && a.tell != nil {
		a.tell(r)
	}
}

// did says whether a record is of what may have changed something, or of a session
// that began or ended. vCenter's fault says that nothing was done.
func (r *Record) did() bool {
	switch {
	case r.Result == resultRefused || r.Result == resultFault:
		return false
	case r.Class == classTransfer:
		return r.Method == "file PUT" || r.Method == "file POST"
	case r.Class == string(classLocal):
		return r.Result == resultOK && r.Method != "SessionIsActive"
	}
	return r.Method == "switch" || class(r.Class).changes()
}

// sum counts a record, or says that it is to be written.
func (a *Audit) sum(r Record) (write bool) {
	if r.did() {
		return true
	}
	key := sumKey{r.Client, r.Method, r.Object, r.Result, r.Detail}
	apart := r.Result != resultOK || r.Class == classTransfer
	if apart && a.apart[r.Client] >= apartMax {
		key.method, apart = "various", false
	}
	if !apart {
		key.object, key.detail = "", ""
	}
	if s, ok := a.sums[key]; ok {
		s.Count++
		s.Took += r.Took
		s.Bytes += r.Bytes
		return false
	}
	if len(a.sums) < sumKeys {
		r.Time, r.Took, r.Bytes = r.Time.Truncate(time.Second), 0, 0
		r.Method, r.Object, r.Detail, r.OpID = key.method, key.object, key.detail, ""
		a.sums[key] = &r
	}
	if apart {
		a.apart[r.Client]++
	}
	return true
}

// flush writes what was counted.
func (a *Audit) flush() {
	var told []Record
	a.mu.Lock()
	for key, r := range a.sums {
		if r.Count > 0 {
			a.write(*r)
			told = append(told, *r)
		}
		delete(a.sums, key)
	}
	clear(a.apart)
	a.mu.Unlock()
	if a.tell != nil {
		for _, r := range told {
			a.tell(r)
		}
	}
}

// write appends one line. The lock is held: lines are short, and their order
// matters.
func (a *Audit) write(r Record) {
	line, err := json.Marshal(r)
	if err != nil {
		a.err = err
		return
	}
	line = append(line, '\n')
	if a.size+int64(len(line)) > a.maxSize {
		if err := a.rotate(); err != nil {
			a.err = fmt.Errorf("rotate the audit: %w", err)
			return
		}
	}
	n, err := a.file.Write(line)
	a.size += int64(n)
	a.err = err
}

func (a *Audit) rotate() error {
	name := func(i int) string {
		if i == 0 {
			return a.path
		}
		return fmt.Sprintf("%s.%d", a.path, i)
	}
	for i := auditFiles - 2; i >= 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	old := a.file
	if err := a.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close writes what was counted and closes the file.
func (a *Audit) Close() error {
	a.flush()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}

func short(s string) string {
	if len(s) > detailMax {
		return s[:detailMax] + "..."
	}
	return s
}
