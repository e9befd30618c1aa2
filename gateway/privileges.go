package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/privilege"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
)

const (
	privilegesEvery = 10 * time.Minute // between looks at what an account may do
	privilegesAgain = 2 * time.Minute  // after a look that failed
	privilegesLook  = 15 * time.Second // between looks whether one is due
)

// rights are what the accounts of a vCenter were found to lack.
type rights struct {
	mu sync.Mutex         // guards the field below
	of map[string]verdict // by the account's name in the vault
}

// verdict is what one account was found to lack.
type verdict struct {
	user    string
	session string    // key of the session that was looked at
	at      time.Time // of the last look that ended; zero: none has
	next    time.Time
	missing []privilege.Missing
}

// account is one whose privileges count, and what it needs.
type account struct {
	name    string
	session *session.Session
	needs   []privilege.Need
}

// watchPrivileges looks again and again which privileges the accounts lack, until
// ctx ends.
func (s *sites) watchPrivileges(ctx context.Context) {
	tick := time.NewTicker(privilegesLook)
	defer tick.Stop()
	for {
		s.checkPrivileges(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkPrivileges looks at the accounts of which it is time. It logs in nowhere: an
// account that has no session now is looked at when it has.
func (s *sites) checkPrivileges(ctx context.Context, now time.Time) {
	for _, st := range s.all() {
		if !st.source.StaleSince().IsZero() {
			continue
		}
		accounts := s.accountsOf(st)
		st.rights.only(accounts)
		for _, a := range accounts {
			l := a.session.Live()
			if l == nil || !st.rights.due(a.name, l.User.Key, now) {
				continue
			}
			missing, err := lookAtPrivileges(ctx, l, a.needs, st.conf.Clusters)
			if ctx.Err() != nil {
				return
			}
			if session.IsNotAuthenticated(err) {
				a.session.Lost(l.Client)
			}
			if err != nil {
				s.log.Info("which privileges an account lacks cannot be seen", "vcenter", st.name, "account", a.name, "err", err)
				st.source.Doubt()
			}
			if before := st.rights.note(a.name, l, now, missing, err); err == nil && before != len(missing) {
				s.log.Info("privileges looked at", "vcenter", st.name, "user", l.User.UserName, "missing", len(missing), "before", before)
			}
		}
	}
}

func lookAtPrivileges(ctx context.Context, l *session.Login, needs []privilege.Need, clusters []string) ([]privilege.Missing, error) {
	on, err := privilege.Find(ctx, l.Client, clusters)
	if err != nil {
		return nil, err
	}
	return privilege.Check(ctx, l.Client, l.User.Key, needs, on)
}

// accountsOf returns the accounts of a site: one that looks, and if it was given
// one of its own, one that acts.
func (s *sites) accountsOf(st *site) []account {
	looks := account{st.name, st.looks, privilege.Discovery()}
	if st.acts == nil {
		return []account{looks}
	}
	both := slices.Concat(privilege.Discovery(), privilege.Control())
	if _, err := s.vault.Get(pair.ControlAccount(st.name)); errors.Is(err, vault.ErrNoAccount) {
		looks.needs = both
		return []account{looks}
	}
	return []account{looks, {pair.ControlAccount(st.name), st.acts, both}}
}

// due says whether to look at an account whose session this is.
func (r *rights) due(name, key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, known := r.of[name]
	return !known || v.session != key || !now.Before(v.next)
}

// note keeps what was found, or if that failed what was found before of the same
// user. It returns how many privileges were missing before; -1: nobody knew.
func (r *rights) note(name string, l *session.Login, now time.Time, missing []privilege.Missing, err error) (before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.of[name]
	if before = len(v.missing); v.at.IsZero() || v.user != l.User.UserName {
		v, before = verdict{}, -1
	}
	v.user, v.session, v.next = l.User.UserName, l.User.Key, now.Add(privilegesAgain)
	if err == nil {
		v.at, v.next, v.missing = now, now.Add(privilegesEvery), missing
	}
	if r.of == nil {
		r.of = make(map[string]verdict)
	}
	r.of[name] = v
	return before
}

// only drops what is known of accounts that are not used any more.
func (r *rights) only(accounts []account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.of, func(name string, _ verdict) bool {
		return !slices.ContainsFunc(accounts, func(a account) bool { return a.name == name })
	})
}

// lacks is what the accounts lack, for people, and when that was looked at last.
func (r *rights) lacks() (all []status.Lack, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.of))
	for name, v := range r.of {
		names = append(names, name)
		if v.at.After(at) {
			at = v.at
		}
	}
	slices.Sort(names)
	for _, name := range names {
		all = append(all, fold(r.of[name])...)
	}
	return all, at
}

// fold puts together what one thing does not work without.
func fold(v verdict) []status.Lack {
	var out []status.Lack
	objects := make(map[int]map[string]bool) // by index in out
	for _, m := range v.missing {
		i := slices.IndexFunc(out, func(l status.Lack) bool { return l.Function == m.Function && l.Without == m.Without })
		if i < 0 {
			i = len(out)
			out = append(out, status.Lack{User: v.user, Function: m.Function, Without: m.Without, On: m.Object.Path})
			objects[i] = make(map[string]bool)
		}
		objects[i][m.Object.Path] = true
		if !slices.Contains(out[i].Privileges, m.Privilege) {
			out[i].Privileges = append(out[i].Privileges, m.Privilege)
		}
	}
	for i := range out {
		if n := len(objects[i]) - 1; n > 0 {
			out[i].On += fmt.Sprintf(" and %d more", n)
		}
	}
	return out
}
