package pair

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/privilege"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/httpapi"
)

const (
	refusedFor = 15 * time.Minute // until a refused account is tried again
	maxRefused = 64               // that are remembered; when full, the oldest is forgotten
)

// visit is what was seen of a vCenter.
type visit struct {
	product  string // "VMware vCenter Server 8.0.3"
	instance string
	missing  []privilege.Missing
}

// visit logs in with the accounts, one after the other, and looks what the
// vCenter is and which privileges lack.
func (d *Daemon) visit(ctx context.Context, r pairing.Request, v VCenter) (visit, error) {
	first := session.Account{User: r.User, Password: r.Password}
	second := session.Account{User: r.ControlUser, Password: r.ControlPassword}
	apart := v.Control && second.User != "" && second != first
	needs := privilege.Discovery()
	if v.Control && !apart {
		needs = append(needs, privilege.Control()...)
	}
	seen, err := d.login(ctx, first, v, needs)
	if err != nil || !apart {
		return seen, err
	}
	acting, err := d.login(ctx, second, v, slices.Concat(privilege.Discovery(), privilege.Control()))
	if err == nil && acting.instance != seen.instance {
		err = httpapi.Errorf(http.StatusConflict, "two vCenters answer at %s in turn, %s and %s: give the address of one", v.URL, seen.instance, acting.instance)
	}
	seen.missing = append(seen.missing, acting.missing...)
	return seen, err
}

// login logs in once, looks and logs out.
func (d *Daemon) login(ctx context.Context, a session.Account, v VCenter, needs []privilege.Need) (visit, error) {
	if err := d.refused.check(v.URL, a, time.Now()); err != nil {
		return visit{}, &httpapi.Error{Status: http.StatusForbidden, Message: err.Error()}
	}
	s, err := session.New(session.Options{URL: v.URL, Pin: v.Thumbprint, Log: d.log, Account: func() (session.Account, error) { return a, nil }})
	if err != nil {
		return visit{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	defer func() { _ = s.Close() }()
	l, err := s.Login(ctx)
	if errors.Is(err, session.ErrRefused) {
		d.refused.add(v.URL, a, time.Now())
		return visit{}, &httpapi.Error{Status: http.StatusForbidden, Message: err.Error()}
	}
	if err != nil {
		return visit{}, faraway(err)
	}
	about := l.Client.ServiceContent.About
	if about.ApiType != "VirtualCenter" || about.InstanceUuid == "" {
		return visit{}, httpapi.Errorf(http.StatusBadRequest, "%s is no vCenter but %s: pair the vCenter that manages it", v.URL, about.FullName)
	}
	on, err := privilege.Find(ctx, l.Client, v.Clusters)
	if err != nil {
		return visit{}, faraway(err)
	}
	missing, err := privilege.Check(ctx, l.Client, l.User.Key, needs, on)
	if err != nil {
		return visit{}, faraway(err)
	}
	if len(on) == 1 && slices.ContainsFunc(missing, func(m privilege.Missing) bool { return m.Privilege == "System.Read" }) {
		return visit{}, httpapi.Errorf(http.StatusForbidden, "%s sees nothing of the inventory: give it the role Read-only on the vCenter, with its children, and pair again", a.User)
	}
	return visit{product: about.Name + " " + about.Version, instance: about.InstanceUuid, missing: missing}, nil
}

// faraway lets the person who pairs read what happened on the way.
func faraway(err error) error {
	status := http.StatusBadGateway
	if _, ok := errors.AsType[*session.CertificateError](err); ok {
		status = http.StatusConflict
	}
	return &httpapi.Error{Status: status, Message: err.Error()}
}

// fold puts the objects of one privilege together.
func fold(missing []privilege.Missing) []pairing.Privilege {
	type key struct{ function, id string }
	at := make(map[key]int)
	more := make(map[key]int)
	seen := make(map[string]bool) // on which object, for two accounts that lack the same
	out := []pairing.Privilege{}
	for _, m := range missing {
		k := key{m.Function, m.Privilege}
		if once := m.Function + m.Privilege + m.Object.Ref.Value; seen[once] {
			continue
		} else {
			seen[once] = true
		}
		if _, ok := at[k]; !ok {
			at[k] = len(out)
			out = append(out, pairing.Privilege{Name: m.Privilege, Function: m.Function, Object: m.Object.Path, Without: m.Without})
		} else {
			more[k]++
		}
	}
	for k, n := range more {
		out[at[k]].Object += fmt.Sprintf(" and %d more", n)
	}
	return out
}

// refusals remember which accounts which vCenter did not take. The zero value is
// ready.
type refusals struct {
	mu   sync.Mutex // guards the fields below
	salt [16]byte
	list []refusal
}

type refusal struct {
	digest [sha256.Size]byte
	at     time.Time
}

// sum is called with the lock held.
func (r *refusals) sum(url string, a session.Account) [sha256.Size]byte {
	if r.salt == [16]byte{} {
		_, _ = rand.Read(r.salt[:]) // never fails
	}
	return sha256.Sum256(fmt.Appendf(nil, "%s%d:%s%d:%s%s", r.salt, len(url), url, len(a.User), a.User, a.Password))
}

func (r *refusals) add(url string, a session.Account, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == maxRefused {
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, refusal{r.sum(url, a), at})
}

// check is an error if the account was refused a short while ago.
func (r *refusals) check(url string, a session.Account, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	digest := r.sum(url, a)
	for _, f := range r.list {
		if again := f.at.Add(refusedFor); f.digest == digest && now.Before(again) {
			return fmt.Errorf("%s refused this password of %s at %s: it is not tried again before %s, lest the directory lock the account; give the right one",
				url, a.User, f.at.UTC().Format(time.TimeOnly), again.UTC().Format(time.TimeOnly+" MST"))
		}
	}
	return nil
}
