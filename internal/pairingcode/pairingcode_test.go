package pairingcode_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/pairingcode"
)

func offer(t *testing.T) *pairingcode.Offer {
	t.Helper()
	o, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var message = []byte(`{"password":"correct horse"}`)

func TestWhoHasTheCodeIsUnderstood(t *testing.T) {
	o := offer(t)
	text := o.Code().String()
	if len(text) != 27 || strings.Count(text, "-") != 3 {
		t.Errorf("the code is %q", text)
	}
	for name, typed := range map[string]string{
		"as shown": text, "lower case": strings.ToLower(text), "blanks": strings.ReplaceAll(text, "-", " "), "no groups": " " + strings.ReplaceAll(text, "-", "") + "\n",
		"look-alikes": strings.NewReplacer("0", "o", "1", "l").Replace(text),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := pairingcode.Parse(typed)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := c.Seal(o.PublicKey(), message)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(sealed, []byte("horse")) {
				t.Error("the message is in clear")
			}
			if got, err := o.Open(sealed); err != nil || !bytes.Equal(got, message) {
				t.Errorf("Open = %q, %v", got, err)
			}
			again, err := c.Seal(o.PublicKey(), message)
			if err != nil || bytes.Equal(sealed, again) {
				t.Errorf("two sealings are the same, %v", err)
			}
		})
	}
}

func TestAnotherKeyIsNoticed(t *testing.T) {
	o, theirs := offer(t), offer(t)
	if sealed, err := o.Code().Seal(theirs.PublicKey(), message); err == nil || sealed != nil {
		t.Errorf("a message was sealed to another's key: %v", err)
	}
}

func TestWhoLacksTheCodeIsRefused(t *testing.T) {
	o := offer(t)
	text := []byte(o.Code().String())
	for _, last := range []byte("23") { // another secret, the right key
		text[len(text)-1] = last
		if string(text) == o.Code().String() {
			continue
		}
		c, err := pairingcode.Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := c.Seal(o.PublicKey(), message)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := o.Open(sealed); err == nil {
			t.Errorf("Open with another secret = %q", got)
		}
	}
	sealed, err := o.Code().Seal(o.PublicKey(), message)
	if err != nil {
		t.Fatal(err)
	}
	sealed[len(sealed)-1] ^= 1
	if got, err := o.Open(sealed); err == nil {
		t.Errorf("Open of a changed message = %q", got)
	}
	for _, b := range [][]byte{nil, {0}, bytes.Repeat([]byte{7}, 2000)} {
		if got, err := o.Open(b); err == nil {
			t.Errorf("Open(%d bytes) = %q", len(b), got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("012345-6789AB-CDEFGH-JKMNPQ")
	f.Add("oil")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := pairingcode.Parse(text)
		if err != nil {
			return
		}
		if again, err := pairingcode.Parse(c.String()); err != nil || again != c {
			t.Errorf("%q reads as %v, and that as %v, %v", text, c, again, err)
		}
	})
}
