package pair

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	neturl "net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/privilege"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/httpapi"
)

const soapFault = "ServerFaultCode: " // what a fault's text begins with

// visit is what was seen of a vCenter.
type visit struct {
	product  string // "VMware vCenter Server 8.0.3"
	instance string
	missing  []privilege.Missing
}

// looks logs in with the first account, and looks what the vCenter is and which
// privileges lack.
func (d *Daemon) looks(ctx context.Context, p *plan) (err error) {
	needs := privilege.Discovery()
	if p.want.Control && !p.apart() {
		needs = append(needs, privilege.Control()...)
	}
	if p.seen, err = d.login(ctx, p, p.look, needs); p.keptLook && ofAccount(err) {
		err = fmt.Errorf("the account that was set before: %w", err)
	}
	return err
}

// ofAccount says whether it is the account that a pairing fails by.
func ofAccount(err error) bool {
	said, ok := errors.AsType[*httpapi.Error](err)
	return ok && said.Status == http.StatusForbidden
}

// acts does the same with the account for control, if there is one.
func (d *Daemon) acts(ctx context.Context, p *plan) error {
	if !p.apart() {
		return nil
	}
	p.known = func(instance string) error {
		if instance == p.seen.instance {
			return nil
		}
		return httpapi.Errorf(http.StatusConflict, "two vCenters answer at %s in turn, %s and %s: give the address of one", p.want.URL, p.seen.instance, instance)
	}
	seen, err := d.login(ctx, p, p.act, slices.Concat(privilege.Discovery(), privilege.Control()))
	switch {
	case p.keptAct && ofAccount(err):
		return fmt.Errorf("the account for control that was set before: %w; or give another for control", err)
	case err != nil:
		return fmt.Errorf("the account for control: %w", err)
	}
	p.seen.missing = append(p.seen.missing, seen.missing...)
	return nil
}

// meet refuses who is no vCenter, or another one than is known, before it is told
// an account.
func (p *plan) meet(about types.AboutInfo) error {
	if about.ApiType != "VirtualCenter" || about.InstanceUuid == "" {
		return httpapi.Errorf(http.StatusBadRequest, "%s is no vCenter but %s: pair the vCenter that manages it", p.want.URL, about.FullName)
	}
	return p.known(about.InstanceUuid)
}

// login logs in once, looks and logs out.
func (d *Daemon) login(ctx context.Context, p *plan, a session.Account, needs []privilege.Need) (visit, error) {
	v := p.want
	if err := d.refused.check(v.URL, a, time.Now()); err != nil {
		return visit{}, &httpapi.Error{Status: http.StatusForbidden, Message: err.Error()}
	}
	o := session.Options{URL: v.URL, Pin: v.Thumbprint, Log: d.log, Account: func() (session.Account, error) { return a, nil }, Meet: p.meet}
	if v.CAFile != "" {
		var err error
		if o.CA, err = os.ReadFile(v.CAFile); err != nil {
			return visit{}, fmt.Errorf("ca_file: %w", err)
		}
	}
	s, err := session.New(o)
	if err != nil {
		return visit{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	defer func() { _ = s.Close() }()
	l, err := s.Login(ctx)
	if errors.Is(err, session.ErrRefused) {
		return visit{}, &httpapi.Error{Status: http.StatusForbidden, Message: d.refused.add(v.URL, a, time.Now())}
	}
	if err != nil {
		return visit{}, p.plain(err, a)
	}
	d.refused.forget(v.URL, a)
	on, err := privilege.Find(ctx, l.Client, v.Clusters)
	if err != nil {
		return visit{}, p.plain(err, a)
	}
	missing, err := privilege.Check(ctx, l.Client, l.User.Key, needs, on)
	if err != nil {
		return visit{}, p.plain(err, a)
	}
	if len(on) == 1 && slices.ContainsFunc(missing, func(m privilege.Missing) bool { return m.Privilege == "System.Read" }) {
		return visit{}, seesNothing(a)
	}
	about := l.Client.ServiceContent.About
	return visit{product: about.Name + " " + about.Version, instance: about.InstanceUuid, missing: missing}, nil
}

func seesNothing(a session.Account) error {
	return httpapi.Errorf(http.StatusForbidden, "%s sees nothing of the inventory: give it the role Read-only on the vCenter, with its children, and pair again", a.User)
}

// plain lets the person who pairs read in words of people what happened on the way.
func (p *plan) plain(err error, a session.Account) error {
	url := p.want.URL
	if told, ok := errors.AsType[*httpapi.Error](err); ok {
		return told
	}
	if c, ok := errors.AsType[*session.CertificateError](err); ok {
		return p.other(c)
	}
	if _, ok := session.Fault(err).(types.NoPermission); ok {
		return seesNothing(a)
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return httpapi.Errorf(http.StatusConflict, "the certificate of %s is not trusted: %v: look at it and, if it is right, give its thumbprint; no account was sent", url, bad.Err)
	}
	if far, ok := errors.AsType[*neturl.Error](err); ok {
		if far.Timeout() {
			return httpapi.Errorf(http.StatusBadGateway, "%s does not answer in time: is the address right, and may the gateway reach it?", url)
		}
		return httpapi.Errorf(http.StatusBadGateway, "no connection to %s: %v: is the address right, and may the gateway reach it?", url, far.Err)
	}
	return &httpapi.Error{Status: http.StatusBadGateway, Message: strings.ReplaceAll(err.Error(), soapFault, "it answers: ")}
}

// other is that another certificate is shown than is trusted by now, or than the
// person has accepted.
func (p *plan) other(c *session.CertificateError) error {
	switch {
	case p.configured:
		return httpapi.Errorf(http.StatusConflict, "%v, as the thumbprint in the gateway's configuration; no account was sent", c)
	case p.old.URL == p.want.URL && p.old.Thumbprint == p.want.Thumbprint:
		return httpapi.Errorf(http.StatusConflict, "%v, by --thumbprint %s; no account was sent", c, c.Shown)
	}
	return httpapi.Errorf(http.StatusConflict, "%s shows the certificate with the SHA-256 %s (issued by %s), and accepted was %s: compare it with what vCenter itself shows and, if it is right, give it by --thumbprint %[2]s; no account was sent",
		p.want.URL, c.Shown, c.Issuer, c.Pinned)
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
