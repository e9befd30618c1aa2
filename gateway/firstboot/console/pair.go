package console

import (
	"context"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/internal/paired"
)

// Labels of fields that are no settings.
const (
	labelAddress  = "vCenter"
	labelUser     = "User"
	labelPassword = "Password"
)

// openPair asks for a vCenter, then for its certificate to be compared.
func (c *console) openPair(context.Context) {
	if c.o.Pairer == nil {
		c.say("This gateway cannot pair a vCenter: it was built without the module.")
		return
	}
	s := c.report.Settings
	f := form("Pair a vCenter")
	f.AddInputField(labelAddress, s.VCenter, 50, nil, nil)
	f.AddInputField(labelUser, s.VCenterUser, 50, nil, nil)
	f.AddPasswordField(labelPassword, "", 50, '*', nil)
	f.AddButton("Look", func() {
		r := pairing.Request{Address: value(f, labelAddress), User: value(f, labelUser), Password: value(f, labelPassword)}
		if _, bad := s.With(map[string]string{settings.KeyVCenter: r.Address, settings.KeyVCenterUser: r.User}); len(bad) > 0 {
			c.say("%v", bad)
			return
		}
		if r.Address == "" || r.User == "" || r.Password == "" {
			c.say("Address, user and password are all needed.")
			return
		}
		c.look(r)
	})
	f.AddButton("Back", c.back)
	help := "The password stays on this gateway. It is sent only after you have compared\nthe vCenter's certificate."
	c.open(pagePair, withText(help, 3, f))
}

// look fetches the certificate.
func (c *console) look(r pairing.Request) {
	c.say("Asking %s for its certificate ...", r.Address)
	c.start(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, jobLimit)
		defer cancel()
		cert, err := c.o.Pairer.Look(ctx, r.Address)
		return func() {
			if err != nil {
				c.failed(r.Address, err)
				return
			}
			c.say("")
			c.askTrust(r, cert)
		}
	})
}

// askTrust shows the certificate and pairs if it is accepted.
func (c *console) askTrust(r pairing.Request, cert pairing.Certificate) {
	f := form("Is this your vCenter?")
	f.AddButton("Trust and pair", func() {
		r.Thumbprint = cert.Thumbprint
		c.pair(r)
	})
	f.AddButton("Back", c.back)
	text := paired.Certificate(r.Address, cert)
	c.open(pageTrust, withText(text, 9, f))
}

// pair logs in, and says what holds then.
func (c *console) pair(r pairing.Request) {
	c.say("Pairing with %s ...", r.Address)
	c.start(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, jobLimit)
		defer cancel()
		result, err := c.o.Pairer.Pair(ctx, r)
		return func() {
			if err != nil {
				c.failed(r.Address, err)
				return
			}
			c.say("")
			c.open(pagePair, plainText().SetText(paired.Text(result, paired.OnGateway(result.As))))
		}
	})
}

// openEnrol asks for a deployment unit and a token.
func (c *console) openEnrol(context.Context) {
	keys := describe(settings.KeyDU, settings.KeyToken)
	du, token := keys[0].Label, keys[1].Label
	f := form("Enrol")
	f.AddInputField(du, c.report.Settings.DU, 60, nil, nil)
	f.AddPasswordField(token, "", 60, '*', nil)
	f.AddButton("Enrol", func() { c.enrol(value(f, du), value(f, token)) })
	f.AddButton("Back", c.back)
	help := "Make a join token by pf9ctl token create --kind gateway. It is good once, and is\nnot kept here."
	c.open(pageEnrol, withText(help, 3, f))
}

func (c *console) enrol(du, token string) {
	if token == "" {
		c.say("A join token is needed: pf9ctl token create --kind gateway makes one.")
		return
	}
	c.say("Enrolling ...")
	c.start(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, jobLimit)
		defer cancel()
		err := c.o.Boot.EnrolAt(ctx, du, token)
		return func() {
			if err != nil {
				c.failed("Enrol", err)
				return
			}
			c.back()
			c.say("The gateway is enrolled; the daemon connects now.")
		}
	})
}
