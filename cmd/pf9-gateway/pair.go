package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const maxPassword = 4096 // bytes of a password's file

const pairUsage = `  pair NAME --url URL     make a vCenter known, or give it another password or
                          certificate; the certificate is shown and accepted first,
                          and the password asked for or read from a file
  unpair NAME             forget a vCenter and its accounts
  pairing-code            allow one pairing by pf9ctl, to who has the code it shows
  vcenters                the vCenters and how they are
  control NAME [MODE]     show or switch how much the deployment unit may do in a
                          vCenter where it may act: open, read-only or off, at once
`

// pairFlags are what pair is told.
type pairFlags struct {
	url, thumbprint                  string
	user, passwordFile               string
	control                          bool
	controlUser, controlPasswordFile string
	clusters                         string
	hasControl, hasClusters          bool
	broker                           *string
}

func (p *pairFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&p.url, "url", "", "address of the vCenter, https://host[:port]")
	fs.StringVar(&p.thumbprint, "thumbprint", "", "SHA-256 of its certificate, which is then accepted without a question")
	fs.StringVar(&p.user, "user", "", "account to look with; asked for if not given")
	fs.StringVar(&p.passwordFile, "password-file", "", "file with its password, - for standard input; asked for if not given")
	fs.Func("clusters", "names of the clusters to look at, with commas; empty for all; without it as before", func(s string) error {
		p.clusters, p.hasClusters = s, true
		return nil
	})
	fs.BoolFunc("control", "let the deployment unit act in these clusters; =false takes it back; without it as before", func(s string) error {
		p.control, p.hasControl = s != "false", true
		if s != "true" && s != "false" {
			return errors.New("want true or false")
		}
		return nil
	})
	fs.Func("broker", "address on this machine, as 127.0.0.1:8443, where programs reach the vCenter's broker; empty for nowhere; without it as before", func(s string) error {
		p.broker = &s
		return nil
	})
	fs.StringVar(&p.controlUser, "control-user", "", "account of its own to act with")
	fs.StringVar(&p.controlPasswordFile, "control-password-file", "", "file with its password, - for standard input; asked for if not given")
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
	names, err := c.Parse(1, "NAME --url URL", p.add)
	switch {
	case err != nil:
		return err
	case len(names) == 0:
		return c.Usage("give the vCenter a name, such as main")
	case p.url == "":
		return c.Usage("--url is missing")
	case p.passwordFile == "-" && p.controlPasswordFile == "-":
		return c.Usage("only one password can come from standard input")
	}
	client, err := a.client(c)
	if err != nil {
		return err
	}
	r := pairing.Request{Name: names[0], Address: p.url, Thumbprint: p.thumbprint, User: p.user, ControlUser: p.controlUser, Broker: p.broker}
	if p.hasControl {
		r.Control = &p.control
	}
	if p.hasClusters {
		r.Clusters = slices.DeleteFunc(strings.Split(p.clusters, ","), func(s string) bool { return s == "" })
	}
	person := &asker{path: a.terminal}
	defer person.close()
	if r.Thumbprint == "" {
		if r.Thumbprint, err = person.accept(ctx, client, p.url); err != nil {
			return err
		}
	}
	if r.User == "" {
		if r.User, err = person.line(ctx, "User: "); err != nil {
			return err
		}
	}
	if r.Password, err = person.password(ctx, c, p.passwordFile, r.User); err != nil {
		return err
	}
	if r.ControlUser != "" {
		if r.ControlPassword, err = person.password(ctx, c, p.controlPasswordFile, r.ControlUser); err != nil {
			return err
		}
	}
	res, err := client.Pair(ctx, r)
	if err != nil {
		return err
	}
	return showPaired(c, res)
}

// client is one of the running daemon.
func (a *appliance) client(c *cli.Call) (*pair.Client, error) {
	conf, err := c.Load()
	return pair.NewClient(conf.Socket), err
}

// showPaired says what was paired, and what the accounts lack.
func showPaired(c *cli.Call, res pairing.Result) error {
	fmt.Fprintf(c.Out, "%s is paired: %s, instance %s\n", res.As, kindtable.Clean(res.Name), kindtable.Clean(res.Instance))
	if len(res.Missing) == 0 {
		fmt.Fprintln(c.Out, "No privilege is missing.")
		return nil
	}
	fmt.Fprintf(c.Out, "\nThese privileges are missing; grant them in vCenter, and pair again to see:\n")
	rows := [][]string{{"FUNCTION", "PRIVILEGE", "ON", "WITHOUT IT"}}
	for _, m := range res.Missing {
		rows = append(rows, []string{m.Function, m.Name, m.Object, m.Without})
	}
	return c.Table(rows)
}

// unpairCommand forgets a vCenter.
func (a *appliance) unpairCommand(ctx context.Context, c *cli.Call) error {
	names, err := c.Parse(1, "NAME", nil)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return c.Usage("which vCenter? pf9-gateway vcenters lists them")
	}
	client, err := a.client(c)
	if err != nil {
		return err
	}
	if err := client.Unpair(ctx, names[0]); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%s is forgotten, and so are its accounts.\n", names[0])
	return err
}

// controlCommand shows or switches control of a vCenter.
func controlCommand(ctx context.Context, c *cli.Call) error {
	args, err := c.Parse(2, "NAME [open|read-only|off]", nil)
	switch {
	case err != nil:
		return err
	case len(args) == 0:
		return c.Usage("which vCenter? pf9-gateway vcenters lists them")
	case len(args) == 2:
		if err := c.Post(ctx, "/v1/vcenters/"+url.PathEscape(args[0])+"/control/"+url.PathEscape(args[1])); err != nil {
			return err
		}
	}
	var list []status.VCenter
	if err := c.Fetch(ctx, "/v1/vcenters", &list); err != nil {
		return err
	}
	for _, v := range list {
		if v.Name == args[0] {
			_, err := fmt.Fprintln(c.Out, cmp.Or(v.Control, "none: control is not delegated; pf9-gateway pair --control delegates it"))
			return err
		}
	}
	return fmt.Errorf("there is no vCenter %q; pf9-gateway vcenters lists them", args[0])
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
	var format string
	if _, err := c.Parse(0, "", func(fs *flag.FlagSet) { fs.StringVar(&format, "o", "table", "output: table or json") }); err != nil {
		return err
	}
	var list []status.VCenter
	if err := c.Fetch(ctx, "/v1/vcenters", &list); err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b status.VCenter) int { return cmp.Compare(a.Name, b.Name) })
	if format == "json" {
		return c.JSON(list)
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
		rows = append(rows, []string{v.Name, v.State, fmt.Sprint(v.Counts[inventory.KindVM]), fmt.Sprint(total), session, control, v.Problem})
	}
	return c.Table(rows)
}

// asker asks a person on a terminal that it opens when it first needs it.
type asker struct {
	path string
	t    *tty.Terminal
}

func (a *asker) open() (err error) {
	if a.t == nil {
		a.t, err = tty.Open(a.path)
	}
	return err
}

func (a *asker) close() {
	if a.t != nil {
		_ = a.t.Close()
	}
}

// accept shows the certificate of who answers and returns its thumbprint, if a
// person says that it is the right one.
func (a *asker) accept(ctx context.Context, client pairing.Pairer, url string) (string, error) {
	if err := a.open(); err != nil {
		return "", fmt.Errorf("compare the certificate: %w; or give --thumbprint", err)
	}
	cert, err := client.Look(ctx, url)
	if err != nil {
		return "", err
	}
	answer, err := a.t.Ask(ctx, fmt.Sprintf("%s has this certificate. Compare it with what vCenter itself shows.\n\n  SHA-256  %s\n  subject  %s\n  issuer   %s\n  until    %s UTC\n\nIs this your vCenter? (yes/no) ",
		kindtable.Clean(url), kindtable.Clean(cert.Thumbprint), kindtable.Clean(cert.Subject), kindtable.Clean(cert.Issuer), cert.NotAfter.UTC().Format(time.DateTime)))
	if err == nil && answer != "yes" {
		err = errors.New("the certificate was not accepted; nothing was sent to the vCenter")
	}
	return cert.Thumbprint, err
}

func (a *asker) line(ctx context.Context, question string) (string, error) {
	if err := a.open(); err != nil {
		return "", err
	}
	return a.t.Ask(ctx, question)
}

// password reads a user's password from a file, "-" for standard input, or asks.
func (a *asker) password(ctx context.Context, c *cli.Call, file, user string) (string, error) {
	if file == "" {
		if err := a.open(); err != nil {
			return "", fmt.Errorf("ask for the password of %s: %w; or give its file", user, err)
		}
		return a.t.AskSecret(ctx, "Password of "+kindtable.Clean(user)+": ")
	}
	in := c.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			fmt.Fprintf(c.Errs, "others may read the password in %s: chmod 600 it\n", file)
		}
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("read the password of %s: %w", user, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" || len(b) > maxPassword || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("the password of %s: want one line of at most %d bytes", user, maxPassword)
	}
	return text, nil
}
