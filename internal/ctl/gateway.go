package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/spf13/cobra"
)

const maxSecret = 4096 // bytes of a file with a password

const pairHelp = `Make a vCenter known to a gateway, or give one that is known another password or
certificate. First get a pairing code on the gateway:

  pf9-gateway pairing-code

It is asked for here, like what else is not given. The account is sealed to the
gateway before it leaves this machine; the deployment unit cannot read it.`

// pairing is what gateway pair is told.
type pairing struct {
	request             wire.PairingRequest
	passwordFile        string
	controlPasswordFile string
	codeFile            string
	clusters            []string
	control             bool
}

func (a *app) gatewayCommand() *cobra.Command {
	p := &pairing{}
	pair := &cobra.Command{
		Use: "pair HOST NAME --vcenter URL", Short: "Make a vCenter known to a gateway", Long: pairHelp,
		Args: exactly("HOST", "NAME"), ValidArgsFunction: a.completeHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.request.Address == "" {
				return usagef("--vcenter is missing")
			}
			p.request.Name = args[1]
			if cmd.Flags().Changed("clusters") {
				p.request.Clusters = append([]string{}, p.clusters...)
			}
			if cmd.Flags().Changed("control") {
				p.request.Control = &p.control
			}
			return a.with(func(c *client.Client) error {
				h, err := c.Find(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.pair(cmd.Context(), c, h, p)
			})
		},
	}
	f := pair.Flags()
	f.StringVar(&p.request.Address, "vcenter", "", "address of the vCenter, https://host[:port], as the gateway reaches it")
	f.StringVar(&p.request.Thumbprint, "thumbprint", "", "SHA-256 of its certificate, which is then accepted without a question")
	f.StringVar(&p.request.User, "user", "", "account to look with")
	f.StringVar(&p.passwordFile, "password-file", "", "file with its password")
	f.StringSliceVar(&p.clusters, "clusters", nil, "names of the clusters to look at; empty for all; without it as before")
	f.BoolVar(&p.control, "control", false, "let this deployment unit act in these clusters; without it as before")
	f.StringVar(&p.request.ControlUser, "control-user", "", "account of its own to act with")
	f.StringVar(&p.controlPasswordFile, "control-password-file", "", "file with its password")
	f.StringVar(&p.codeFile, "code-file", "", "file with the pairing code")
	return group("gateway", "Gateways beside vCenter", pair)
}

// pair asks for what is missing, seals it and sends it.
func (a *app) pair(ctx context.Context, c *client.Client, h api.Host, p *pairing) error {
	key, err := c.PairingKey(ctx, h.ID)
	if err != nil {
		return err
	}
	ask := &questions{path: a.terminal}
	defer ask.close()
	text, err := ask.secretOf(ctx, p.codeFile, "Pairing code of the gateway: ")
	if err != nil {
		return err
	}
	code, err := pairingcode.Parse(text)
	if err != nil {
		return err
	}
	if _, err := code.Seal(key.PublicKey, nil); err != nil { // before anybody types a password
		return err
	}
	r := &p.request
	if r.Thumbprint == "" {
		if r.Thumbprint, err = ask.accept(ctx, c, h, r.Address); err != nil {
			return err
		}
	}
	if r.User == "" {
		if r.User, err = ask.ask(ctx, "User: ", false); err != nil {
			return err
		}
	}
	if r.Password, err = ask.secretOf(ctx, p.passwordFile, "Password of "+kindtable.Clean(r.User)+": "); err != nil {
		return err
	}
	if r.ControlUser != "" {
		if r.ControlPassword, err = ask.secretOf(ctx, p.controlPasswordFile, "Password of "+kindtable.Clean(r.ControlUser)+": "); err != nil {
			return err
		}
	}
	message, err := json.Marshal(r)
	if err != nil {
		return err
	}
	sealed, err := code.Seal(key.PublicKey, message)
	if err != nil {
		return err
	}
	res, err := c.Pair(ctx, h.ID, sealed)
	if err != nil {
		return err
	}
	return a.print(res, pairedTable(res))
}

// pairedTable has what was paired, then a line for each privilege that lacks.
func pairedTable(res wire.PairingResult) table {
	t := table{head: []string{"VCENTER", "STATE", "FUNCTION", "MISSING PRIVILEGE", "ON", "WITHOUT IT"}}
	t.add(res.As, "paired: "+res.Name, "", "", "", "")
	for _, m := range res.Missing {
		t.add("", "", m.Function, m.Name, m.Object, m.Without)
	}
	return t
}

// questions are asked on a terminal that is opened for the first.
type questions struct {
	path string
	t    *tty.Terminal
}

func (q *questions) close() {
	if q.t != nil {
		_ = q.t.Close()
	}
}

func (q *questions) ask(ctx context.Context, question string, secret bool) (string, error) {
	if q.t == nil {
		t, err := tty.Open(q.path)
		if err != nil {
			return "", fmt.Errorf("%s%w; see --help for what may be given as a file", question, err)
		}
		q.t = t
	}
	if secret {
		return q.t.AskSecret(ctx, question)
	}
	return q.t.Ask(ctx, question)
}

// secretOf reads a secret from a file, or asks for it.
func (q *questions) secretOf(ctx context.Context, file, question string) (string, error) {
	if file == "" {
		return q.ask(ctx, question, true)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" || len(b) > maxSecret || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("%s: want one line of at most %d bytes", file, maxSecret)
	}
	return text, nil
}

// accept shows the vCenter's certificate, as the gateway sees it, and returns its
// thumbprint, if a person says that it is the right one.
func (q *questions) accept(ctx context.Context, c *client.Client, h api.Host, address string) (string, error) {
	cert, err := c.LookFrom(ctx, h.ID, address)
	if err != nil {
		return "", err
	}
	answer, err := q.ask(ctx, fmt.Sprintf("%s has this certificate. Compare it with what vCenter itself shows.\n\n  SHA-256  %s\n  subject  %s\n  issuer   %s\n  until    %s UTC\n\nIs this your vCenter? (yes/no) ",
		kindtable.Clean(address), kindtable.Clean(cert.Thumbprint), kindtable.Clean(cert.Subject), kindtable.Clean(cert.Issuer), cert.NotAfter.UTC().Format(time.DateTime)), false)
	if err == nil && answer != "yes" {
		err = errors.New("the certificate was not accepted; no account was sent")
	}
	return cert.Thumbprint, err
}
