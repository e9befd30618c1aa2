package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/gateway"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const lookTime = 5 * time.Second // at one vCenter

// checkVCenters looks at each vCenter by itself, and asks the daemon how it finds
// it. Without the daemon it looks at those that the configuration shows.
func checkVCenters(ctx context.Context, c *cli.Call) []cli.Finding {
	var all []status.VCenter
	asked := c.Fetch(ctx, "/v1/vcenters", &all) == nil // or doctor has said so
	if !asked {
		all = configured(c.ConfigFile())
	}
	slices.SortFunc(all, func(a, b status.VCenter) int { return cmp.Compare(a.Name, b.Name) })
	var found []cli.Finding
	for _, v := range all {
		var there, login cli.Finding
		if v.Address != "" {
			there = reach(ctx, v)
			found = append(found, there)
		}
		if !asked {
			continue
		}
		if login = followed(v); there.State == "bad" && login.State == "bad" && !strings.Contains(v.Problem, "account") { // of one cause
			if f := &found[len(found)-1]; !v.StaleSince.IsZero() {
				f.Text += "; what is known of it is of " + v.StaleSince.UTC().Format(time.RFC3339)
			}
		} else {
			found = append(found, login)
		}
		found = append(found, privileges(v)...)
	}
	return found
}

// tellsOf says whether the checks of vCenters tell what is wrong with a source. Tags
// are in trouble by themselves only while their vCenter is not.
func tellsOf(source string, troubled []string) bool {
	if name := inventory.VCenterName(source); name != "" {
		return source == inventory.VCenterModule(name) || slices.Contains(troubled, inventory.VCenterModule(name))
	}
	return false
}

// configured returns what the configuration says of the vCenters, as far as this
// user may see it.
func configured(file string) (all []status.VCenter) {
	conf, err := gateway.LoadConfig(file)
	if err != nil && !errors.Is(err, gateway.ErrPairedHidden) {
		return nil // doctor has said so
	}
	for _, name := range slices.Sorted(maps.Keys(conf.VCenters)) {
		v := conf.VCenters[name]
		all = append(all, status.VCenter{Name: name, Address: v.URL.Address(), Pinned: v.Thumbprint.String()})
	}
	return all
}

// reach says whether the vCenter is there and shows the right certificate.
func reach(ctx context.Context, v status.VCenter) cli.Finding {
	f := cli.Finding{Check: "vCenter " + v.Name, State: "bad"}
	host, port, _ := net.SplitHostPort(v.Address)
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	certs, err := session.Probe(ctx, v.Address)
	switch {
	case err != nil:
		f.Text = fmt.Sprintf("%s does not answer: %v", v.Address, netcause.Words(err))
		f.Remedy = "see that vCenter runs"
		if _, err := netip.ParseAddr(host); err != nil {
			f.Remedy += ", that DNS knows " + host
		}
		f.Remedy += ", and that outgoing TCP to its port " + port + " is allowed"
	case len(certs) == 0:
		f.Text, f.Remedy = v.Address+" shows no certificate", "see that it is a vCenter"
	case v.Pinned != "" && !strings.EqualFold(v.Pinned, session.Fingerprint(certs[0])):
		f.Text = fmt.Sprintf("%s shows the certificate %s, and trusted is %s", v.Address, session.Fingerprint(certs[0]), v.Pinned)
		f.Remedy = fmt.Sprintf("compare it with what vCenter itself shows; if it is right: pf9-gateway pair %s --thumbprint %s", v.Name, session.Fingerprint(certs[0]))
	case time.Now().After(certs[0].NotAfter):
		f.State, f.Text = "warning", fmt.Sprintf("%s answers; its certificate ended at %s", v.Address, certs[0].NotAfter.UTC().Format(time.RFC3339))
		f.Remedy = "renew it in vCenter, and trust the new one by its SHA-256: pf9-gateway pair " + v.Name + " --thumbprint SHA-256"
	default:
		if f.State, f.Text = "ok", v.Address+" answers"; v.Pinned != "" {
			f.Text += ", with the trusted certificate"
		}
	}
	return f
}

// followed says whether the daemon is logged in and follows the vCenter.
func followed(v status.VCenter) cli.Finding {
	f := cli.Finding{Check: "vCenter " + v.Name + " login", State: "ok"}
	switch v.State {
	case discovery.OK:
		if f.Text = "logged in and followed"; !v.Since.IsZero() {
			f.Text += ", session since " + v.Since.UTC().Format(time.RFC3339)
		}
		if v.Problem != "" {
			f.State, f.Text, f.Remedy = "warning", v.Problem, "mend it, and pf9-gateway reload"
		}
	case status.Reading:
		f.Text = v.Word()
	default: // the problem names its remedy
		f.State, f.Text = "bad", v.Problem
	}
	return f
}

// privileges says what the accounts lack.
func privileges(v status.VCenter) (found []cli.Finding) {
	check := "vCenter " + v.Name + " privileges"
	for _, l := range v.Missing {
		found = append(found, cli.Finding{Check: check, State: "warning", Text: l.Text(), Remedy: "grant it in vCenter; the gateway looks again every ten minutes"})
	}
	if len(found) == 0 && !v.Checked.IsZero() {
		return []cli.Finding{{Check: check, State: "ok", Text: "none is missing, seen at " + v.Checked.UTC().Format(time.RFC3339)}}
	}
	return found
}
