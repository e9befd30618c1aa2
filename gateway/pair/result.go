package pair

import (
	"cmp"
	"strings"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/wire"
)

// result says what holds after a plan was carried out, and what changed by it. The
// accounts are those of before.
func (p *plan) result(known bool, look, act session.Account) pairing.Result {
	now := p.want
	if p.configured {
		now.Thumbprint, now.CAFile = p.old.Thumbprint, p.old.CAFile
	}
	res := pairing.Result{
		As: p.name, Name: p.seen.product, Instance: p.seen.instance, Again: known, Missing: fold(p.seen.missing),
		Now: wire.Pairing{
			Address: now.URL, Thumbprint: now.Thumbprint, CAFile: now.CAFile, Clusters: now.Clusters, Control: now.Control, Broker: now.Broker,
			User: p.look.User, ControlUser: p.act.User, OwnControl: p.act.User != "",
		},
	}
	if !known {
		return res
	}
	change := func(what, from, to string) {
		if from != to {
			res.Changed = append(res.Changed, wire.PairingChange{What: what, From: from, To: to})
		}
	}
	change("address", p.old.URL, now.URL)
	change("thumbprint", p.old.Thumbprint, now.Thumbprint)
	change("account", "", changed(look, p.look))
	change("clusters", scope(p.old.Clusters), scope(now.Clusters))
	change("control", onOff(p.old.Control), onOff(now.Control))
	change("account for control", "", changed(act, p.act))
	change("broker", cmp.Or(p.old.Broker, "none"), cmp.Or(now.Broker, "none"))
	return res
}

// changed says how an account is another than before, without naming it: a
// deployment unit may read it. Empty: it is the same.
func changed(from, to session.Account) string {
	switch {
	case from == to:
		return ""
	case to.User == "":
		return "deleted"
	case from.User == "":
		return "set"
	case from.User != to.User:
		return "another user"
	}
	return "another password"
}

func scope(clusters []string) string { return cmp.Or(strings.Join(clusters, ", "), "all") }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
