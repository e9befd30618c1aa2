// Package paired says in words what to compare before a vCenter is paired, and
// what holds of it after: the same on the gateway's command line and its console,
// and by pf9ctl. What comes from vCenters never steers the terminal.
package paired

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
)

// BrokerUser is whom programs on the gateway log in to a broker as.
const BrokerUser = "openstack"

// Next are the commands that go on from a pairing. Empty ones are not told.
type Next struct {
	Again string // pairs this vCenter again: "pf9-gateway pair west"
	Show  string // shows how it is: "pf9-gateway vcenters"
}

// OnGateway are those of the gateway.
func OnGateway(name string) Next {
	return Next{Again: "pf9-gateway pair " + name, Show: "pf9-gateway vcenters"}
}

// ByDeploymentUnit are those of pf9ctl, for a gateway as the person called it.
func ByDeploymentUnit(host, name string) Next {
	return Next{Again: "pf9ctl gateway pair " + host + " " + name, Show: "pf9ctl get vcenter --host " + host}
}

// Certificate is what a person compares.
func Certificate(address string, c wire.PairingCertificate) string {
	return fmt.Sprintf("%s has this certificate. Compare it with what vCenter itself shows.\n\n  SHA-256  %s\n  subject  %s\n  issuer   %s\n  until    %s UTC\n",
		kindtable.Clean(address), kindtable.Clean(c.Thumbprint), kindtable.Clean(c.Subject), kindtable.Clean(c.Issuer), c.NotAfter.UTC().Format(time.DateTime))
}

// Text says what was paired, what holds of it now, what changed, what the accounts
// lack, and how to go on.
func Text(r wire.PairingResult, next Next) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is paired: %s, instance %s\n\n", kindtable.Clean(r.As), kindtable.Clean(r.Name), kindtable.Clean(r.Instance))
	if r.Now.Address != "" { // an older gateway does not say
		holds(&b, r.As, r.Now)
	}
	switch {
	case len(r.Changed) > 0:
		fmt.Fprintf(&b, "Changed: %s. The rest is as it was.\n\n", changes(r.Changed))
	case r.Again:
		b.WriteString("It is as it was before: no setting changed.\n\n")
	}
	missing(&b, r.Missing)
	goOn(&b, r, next)
	return b.String()
}

func holds(b *strings.Builder, name string, p wire.Pairing) {
	line := func(what, text string) { fmt.Fprintf(b, "  %-10s%s\n", what, kindtable.Clean(text)) }
	line("address", p.Address)
	switch {
	case p.Thumbprint != "":
		line("trusted", "only the certificate with this SHA-256:")
		line("", p.Thumbprint)
	case p.CAFile != "":
		line("trusted", "certificates of the authorities in "+p.CAFile)
	default:
		line("trusted", "certificates of the system's authorities")
	}
	line("account", cmp.Or(p.User, "the one that was set before"))
	line("clusters", cmp.Or(strings.Join(p.Clusters, ", "), "all, and the hosts that are in none"))
	line("control", control(p))
	switch {
	case p.Broker == "":
		line("broker", "none: no program on the gateway reaches it")
	case !p.Control:
		line("broker", p.Broker+", which is shut while control is off")
	case p.BrokerProblem != "":
		line("broker", p.Broker+", but: "+p.BrokerProblem)
	default:
		line("broker", p.Broker+" on the gateway; who logs in as "+BrokerUser)
		line("", "may act there: pf9-gateway control "+name+" shows the files for it")
	}
	b.WriteByte('\n')
}

func control(p wire.Pairing) string {
	if !p.Control {
		return "off: the deployment unit looks, and does nothing"
	}
	text := "on, with the same account"
	if p.OwnControl {
		text = "on, with an account of its own: " + cmp.Or(p.ControlUser, "the one that was set before")
	}
	if p.Switch != "" && p.Switch != "open" {
		text += "; but switched to " + p.Switch + " on the gateway, by pf9-gateway control"
	}
	return text
}

func changes(list []wire.PairingChange) string {
	var all []string
	for _, c := range list {
		text := c.What + ": " + c.To
		if c.From != "" {
			text = c.What + " " + c.From + " -> " + c.To
		}
		all = append(all, kindtable.Clean(text))
	}
	return strings.Join(all, "; ")
}

// missing lists what lacks under what does not work without it.
func missing(b *strings.Builder, list []wire.MissingPrivilege) {
	if len(list) == 0 {
		b.WriteString("No privilege is missing.\n")
		return
	}
	b.WriteString("These privileges are missing in vCenter:\n")
	last := ""
	for _, m := range list {
		if head := m.Function + ": " + cmp.Or(m.Without, "it does not work"); head != last {
			fmt.Fprintf(b, "  %s\n", kindtable.Clean(head))
			last = head
		}
		text := m.Name
		if m.Object != "" {
			text += " on " + m.Object
		}
		fmt.Fprintf(b, "    %s\n", kindtable.Clean(text))
	}
}

func goOn(b *strings.Builder, r wire.PairingResult, next Next) {
	line := func(command, text string) { fmt.Fprintf(b, "  %s\n      %s\n", kindtable.Clean(command), text) }
	if next == (Next{}) {
		return
	}
	b.WriteString("\nNext:\n")
	if next.Again != "" && len(r.Missing) > 0 {
		line(next.Again, "looks again, after the privileges were granted")
	}
	if next.Show != "" {
		line(next.Show, "shows how it is")
	}
	if next.Again != "" && r.Now.Address != "" && !r.Now.Control {
		line(next.Again+" --control", "lets the deployment unit act in it: operate, create, change and delete VMs")
	}
}
