package pki_test

import (
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/pki"
)

func TestTokensComeBack(t *testing.T) {
	for _, prefix := range []string{pki.JoinToken, pki.APIToken} {
		pin := ""
		if prefix == pki.JoinToken {
			pin = pki.Pin(authority(t).Cert)
		}
		token := pki.NewToken(prefix, pin)
		back, err := pki.ParseToken(prefix, " "+token.String()+"\n")
		if err != nil || back != token {
			t.Fatalf("ParseToken(%q) = %v, %v", token, back, err)
		}
		if !back.Matches(token.Hash()) || pki.NewToken(prefix, pin).Matches(token.Hash()) {
			t.Error("a hash matches its own secret only")
		}
		if strings.Contains(token.Hash(), token.Secret) {
			t.Error("the hash shows the secret")
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(pki.NewToken(pki.JoinToken, strings.Repeat("0", 32)).String())
	f.Add(pki.NewToken(pki.APIToken, "").String())
	f.Add("pf9j1....")
	f.Fuzz(func(t *testing.T, text string) {
		for _, prefix := range []string{pki.JoinToken, pki.APIToken} {
			if token, err := pki.ParseToken(prefix, text); err == nil && token.String() != strings.TrimSpace(text) {
				t.Errorf("%q gives %q", text, token)
			}
		}
	})
}
