package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
)

// refusal remembers an account that vCenter did not take, in memory and in a
// file: a gateway that is started again and again must not lock an account
// either. The file holds nothing of the password, so that after a start only the
// time at which the account was set can tell whether it is another one.
type refusal struct {
	User  string    `json:"user"`
	At    time.Time `json:"at"`
	Cause string    `json:"cause"`

	file   string // empty: none
	known  bool   // the account itself is, by the fields below
	salt   [16]byte
	digest [32]byte // of the salt and the account
}

// recall reads what an earlier run has written.
func recall(file string) (refusal, error) {
	r := refusal{file: file}
	if file == "" {
		return r, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return refusal{file: file}, fmt.Errorf("read which account was refused: %w", err)
	}
	return r, nil
}

func (r *refusal) sum(a Account) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s%d:%s%s", r.salt, len(a.User), a.User, a.Password))
}

func (r *refusal) set(a Account, at time.Time, cause error) error {
	_, _ = rand.Read(r.salt[:]) // never fails
	r.User, r.At, r.Cause, r.known, r.digest = a.User, at.UTC(), cause.Error(), true, r.sum(a)
	if r.file == "" {
		return nil
	}
	b, err := json.Marshal(r)
	if err == nil {
		err = atomicfile.Write(r.file, b, 0o600)
	}
	return err
}

// clear forgets it: the account is good.
func (r *refusal) clear() error {
	was := !r.At.IsZero()
	*r = refusal{file: r.file}
	if !was || r.file == "" {
		return nil
	}
	if err := os.Remove(r.file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// check is a [RefusedError] if an account of a vCenter is the refused one and it is too
// early. One that a person has set since is tried also if it is the same: it may be
// unlocked, or vCenter may have got its password.
func (r *refusal) check(vcenter string, a Account, now time.Time) error {
	again := r.At.Add(refusedFor)
	if r.At.IsZero() || !now.Before(again) || a.User != r.User || r.known && r.digest != r.sum(a) || a.Set.After(r.At) {
		return nil
	}
	return &RefusedError{VCenter: vcenter, User: a.User, Until: again}
}

// RefusedError says which account vCenter does not take. It is an [ErrRefused].
type RefusedError struct {
	VCenter string // our name for it; with "/control" of what acts
	User    string
	Until   time.Time // before which it is not tried again, unless a person sets it
	Err     error     // vCenter's answer; nil: it was not asked again
}

// Error is the same for the first refusal and for the time after it.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v %s: the user name or the password is wrong, or the account is locked or disabled; lest the directory lock it, it is not tried again before %s",
		ErrRefused, e.User, e.Until.UTC().Format(time.TimeOnly+" MST"))
}

// Unwrap returns what the error is of.
func (e *RefusedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrRefused}
	}
	return []error{ErrRefused, e.Err}
}

// Remedy is what a person does about it.
func (e *RefusedError) Remedy() string {
	name, give := paired(e.VCenter), "--user "+quoted(e.User)
	if name != e.VCenter { // who acts may be who looks, too
		give += ", or --control-user if it is for control alone"
	}
	return fmt.Sprintf("once it is right in vCenter, pf9-gateway pair %s tries it again at once; for another password: pf9-gateway pair %[1]s %s", name, give)
}

// quoted is a user as a shell takes it: of a domain, it may have a backslash.
func quoted(user string) string {
	if strings.ContainsAny(user, "\\ $&") {
		return "'" + user + "'"
	}
	return user
}
