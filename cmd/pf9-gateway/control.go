package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/paired"
)

// controlCommand shows or switches control of a vCenter.
func controlCommand(ctx context.Context, c *cli.Call) error {
	format := ""
	args, err := c.Parse(2, "NAME [open|read-only|off]", func(fs *flag.FlagSet) { fs.StringVar(&format, "o", "text", "output: text or json") })
	switch {
	case err != nil:
		return err
	case len(args) == 0:
		return c.Usage("which vCenter? pf9-gateway vcenters lists them")
	case format != "text" && format != "json":
		return c.Usage("-o %s: want text or json", format)
	}
	path := "/v1/vcenters/" + url.PathEscape(args[0]) + "/control"
	if len(args) == 2 {
		switch vcproxy.Mode(args[1]) {
		case vcproxy.ModeOpen, vcproxy.ModeReadOnly, vcproxy.ModeOff:
		default:
			return c.Usage("%q is no mode: want open, read-only or off", args[1])
		}
		if err := c.Post(ctx, path+"/"+args[1]); err != nil {
			return err
		}
	}
	var now status.Control
	if err := c.Fetch(ctx, path, &now); err != nil {
		return err
	}
	if format == "json" {
		return c.JSON(now)
	}
	return writeControl(c.Out, &now)
}

// scope is what is delegated.
func scope(now *status.Control) string {
	places := names(now.Clusters, "clusters")
	switch hosts := names(now.Hosts, "hosts"); {
	case places == "" && hosts == "":
		return "nothing that is there"
	case places == "":
		places = "the hosts " + hosts + ", which are in no cluster"
	case hosts != "":
		places += ", and the hosts " + hosts + ", which are in no cluster"
	}
	if len(now.Hosts) == 1 {
		places = strings.Replace(places, "the hosts "+now.Hosts[0]+", which are", "the host "+now.Hosts[0]+", which is", 1)
	}
	return fmt.Sprintf("%d VMs of %s", now.VMs, places)
}

// names lists ten of them, and says how many more there are.
func names(all []string, what string) string {
	text := strings.Join(all[:min(len(all), 10)], ", ")
	if n := len(all) - 10; n > 0 {
		text += fmt.Sprintf(" and %d more %s", n, what)
	}
	return text
}

// bounds says what a mode lets through and what not.
func bounds(now *status.Control) []string {
	switch vcproxy.Mode(now.Mode) {
	case "":
		return []string{"Control is not delegated: the deployment unit may only look."}
	case vcproxy.ModeOff:
		return []string{"Nothing is done in the vCenter, and nobody reaches it through the gateway, until control is open.", "Delegated: " + scope(now) + "."}
	case vcproxy.ModeReadOnly:
		return []string{"Nothing is done in the vCenter; who reaches it through the gateway may look.", "Delegated: " + scope(now) + "."}
	}
	if len(now.Clusters)+len(now.Hosts) == 0 {
		return []string{"The deployment unit may nevertheless only look, for nothing that is delegated is known to be there."}
	}
	return []string{
		"The deployment unit may start, stop, restart, suspend and snapshot VMs and open their consoles. By its programs, such as OpenStack, it may also create, change and delete VMs and their files.",
		"Delegated: " + scope(now) + ".",
		"At all else it may only look.",
	}
}

// programs says what the programs on this machine may, and how they log in.
func programs(now *status.Control) []string {
	switch {
	case now.Mode == "":
		return nil
	case now.Broker == "":
		return []string{"Programs on this machine do not reach the vCenter: no broker is set."}
	}
	text := "Programs on this machine may the same, at " + now.Broker + "."
	switch vcproxy.Mode(now.Mode) {
	case vcproxy.ModeOff:
		return []string{"Programs on this machine are refused at " + now.Broker + " meanwhile."}
	case vcproxy.ModeReadOnly:
		text = "Programs on this machine may only look, too, at " + now.Broker + "."
	}
	lines := []string{text}
	if now.BrokerSecret != "" {
		lines = append(lines, "They log in as "+paired.BrokerUser+", with the password in "+now.BrokerSecret+", and trust "+now.BrokerCA+".")
	}
	return lines
}

// writeControl says what is delegated and how much of it may be done. The first
// line is for scripts, and has the mode alone.
func writeControl(w io.Writer, now *status.Control) error {
	lines := append([]string{cmp.Or(now.Mode, "none"), ""}, bounds(now)...)
	if len(now.Kept) > 0 {
		lines = append(lines, "Never delegated: "+strings.Join(now.Kept, ", ")+".")
	}
	lines = append(lines, programs(now)...)
	if now.Problem != "" {
		lines = append(lines, "Problem: "+now.Problem+".")
	}
	if now.Remedy != "" {
		lines = append(lines, "To delegate: "+now.Remedy)
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(w, kindtable.Clean(l)); err != nil {
			return err
		}
	}
	return nil
}
