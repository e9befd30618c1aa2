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
	return fmt.Sprintf("%s refuses the account %s: the user name or the password is wrong, or the account is locked or disabled. "+
		"The password was tried once (refused tries of this account within %d minutes: %d), and is not tried again before %s, lest the directory lock the account: give the right one",
		url, a.User, refusedFor/time.Minute, tries, at.Add(refusedFor).UTC().Format(time.TimeOnly+" MST"))
}

// check is an error if the account was refused a short while ago.
func (r *refusals) check(url string, a session.Account, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, account := r.sums(url, a)
	for _, f := range r.list {
		if again := f.at.Add(refusedFor); f.account == account && now.Before(again) {
			return fmt.Errorf("%s refused this password of %s at %s: it is not tried again before %s, lest the directory lock the account; give the right one",
				url, a.User, f.at.UTC().Format(time.TimeOnly), again.UTC().Format(time.TimeOnly+" MST"))
		}
	}
	return nil
}
