package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/gateway/firstboot"
	"github.com/openpf9/openpf9/gateway/firstboot/console"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/daemon"
)

const pageWidth = 80 // columns of the status page

const applianceUsage = `  firstboot               apply what was typed when the appliance was deployed, and
                          enrol it; systemd runs it at each boot; needs root
  console                 the appliance's screen: how it is, network, pairing,
                          diagnostics, enrolment, reboot; systemd runs it on the
                          first terminal; needs root
`

// appliance is what the gateway's own commands work on.
type appliance struct{ terminal string }

// commands are those that only the gateway has.
func (a *appliance) commands() map[string]cli.Command {
	return map[string]cli.Command{
		"pair":         {Usage: pairUsage, Run: a.pairCommand},
		"unpair":       {Run: a.unpairCommand},
		"pairing-code": {Run: a.codeCommand},
		"vcenters":     {Run: vcentersCommand},
		"control":      {Run: controlCommand},
		"firstboot":    {Usage: applianceUsage, Run: a.bootCommand},
		"console":      {Run: a.consoleCommand},
		"status":       {Run: a.statusCommand},
	}
}

// boot says where the appliance's parts are. The first boot happens also while
// the daemon's configuration has a mistake, which the daemon tells. The daemon's user
// may write that configuration: where root writes follows from the path alone that
// root was given.
func boot(file string, log *slog.Logger) firstboot.Options {
	o := firstboot.Options{Config: file, Etc: filepath.Dir(file), Log: log}
	o.Configured = func() status.Configured { return configuration(file, o.Paths().Proxy) }
	conf, err := load(file)
	if err != nil {
		log.Warn("the gateway's configuration has a mistake; the usual places count", "err", err)
		return o
	}
	if conf.EtcDir != o.Etc {
		log.Warn("the appliance's commands do not follow etc_dir; the directory of the configuration counts", "etc_dir", conf.EtcDir, "directory", o.Etc)
	}
	o.Socket, o.Link = conf.Socket, conf.Appliance.Link
	return o
}

// configuration is what the daemon's configuration has of what the appliance's
// settings may have too. What is wrong with it the daemon tells.
func configuration(file, proxyFile string) (c status.Configured) {
	conf, err := load(file)
	if err != nil {
		return c
	}
	if len(conf.DU) > 0 {
		c.DU = conf.DU[0]
	}
	if proxy, err := enroll.Proxy(proxyFile, conf.Proxy.URL); err == nil && proxy != nil {
		if u, err := proxy(new(http.Request)); err == nil { // it is the same for all
			c.Proxy = u.String()
		}
	}
	c.VCenters = configured(file)
	for i := range c.VCenters {
		c.VCenters[i].State = status.NotKnown
	}
	return c
}

// bootCommand does what a boot needs.
func (a *appliance) bootCommand(ctx context.Context, c *cli.Call) error {
	if _, err := c.Parse(0, "", nil); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the appliance's settings are for root: run this as root")
	}
	return firstboot.Run(ctx, boot(c.ConfigFile(), daemon.NewLogger(slog.LevelInfo)))
}

// consoleCommand shows the appliance's screen. What it logs goes to the journal,
// or nowhere: standard error would be the screen.
func (a *appliance) consoleCommand(ctx context.Context, c *cli.Call) error {
	if _, err := c.Parse(0, "", nil); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the appliance's settings are for root: run this as root")
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("JOURNAL_STREAM") != "" { // systemd's
		log = daemon.NewLogger(slog.LevelInfo)
	}
	o := console.Options{Boot: boot(c.ConfigFile(), log), Log: log}
	o.Pairer = pair.NewClient(o.Boot.StatusOptions().Socket)
	return console.Run(ctx, o)
}

// statusCommand shows the console's first page, or for programs the daemon's own
// status.
func (a *appliance) statusCommand(ctx context.Context, c *cli.Call) error {
	var format *string
	if _, err := c.Parse(0, "", func(fs *flag.FlagSet) { format = cli.Output(fs, "text", "json") }); err != nil {
		return err
	}
	if *format == "json" {
		var st localapi.Status
		if err := c.Fetch(ctx, "/v1/status", &st); err != nil {
			return err
		}
		return c.JSON(st)
	}
	if _, err := c.Load(); err != nil {
		return err
	}
	report := boot(c.ConfigFile(), slog.New(slog.DiscardHandler)).Report(ctx, false)
	if _, err := fmt.Fprint(c.Out, report.Text(pageWidth)); err != nil {
		return err
	}
	if report.AgentError != "" {
		return cli.ErrTold
	}
	return nil
}
