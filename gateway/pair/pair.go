// Package pair makes vCenters known to the gateway. The daemon's side is
// [Daemon]: it logs in to a vCenter whose certificate a person accepted, looks
// which privileges the accounts lack, and keeps the accounts in the vault and the
// rest in a file of its own, which the daemon's configuration is read from
// besides /etc. [Client] asks the daemon for it over its socket.
//
// A name stays bound to the vCenter that was first paired under it, by the UUID
// of its instance: whoever answers at the address with a new certificate that
// somebody accepted is refused if it says to be another one, before it is told an
// account. That keeps people from mistakes; anybody can ask a vCenter for its UUID and
// say the same, so that the certificate alone is a proof. A refused account is
// tried a second time only for a person who pairs again, and no third time for a while,
// lest a directory lock it.
package pair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/httpapi"
)

const (
	lookLimit = 15 * time.Second
	pairLimit = 100 * time.Second // for all that a pairing takes
)

// Options say what the daemon's side works with. StateDir and Vault must be given.
type Options struct {
	StateDir string // the daemon's, for [File]
	Vault    *vault.Vault
	// Configured returns the vCenters that the administrator's configuration
	// has, whose accounts may be set but nothing else; nil: none.
	Configured func() (map[string]VCenter, error)
	// Reload lets the daemon read its configuration again; nil: nobody is told.
	Reload func() error
	// Broker says, after a reload, how much of control of a vCenter is let through,
	// "open", "read-only" or "off", and why its broker does not listen though it
	// should; nil: nobody knows.
	Broker func(name string) (mode string, problem error)
	// Distant is an error for the addresses that are not looked at for a deployment
	// unit; nil: those of this machine and of its link.
	Distant func(netip.Addr) error
	Log     *slog.Logger // nil discards
}

// Daemon pairs. It implements [pairing.Pairer]. Make it with New.
type Daemon struct {
	o       Options
	log     *slog.Logger
	gate    chan struct{} // who pairs or unpairs holds its one place
	refused refusals
	remote  remote
}

// New returns the daemon's side of pairing. It reads nothing yet.
func New(o Options) *Daemon {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Configured == nil {
		o.Configured = func() (map[string]VCenter, error) { return nil, nil }
	}
	if o.Reload == nil {
		o.Reload = func() error { return nil }
	}
	if o.Distant == nil {
		o.Distant = distant
	}
	if o.Broker == nil {
		o.Broker = func(string) (string, error) { return "", nil }
	}
	return &Daemon{o: o, log: o.Log, gate: make(chan struct{}, 1)}
}

// ControlAccount is the name in the vault of a vCenter's account for acting. If
// there is none, the one under the vCenter's own name acts too.
func ControlAccount(name string) string { return name + "/control" }

// Look fetches the certificate of who answers at the address.
func (d *Daemon) Look(ctx context.Context, address string) (pairing.Certificate, error) {
	return d.look(ctx, address, nil)
}

func (d *Daemon) look(ctx context.Context, address string, may func(netip.Addr) error) (pairing.Certificate, error) {
	host, err := checkAddress(address)
	if err != nil {
		return pairing.Certificate{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	certs, err := session.ProbeAllowed(ctx, host, may)
	if err != nil {
		return pairing.Certificate{}, &httpapi.Error{Status: http.StatusBadGateway, Message: err.Error()}
	}
	if len(certs) == 0 {
		return pairing.Certificate{}, httpapi.Errorf(http.StatusBadGateway, "%s shows no certificate: is it a vCenter?", host)
	}
	c := certs[0]
	return pairing.Certificate{Thumbprint: session.Fingerprint(c), Subject: c.Subject.String(), Issuer: c.Issuer.String(), NotAfter: c.NotAfter}, nil
}

// Pair makes a vCenter known, or changes what a request gives of one that is.
func (d *Daemon) Pair(ctx context.Context, r pairing.Request) (pairing.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, pairLimit)
	defer cancel()
	res, err := d.pair(ctx, r)
	log := d.log.With("vcenter", cmp.Or(res.As, r.Name), "user", cmp.Or(res.Now.User, r.User), "by", httpapi.CallerOf(ctx).Name)
	if err != nil {
		log.Warn("pairing failed", "address", shown(r.Address), "err", err)
		return res, err
	}
	log.Info("vCenter paired", "url", res.Now.Address, "control", res.Now.Control, "changed", len(res.Changed),
		"version", res.Name, "instance", res.Instance, "missing", len(res.Missing))
	return res, nil
}

func (d *Daemon) pair(ctx context.Context, r pairing.Request) (pairing.Result, error) {
	leave, err := d.enter(ctx)
	if err != nil {
		return pairing.Result{}, err
	}
	defer leave()
	b, err := d.book()
	if err != nil {
		return pairing.Result{}, err
	}
	p, err := d.meet(ctx, b, r)
	if err != nil {
		return pairing.Result{}, b.unchanged(r, err)
	}
	known := b.has(p.name)
	look, err := d.account(p.name)
	if err != nil {
		return pairing.Result{}, err
	}
	act, err := d.account(ControlAccount(p.name))
	if err != nil {
		return pairing.Result{}, err
	}
	if err := d.keep(b, p); err != nil {
		return pairing.Result{}, err
	}
	res := p.result(known, look, act)
	if err := d.reload(p.name, "paired"); err != nil {
		return res, err
	}
	if mode, problem := d.o.Broker(p.name); res.Now.Control {
		if res.Now.Switch = mode; problem != nil {
			res.Now.BrokerProblem = problem.Error()
		}
	}
	return res, nil
}

// meet visits the vCenter and returns what is to be kept of it under which name.
// An account goes only to who says to be the vCenter of the name.
func (d *Daemon) meet(ctx context.Context, b *book, r pairing.Request) (plan, error) {
	for {
		p, err := d.plan(b, r)
		if err != nil {
			return p, err
		}
		p.known = func(instance string) error {
			_, err := b.nameOf(r.Name, p.want.URL, instance)
			return err
		}
		if err := d.looks(ctx, &p); err != nil {
			return p, err
		}
		name, err := b.nameOf(r.Name, p.want.URL, p.seen.instance)
		if err != nil {
			return p, err
		}
		if r.Name == name || b.byURL(p.want.URL) == name || !b.has(name) {
			p.name, p.want.InstanceUUID = name, p.seen.instance
			return p, d.acts(ctx, &p)
		}
		r.Name = name // known by another address: what it was to have counts
	}
}

// Unpair forgets a vCenter and its accounts.
func (d *Daemon) Unpair(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, pairLimit)
	defer cancel()
	leave, err := d.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	b, err := d.book()
	if err != nil {
		return err
	}
	if _, there := b.paired[name]; !there {
		if _, there := b.configured[name]; there {
			return httpapi.Errorf(http.StatusConflict, "vCenter %s was not paired but is in the gateway's configuration: remove it there", name)
		}
		return httpapi.Errorf(http.StatusNotFound, "no vCenter is paired as %q; there are: %s", name, b.list())
	}
	delete(b.paired, name)
	if err := b.write(); err != nil {
		return err
	}
	err = d.reload(name, "unpaired") // so that nobody asks for the accounts any more
	if err = errors.Join(err, d.forget(name)); err == nil {
		d.log.Info("vCenter unpaired", "vcenter", name, "by", httpapi.CallerOf(ctx).Name)
	}
	return err
}

// forget deletes the accounts of a vCenter.
func (d *Daemon) forget(name string) error {
	return errors.Join(d.o.Vault.Delete(name), d.o.Vault.Delete(ControlAccount(name)))
}

// enter waits for the turn to change something.
func (d *Daemon) enter(ctx context.Context) (leave func(), err error) {
	select {
	case d.gate <- struct{}{}:
		return func() { <-d.gate }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("another pairing is under way: %w", ctx.Err())
	}
}

func (d *Daemon) reload(name, done string) error {
	if err := d.o.Reload(); err != nil {
		return httpapi.Errorf(http.StatusConflict, "vCenter %s is %s, but the gateway does not take it up: %v", name, done, err)
	}
	return nil
}

// keep writes the accounts, then the vCenter, so that nobody finds one without the
// others. If that fails, a new vCenter's accounts are taken back.
func (d *Daemon) keep(b *book, p plan) error {
	known := b.has(p.name)
	err := d.setAccounts(p)
	if _, fixed := b.configured[p.name]; err == nil && !fixed {
		b.paired[p.name] = p.want
		err = b.write()
	}
	if err != nil && !known {
		err = errors.Join(err, d.forget(p.name))
	}
	return err
}

// setAccounts also sets those that stay: that they are good is news to whoever
// waits for another one.
func (d *Daemon) setAccounts(p plan) error {
	if err := d.o.Vault.Set(p.name, vault.Secret{User: p.look.User, Password: p.look.Password}); err != nil {
		return err
	}
	if p.act.User == "" {
		return d.o.Vault.Delete(ControlAccount(p.name))
	}
	return d.o.Vault.Set(ControlAccount(p.name), vault.Secret{User: p.act.User, Password: p.act.Password})
}

// checkAddress reads "host[:port]", also as a URL, and returns it as it is kept.
func checkAddress(address string) (string, error) {
	if shown(address) != address {
		return "", httpapi.Errorf(http.StatusBadRequest, "the address holds an account: give it as host[:port] alone, and the account apart")
	}
	text := strings.TrimSuffix(strings.TrimPrefix(address, "https://"), "/")
	u, err := url.Parse("https://" + text)
	if err != nil || u.Host != text || u.Hostname() == "" {
		return "", httpapi.Errorf(http.StatusBadRequest, "the address %q is not of the form host[:port] or https://host[:port]", address)
	}
	host := strings.ToLower(u.Host)
	if name, port, err := net.SplitHostPort(host); err == nil && port == "443" {
		if host = name; strings.Contains(name, ":") {
			host = "[" + name + "]"
		}
	}
	return host, nil
}

// shown is an address without the account that somebody may have put into it.
func shown(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
