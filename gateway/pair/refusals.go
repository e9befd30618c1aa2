package pair

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
)

const (
	refusedFor = 15 * time.Minute // until a refused account is tried again
	maxSame    = 2                // of one account meanwhile: a person may have unlocked it
	maxRefused = 64               // that are remembered; when full, the oldest is forgotten
)

// refusals remember which accounts which vCenter did not take. The zero value is
// ready.
type refusals struct {
	mu   sync.Mutex // guards the fields below
	salt [16]byte
	list []refusal
}

type refusal struct {
	user, account [sha256.Size]byte // without the password, and with it
	at            time.Time
}

// sums is called with the lock held.
func (r *refusals) sums(url string, a session.Account) (user, account [sha256.Size]byte) {
	if r.salt == [16]byte{} {
		_, _ = rand.Read(r.salt[:]) // never fails
	}
	who := fmt.Appendf(nil, "%s%d:%s%d:%s", r.salt, len(url), url, len(a.User), a.User)
	return sha256.Sum256(who), sha256.Sum256(append(who, "/"+a.Password...))
}

// add notes that an account was refused, and says so.
func (r *refusals) add(url string, a session.Account, at time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == maxRefused {
		r.list = slices.Delete(r.list, 0, 1)
	}
	user, account := r.sums(url, a)
	r.list = append(r.list, refusal{user, account, at})
	tries := 0
	for _, f := range r.list {
		if f.user == user && at.Before(f.at.Add(refusedFor)) {
			tries++
		}
	}
	text := fmt.Sprintf("%s refuses the account %s: the user name or the password is wrong, or the account is locked or disabled (refused tries of this account within %d minutes: %d). ",
		url, a.User, refusedFor/time.Minute, tries)
	if same := r.recent(account, at); len(same) >= maxSame {
		return text + "The password was tried twice, and is not tried again before " + clock(same[0].Add(refusedFor)) + ", lest the directory lock the account: give the right one"
	}
	return text + "Give the right one; if this one is right by now, for the account was unlocked or vCenter was given this password, pair again: it is tried once more, which counts as a try"
}

func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly + " MST") }

// recent are the times at which an account was refused that still count, the oldest
// first. It is called with the lock held.
func (r *refusals) recent(account [sha256.Size]byte, now time.Time) (times []time.Time) {
	for _, f := range r.list {
		if f.account == account && now.Before(f.at.Add(refusedFor)) {
			times = append(times, f.at)
		}
	}
	return times
}

// forget notes that an account is good.
func (r *refusals) forget(url string, a session.Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	user, _ := r.sums(url, a)
	r.list = slices.DeleteFunc(r.list, func(f refusal) bool { return f.user == user })
}

// check is an error if the account was refused a short while ago, and once more after
// that: whoever pairs again may know better than the gateway, but not without end.
func (r *refusals) check(url string, a session.Account, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, account := r.sums(url, a)
	same := r.recent(account, now)
	if len(same) < maxSame {
		return nil
	}
	return fmt.Errorf("%s refused this password of %s twice, at last at %s: it is not tried again before %s, lest the directory lock the account; give the right one",
		url, a.User, same[len(same)-1].UTC().Format(time.TimeOnly), clock(same[0].Add(refusedFor)))
}
