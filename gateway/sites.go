package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/actions"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/gateway/vcenter"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A site is one vCenter as the gateway knows it.
type site struct {
	name   string
	conf   VCenter
	looks  *session.Session // for discovery
	acts   *session.Session // for what the deployment unit has done; nil: it may do nothing
	source *vcenter.Source
	scope  delegation
	broker *broker // before vCenter; nil without acts
	rights rights
}

func (s *site) close() {
	if s.broker != nil {
		s.broker.close()
	}
	if s.acts != nil {
		_ = s.acts.Close() // its time is bounded, and what fails is in the log
	}
	_ = s.looks.Close()
}

// sites are all vCenters. They are kept from one configuration to the next.
type sites struct {
	log   *slog.Logger
	dir   string // for state
	vault *vault.Vault
	kept  *kept

	mu     sync.RWMutex     // guards the fields below
	byName map[string]*site // by name in the configuration
	out    map[string]error // why a vCenter of the configuration is left out
}

func newSites(dir string, log *slog.Logger) (*sites, error) {
	v, err := vault.Open(vault.Options{Dir: filepath.Join(dir, "vault")})
	own := ownMarks("/", os.Getenv("CREDENTIALS_DIRECTORY")) // systemd's
	return &sites{log: log, dir: dir, vault: v, kept: &kept{own: own}, byName: make(map[string]*site)}, err
}

func (s *sites) brokers() string { return filepath.Join(s.dir, "brokers") }

// configure makes the sites those of a configuration and returns their modules.
// A site whose settings are as they were goes on untouched.
func (s *sites) configure(c Config, id wire.HostID) []discovery.Module {
	for _, old := range s.leave(c) {
		old.close() // which talks to vCenter
		if _, stays := c.VCenters[old.name]; !stays {
			if err := forgetBroker(s.brokers(), old.name); err != nil {
				s.log.Error("what a broker kept is still there", "vcenter", old.name, "err", err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []discovery.Module
	s.out = make(map[string]error)
	for _, name := range slices.Sorted(maps.Keys(c.VCenters)) {
		if st := s.byName[name]; st != nil {
			st.source.Doubt() // its account may be another user's now
		} else {
			made, err := s.open(name, c.VCenters[name], id)
			if err != nil {
				s.log.Error("a vCenter is left out", "vcenter", name, "err", err)
				s.out[name] = err
				continue
			}
			s.byName[name] = made
		}
		st := s.byName[name]
		tags := st.source.Tags()
		all = append(all, discovery.Module{
			Name: st.source.Module(), Kinds: vcenter.Kinds(), Source: st.source,
			Interval: 5 * time.Minute, Timeout: 45 * time.Second, Config: fmt.Sprint(st.conf),
		}, discovery.Module{
			Name: tags.Module(), Kinds: []string{inventory.KindTag}, Source: tags,
			Interval: 10 * time.Minute, Timeout: 2 * time.Minute, Config: fmt.Sprint(st.conf),
		})
	}
	s.kept.set(slices.Collect(maps.Values(s.byName)))
	return all
}

// leave takes out and returns the sites that are not as a configuration says.
func (s *sites) leave(c Config) (left []*site) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range s.byName {
		if conf, ok := c.VCenters[name]; !ok || fmt.Sprint(conf) != fmt.Sprint(old.conf) {
			left = append(left, old)
			delete(s.byName, name)
		}
	}
	return left
}

// open makes what a vCenter needs. It connects to nothing.
func (s *sites) open(name string, conf VCenter, id wire.HostID) (*site, error) {
	o := session.Options{
		Name: name, URL: conf.URL.String(), Pin: conf.Thumbprint.String(), Owner: string(id), Log: s.log,
		Account: func() (session.Account, error) { return s.account(name) },
		Refused: filepath.Join(s.dir, "refused-"+name),
	}
	if conf.CAFile != "" {
		var err error
		if o.CA, err = os.ReadFile(conf.CAFile); err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
	}
	looks, err := session.New(o)
	if err != nil {
		return nil, err
	}
	st := &site{name: name, conf: conf, looks: looks}
	st.source = vcenter.New(vcenter.Options{
		Name: name, Session: looks, Clusters: conf.Clusters, InstanceUUID: conf.InstanceUUID, Fills: time.Duration(conf.DatastoresEvery), Log: s.log,
	})
	st.scope = newDelegation(st.source, s.kept)
	if conf.Control {
		o.Failed = func(err error) { s.met(st, err) }
		o.Name, o.Refused = pair.ControlAccount(name), o.Refused+"-control"
		o.Account = func() (session.Account, error) {
			a, err := s.account(pair.ControlAccount(name))
			if errors.Is(err, vault.ErrNoAccount) {
				return s.account(name) // which then does both
			}
			return a, err
		}
		if st.acts, err = session.New(o); err == nil {
			st.broker, err = startBroker(name, conf, st.acts, st.scope, s.brokers(), s.log)
		}
		if err != nil {
			st.close()
			return nil, err
		}
	}
	return st, nil
}

// met passes on to discovery what the session that acts has met. That its own account
// is refused is nothing that discovery would meet.
func (s *sites) met(st *site, err error) {
	if errors.Is(err, session.ErrRefused) {
		if _, own := s.vault.Get(pair.ControlAccount(st.name)); own == nil {
			st.source.Doubt()
			return
		}
	}
	st.source.Told(err)
}

func (s *sites) account(name string) (session.Account, error) {
	secret, err := s.vault.Get(name)
	return session.Account(secret), err
}

// instance finds the site of a vCenter's instance UUID.
func (s *sites) instance(uuid string) *site {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, st := range s.byName {
		if uuid != "" && st.source.Instance() == uuid {
			return st
		}
	}
	return nil
}

// unknown is why no vCenter of an instance UUID is found: a site may be it that
// was not looked at since the start, so that nothing is known of its VMs.
func (s *sites) unknown(uuid string) error {
	for _, st := range s.all() {
		seen := st.source.State()
		if is := st.conf.InstanceUUID; seen.Instance != "" || is != "" && is != uuid {
			continue
		}
		if seen.Problem == nil {
			seen.Problem = fmt.Errorf("vCenter %s was not looked at yet since the gateway's start", st.name)
		}
		return &actions.AtError{Address: st.conf.URL.Host, Err: seen.Problem}
	}
	return actions.Denied("the gateway has no vCenter of the instance " + uuid)
}

// resolve finds a VM that is to be acted on, and a client to do it with.
func (s *sites) resolve(ctx context.Context, target plugin.Key) (*vim25.Client, types.ManagedObjectReference, error) {
	uuid, ref, err := actions.ParseTarget(target)
	if err != nil {
		return nil, ref, err
	}
	st := s.instance(uuid)
	if st == nil {
		return nil, ref, s.unknown(uuid)
	}
	if err := st.controllable(); err != nil {
		return nil, ref, err
	}
	if ctx.Err() != nil { // it is known not to answer
		return nil, ref, context.Cause(ctx)
	}
	c, err := st.acts.Client(ctx)
	if err != nil {
		return nil, ref, &actions.AtError{Address: st.acts.URL().Host, Err: err}
	}
	return c, ref, nil
}

// answering is ctx for looking at a VM, as long as its vCenter answers.
func (s *sites) answering(ctx context.Context, target plugin.Key) (context.Context, func()) {
	uuid, _, err := actions.ParseTarget(target)
	if st := s.instance(uuid); err == nil && st != nil {
		return st.source.Answering(ctx)
	}
	return ctx, func() {}
}

// lost passes on that a client's session is gone.
func (s *sites) lost(c *vim25.Client) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, st := range s.byName {
		if st.acts != nil {
			st.acts.Lost(c) // which knows its own
		}
	}
}

// permit says why an object may not be acted on now; nil: it may.
func (s *sites) permit(ref types.ManagedObjectReference) error {
	st := s.instance(ref.ServerGUID)
	if st == nil {
		return s.unknown(ref.ServerGUID)
	}
	if err := st.controllable(); err != nil {
		return err
	}
	if err := st.scope.stale(); err != nil {
		return actions.Denied(err.Error())
	}
	if st.scope.Contains(ref) {
		return nil
	}
	if of := st.scope.bears(ref); of != "" {
		return actions.Denied("the VM is that of " + of + ", which is never delegated")
	}
	return actions.Denied("the VM is outside of what was delegated to the deployment unit, or there is none")
}

// controllable says why nothing may be done anywhere; nil: something may.
func (s *sites) controllable() error {
	var off []string
	for _, st := range s.all() {
		err := st.controllable()
		if err == nil {
			return nil
		}
		off = append(off, err.Error())
	}
	if off != nil {
		return errors.New(strings.Join(off, "; "))
	}
	return errors.New("the gateway has no vCenter; on the appliance, pf9-gateway pair makes one known")
}

// all returns the sites by name.
func (s *sites) all() []*site {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*site
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		all = append(all, s.byName[name])
	}
	return all
}

// close ends all sessions.
func (s *sites) close() {
	for _, st := range s.leave(Config{}) {
		st.close()
	}
}
