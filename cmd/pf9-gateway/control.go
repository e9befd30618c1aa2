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
	if len(now.Clusters) == 0 {
		return "nothing that is there"
	}
	shown := now.Clusters[:min(len(now.Clusters), 10)]
	text := fmt.Sprintf("%d VMs of %s", now.VMs, strings.Join(shown, ", "))
	if n := len(now.Clusters) - len(shown); n > 0 {
		text += fmt.Sprintf(" and %d more clusters", n)
	}
	return text
}

// writeControl says what a mode lets through and what not. The first line is for
// scripts, and has the mode alone.
func writeControl(w io.Writer, now *status.Control) error {
	lines := []string{cmp.Or(now.Mode, "none"), ""}
	switch vcproxy.Mode(now.Mode) {
	case "":
		lines = append(lines, "Control is not delegated: the deployment unit may only look.")
	case vcproxy.ModeOff:
		lines = append(lines, "Nothing is done in the vCenter, and nobody reaches it through the gateway, until control is open.", "Delegated: "+scope(now)+".")
	case vcproxy.ModeReadOnly:
		lines = append(lines, "Nothing is done in the vCenter; who reaches it through the gateway may look.", "Delegated: "+scope(now)+".")
	default:
		if len(now.Clusters) == 0 {
			lines = append(lines, "The deployment unit may nevertheless only look, for nothing that is delegated is known to be there.")
			break
		}
		lines = append(lines, "The deployment unit may start, stop, suspend and snapshot VMs and open their consoles: "+scope(now)+".", "At all else it may only look.")
	}
	if len(now.Kept) > 0 {
		lines = append(lines, "Never delegated: "+strings.Join(now.Kept, ", ")+".")
	}
	if now.Mode != "" && now.Broker != "" {
		lines = append(lines, "Programs on this machine reach the vCenter at "+now.Broker+", with the same bounds.")
	} else if now.Mode != "" {
		lines = append(lines, "Programs on this machine do not reach the vCenter: no broker is set.")
	}
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
