package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/paired"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const pairUsage = `  pair NAME [--url URL]   make a vCenter known, or change what the flags give of one
                          that is: password, certificate, clusters, control, broker;
                          what is not given is asked for or, if known, stays
  unpair NAME             forget a vCenter and its accounts
  pairing-code            allow one pairing by pf9ctl, to who has the code it shows
  vcenters                the vCenters and how they are
  control NAME [MODE]     show where in a vCenter the deployment unit and programs
                          may act, what they may, and how these log in, or switch
                          it, at once: open, read-only or off
`

// pairFlags are what pair is told.
type pairFlags struct {
	pairing.Request
	paired.Files
	format string
}

func (p *pairFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&p.Address, "url", "", "address of the vCenter, https://host[:port]; not needed for one that is known")
	fs.StringVar(&p.Thumbprint, "thumbprint", "", "SHA-256 of its certificate, which is then accepted without a question")
	fs.StringVar(&p.User, "user", "", "account to look with; without it asked for or, without --url, as before")
	fs.StringVar(&p.Files.Password, "password-file", "", "file with its password, for you alone to read, - for standard input; without it asked for or, without --url and --user, as before")
	fs.Func("clusters", "names of the clusters to look at, with commas; empty for all and the hosts that are in none; without it as before, or all", func(s string) error {
		p.Clusters = slices.DeleteFunc(strings.Split(s, ","), func(s string) bool { return s == "" })
		return nil
	})
	fs.BoolFunc("control", "let the deployment unit act there: operate VMs and, by the broker, create, change and delete them and their files; =false takes it back, deletes the account for it and shuts the broker; without it as before, or not", func(s string) error {
		on := s == "true"
		p.Control = &on
		if s != "true" && s != "false" {
			return errors.New("want true or false")
		}
		return nil
	})
	fs.Func("broker", "address on this machine, as 127.0.0.1:8443, where programs reach the vCenter's broker; empty for nowhere; without it as before, or nowhere", func(s string) error {
		p.Broker = &s
		return nil
	})
	fs.StringVar(&p.ControlUser, "control-user", "", "account of its own to act with; without it as before, or the first")
	fs.StringVar(&p.Files.ControlPassword, "control-password-file", "", "file with its password, - for standard input; asked for if not given")
	fs.StringVar(&p.format, "o", "text", "output: text or json")
}

// pairCommand pairs a vCenter. One that was interrupted is not done.
func (a *appliance) pairCommand(ctx context.Context, c *cli.Call) error {
	err := a.pair(ctx, c)
	if err != nil && ctx.Err() != nil {
		fmt.Fprintln(c.Errs, "\ninterrupted; pf9-gateway vcenters shows what is paired")
		return cli.ErrTold
	}
	return err
}

func (a *appliance) pair(ctx context.Context, c *cli.Call) error {
	var p pairFlags
	names, err := c.Parse(1, "NAME [--url URL]", p.add)
	switch {
	case err != nil:
		return err
	case len(names) == 0:
		return c.Usage("give the vCenter a name, such as main")
	case p.format != "text" && p.format != "json":
		return c.Usage("-o %s: want text or json", p.format)
	}
	p.Name = names[0]
	if err := p.Check(&p.Request); err != nil {
		return c.Usage("%v", err)
	}
	client, err := a.client(c)
	if err != nil {
		return err
	}
	person := &tty.Asker{Path: a.terminal, In: c.In, Warn: c.Errs}
	defer person.Close()
	if err := p.Ask(ctx, person, client.Look, &p.Request); err != nil {
		return err
	}
	res, err := client.Pair(ctx, p.Request)
	if err != nil {
		return err
	}
	if p.format == "json" {
		return c.JSON(res)
	}
	_, err = io.WriteString(c.Out, paired.Text(res, paired.OnGateway(res.As)))
	return err
}

// client is one of the running daemon.
func (a *appliance) client(c *cli.Call) (*pair.Client, error) {
	conf, err := c.Load()
	return pair.NewClient(conf.Socket), err
}

// codeCommand makes a pairing code.
func (a *appliance) codeCommand(ctx context.Context, c *cli.Call) error {
	if _, err := c.Parse(0, "", nil); err != nil {
		return err
	}
	client, err := a.client(c)
	if err != nil {
		return err
	}
	code, err := client.Offer(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%s\n\nGood for one pairing, by pf9ctl gateway pair, until %s UTC.\n", code.Code, code.Until.UTC().Format(time.TimeOnly))
	return err
}

// vcentersCommand lists the vCenters.
func vcentersCommand(ctx context.Context, c *cli.Call) error {
	var format *string
	if _, err := c.Parse(0, "", func(fs *flag.FlagSet) { format = cli.Output(fs, "table", "json") }); err != nil {
		return err
	}
	var list []status.VCenter
	if err := c.Fetch(ctx, "/v1/vcenters", &list); err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b status.VCenter) int { return cmp.Compare(a.Name, b.Name) })
	if *format == "json" {
		return c.JSON(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.Out, "No vCenter is paired: pf9-gateway pair NAME --url https://HOST makes one known.")
		return err
	}
	rows := [][]string{{"NAME", "STATE", "VMS", "OBJECTS", "SESSION", "CONTROL", "PROBLEM"}}
	for _, v := range list {
		total, session, control := 0, "none", cmp.Or(v.Control, "none")
		for _, n := range v.Counts {
			total += n
		}
		if !v.Since.IsZero() {
			session = time.Since(v.Since).Round(time.Second).String()
		}
		rows = append(rows, []string{v.Name, v.Word(), fmt.Sprint(v.Counts[inventory.KindVM]), fmt.Sprint(total), session, control, v.Trouble()})
	}
	return c.Table(rows)
}
