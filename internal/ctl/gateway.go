package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/paired"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/spf13/cobra"
)

const pairHelp = `Make a vCenter known to a gateway, or change what the flags give of one that is
known: its password, certificate, clusters, control, broker. What is not given is
asked for or, of one that is known, stays. First get a pairing code on the gateway:

  pf9-gateway pairing-code

It is asked for here. The request is sealed to the gateway before it leaves this
machine; the deployment unit cannot read it.`

// pairing is what gateway pair is told.
type pairing struct {
	host     string // as the person calls it
	request  wire.PairingRequest
	files    paired.Files
	codeFile string
	clusters []string
	control  bool
	broker   string
}

func (a *app) gatewayCommand() *cobra.Command {
	p := &pairing{}
	pair := &cobra.Command{
		Use: "pair HOST NAME [--vcenter URL]", Short: "Make a vCenter known to a gateway, or change how it is", Long: pairHelp,
		Args: exactly("HOST", "NAME"), ValidArgsFunction: a.completeHostArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.host, p.request.Name = args[0], args[1]
			if err := p.complete(cmd.Flags().Changed); err != nil {
				return usageError{err}
			}
			ask := &tty.Asker{Path: a.terminal, In: cmd.InOrStdin(), Warn: a.errs}
			defer ask.Close()
			return a.with(func(c *client.Client) error {
				h, err := c.Find(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if h.Kind == "host" {
					return fmt.Errorf("%s is a host with its own VMs, not a gateway, and cannot be paired with a vCenter; see pf9ctl gateway list", called(h))
				}
				return a.pair(cmd.Context(), c, h, p, ask)
			})
		},
	}
	f := pair.Flags()
	f.StringVar(&p.request.Address, "vcenter", "", "address of the vCenter, https://host[:port], as the gateway reaches it; not needed for one that is known")
	f.StringVar(&p.request.Thumbprint, "thumbprint", "", "SHA-256 of its certificate, which is then accepted without a question")
	f.StringVar(&p.request.User, "user", "", "account to look with; without it asked for or, without --vcenter, as before")
	f.StringVar(&p.files.Password, "password-file", "", "file with its password, for you alone to read, - for standard input")
	f.StringSliceVar(&p.clusters, "clusters", nil, "names of the clusters to look at; empty for all; without it as before, or all")
	f.BoolVar(&p.control, "control", false, "let this deployment unit act in these clusters; =false takes it back, deletes the account for it and shuts the broker; without it as before, or not")
	f.StringVar(&p.broker, "broker", "", "address on the gateway, as 127.0.0.1:8443, where programs reach the vCenter's broker; empty for nowhere; without it as before, or nowhere")
	f.StringVar(&p.request.ControlUser, "control-user", "", "account of its own to act with; without it as before, or the first")
	f.StringVar(&p.files.ControlPassword, "control-password-file", "", "file with its password, - for standard input")
	f.StringVar(&p.codeFile, "code-file", "", "file with the pairing code, - for standard input")
	return group("gateway", "Gateways beside vCenter", pair, a.hostList("List the gateways", isGateway))
}

func isGateway(h api.Host) bool { return h.Kind == "gateway" }

// complete takes over what was given of the settings, where nothing is not empty.
func (p *pairing) complete(given func(flag string) bool) error {
	if given("clusters") {
		p.request.Clusters = append([]string{}, p.clusters...)
	}
	if given("control") {
		p.request.Control = &p.control
	}
	if given("broker") {
		p.request.Broker = &p.broker
	}
	if p.codeFile == "-" && (p.files.Password == "-" || p.files.ControlPassword == "-") {
		return errors.New("only one secret can come from standard input")
	}
	return p.files.Check(&p.request)
}

// pair asks for what is missing, seals it and sends it.
func (a *app) pair(ctx context.Context, c *client.Client, h api.Host, p *pairing, ask *tty.Asker) error {
	key, err := c.PairingKey(ctx, h.ID)
	if err != nil {
		return err
	}
	code, err := p.code(ctx, ask)
	if err != nil {
		return err
	}
	if _, err := code.Seal(key.PublicKey, nil); err != nil { // before anybody types a password
		return err
	}
	r := &p.request
	look := func(ctx context.Context, address string) (wire.PairingCertificate, error) {
		sealed, err := sealLook(code, key, address)
		if err != nil {
			return wire.PairingCertificate{}, err
		}
		return c.LookFrom(ctx, h.ID, sealed)
	}
	if err := p.files.Ask(ctx, ask, look, r); err != nil {
		return err
	}
	sealed, err := seal(code, key, r)
	if err != nil {
		return err
	}
	res, err := c.Pair(ctx, h.ID, sealed)
	if err != nil {
		return err
	}
	res.Now.User = r.User // which the deployment unit was not told
	if res.Now.OwnControl {
		res.Now.ControlUser = r.ControlUser
	}
	if a.machine() {
		return a.print(res, table{})
	}
	_, err = io.WriteString(a.out, paired.Text(res, paired.ByDeploymentUnit(p.host, res.As)))
	return err
}

// seal writes a message that the gateway alone can read.
func seal(code pairingcode.Code, key wire.PairingKey, message any) ([]byte, error) {
	b, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	return code.Seal(key.PublicKey, b)
}

// sealLook asks for the certificate of who answers at an address.
func sealLook(code pairingcode.Code, key wire.PairingKey, address string) (wire.PairingLook, error) {
	sealed, err := seal(code, key, wire.PairingAddress{Look: address})
	return wire.PairingLook{Address: address, Sealed: sealed}, err
}

// code reads the pairing code or asks for it, if a person is there for all else
// that is not given either.
func (p *pairing) code(ctx context.Context, ask *tty.Asker) (pairingcode.Code, error) {
	if p.codeFile == "" {
		if err := ask.Need(append([]string{"--code-file"}, p.files.Lacks(&p.request)...)...); err != nil {
			return pairingcode.Code{}, err
		}
	}
	text, err := ask.Secret(ctx, p.codeFile, "Pairing code of the gateway: ")
	if err != nil {
		return pairingcode.Code{}, fmt.Errorf("the pairing code: %w", err)
	}
	return pairingcode.Parse(text)
}
