package pair

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
)

// plan is what a request comes to, together with what is known.
type plan struct {
	name       string // of what is known; empty: nobody is, by the request's name and address
	old        VCenter
	configured bool // old is the administrator's
	want       VCenter
	look, act  session.Account // act without a user: the first acts, or nobody
	// keptLook and keptAct say that an account is the one that was set before.
	keptLook, keptAct bool
	// known says what is wrong with an instance of vCenter, by what is known already.
	known func(instance string) error
	seen  visit
}

// apart says whether another account acts than looks.
func (p *plan) apart() bool { return p.act.User != "" && p.act != p.look }

// plan completes a request by what is known, and checks it.
func (d *Daemon) plan(b *book, r pairing.Request) (plan, error) {
	if r.Address == "" {
		known, _ := b.named(r.Name, "")
		if known.URL == "" {
			return plan{}, httpapi.Errorf(http.StatusNotFound, "no vCenter is paired as %q, so that its address is needed, by --url or, of pf9ctl, --vcenter; there are: %s", r.Name, b.list())
		}
		r.Address = known.URL
	}
	host, err := checkAddress(r.Address)
	if err != nil {
		return plan{}, err
	}
	p := plan{want: VCenter{URL: "https://" + host}}
	p.name = cmp.Or(r.Name, b.byURL(p.want.URL))
	p.old, p.configured = b.named(r.Name, p.want.URL)
	if p.want.Thumbprint, err = p.thumbprint(r.Thumbprint); err != nil {
		return plan{}, err
	}
	p.settings(r)
	if err := d.accounts(&p, r); err != nil {
		return plan{}, err
	}
	if err := p.check(r); err != nil {
		return plan{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	return p, nil
}

// thumbprint returns the one to trust, as the configuration has it: the accepted
// one, or at the same address that of before.
func (p *plan) thumbprint(accepted string) (string, error) {
	f, err := pki.ParseFingerprint(accepted)
	same := p.old.URL == p.want.URL
	switch {
	case err != nil:
		return "", httpapi.Errorf(http.StatusBadRequest, "the thumbprint: %v", err)
	case f != pki.Fingerprint{}:
		return f.String(), nil
	case same && (p.configured || p.old.Thumbprint != ""):
		p.want.CAFile = p.old.CAFile
		return p.old.Thumbprint, nil
	}
	return "", httpapi.Errorf(http.StatusBadRequest, "the thumbprint of the certificate of %s is missing: look at it, and accept it", p.want.URL)
}

// settings takes what is given, and of the rest what was.
func (p *plan) settings(r pairing.Request) {
	p.want.Clusters, p.want.Broker = p.old.Clusters, p.old.Broker
	p.want.Control = p.old.Control || r.ControlUser != ""
	if r.Clusters != nil {
		p.want.Clusters = r.Clusters
	}
	if r.Control != nil {
		p.want.Control = *r.Control
	}
	if r.Broker != nil {
		p.want.Broker = *r.Broker
	}
}

// accounts does the same for the accounts. Those that are kept go to the address for
// which they were set, and to no other.
func (d *Daemon) accounts(p *plan, r pairing.Request) error {
	p.look = session.Account{User: r.User, Password: r.Password}
	if p.old.URL == p.want.URL && (r.User == "" || r.Password == "") {
		kept, err := d.account(p.name)
		if err != nil {
			return err
		}
		if r.User == "" {
			p.look.User = kept.User
		}
		if p.keptLook = r.Password == "" && p.look.User == kept.User; p.keptLook {
			p.look.Password = kept.Password
		}
	}
	if !p.want.Control {
		return nil
	}
	p.act = session.Account{User: r.ControlUser, Password: r.ControlPassword}
	if r.ControlUser != "" || p.old.URL == "" {
		return nil
	}
	kept, err := d.account(ControlAccount(p.name))
	if err == nil && kept.User != "" && p.old.URL != p.want.URL {
		return httpapi.Errorf(http.StatusBadRequest, "the account for control was set for %s: give it anew for another address, or take control back", p.old.URL)
	}
	p.act, p.keptAct = kept, true
	return err
}

// account returns one of the vault; without a user: none was set.
func (d *Daemon) account(name string) (session.Account, error) {
	secret, err := d.o.Vault.Get(name)
	if errors.Is(err, vault.ErrNoAccount) {
		return session.Account{}, nil
	}
	return session.Account{User: secret.User, Password: secret.Password}, err
}

// check says what is wrong with a request.
func (p *plan) check(r pairing.Request) error {
	fixed := p.old.URL != p.want.URL || p.old.Thumbprint != "" && p.old.Thumbprint != p.want.Thumbprint ||
		r.Clusters != nil || r.Broker != nil || p.want.Control != p.old.Control
	switch {
	case r.Name != "" && !validName(r.Name):
		return errors.New("the name: want 1 to 32 lower-case letters, digits and \"-\"")
	case p.look.User == "" || p.look.Password == "":
		return errors.New("a user and a password are needed")
	case (r.ControlUser == "") != (r.ControlPassword == ""):
		return errors.New("the account for control: user and password are both needed")
	case r.ControlUser != "" && !p.want.Control:
		return errors.New("an account for control makes no sense without control")
	case slices.Contains(r.Clusters, ""):
		return errors.New("the clusters: one has no name")
	case p.configured && fixed:
		return fmt.Errorf("vCenter %s is in the gateway's configuration, as %s with the thumbprint %q: only its accounts can be set here; change the rest there", p.name, p.old.URL, p.old.Thumbprint)
	case r.Broker == nil || *r.Broker == "":
		return nil
	case !p.want.Control:
		return errors.New("the broker: nothing may be done through it without control")
	case !IsLocal(*r.Broker):
		return fmt.Errorf("the broker: %q: it is for programs on this machine: want an address of loopback with a port, as 127.0.0.1:8443", *r.Broker)
	}
	return nil
}
