package pki_test

import (
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/pki"
)

func TestFingerprintsAreReadAsTheyAreShown(t *testing.T) {
	want := pki.FingerprintOf(&x509.Certificate{Raw: []byte("certificate")})
	shown := want.String()
	if sum := sha256.Sum256([]byte("certificate")); len(shown) != 95 || shown != pki.Colons(sum[:]) || shown != strings.ToUpper(shown) {
		t.Fatalf("shown as %q", shown)
	}
	for name, text := range map[string]string{
		"with colons": shown, "lower case": strings.ToLower(shown), "no colons": strings.ReplaceAll(shown, ":", ""),
		"blanks": strings.ReplaceAll(shown, ":", " "), "a line of a file": shown + "\n", "lower case, no colons": strings.ToLower(strings.ReplaceAll(shown, ":", "")),
	} {
		if got, err := pki.ParseFingerprint(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	var got pki.Fingerprint
	if text, err := want.MarshalText(); err != nil || got.UnmarshalText(text) != nil || got != want {
		t.Errorf("back from text: %v, %v", got, err)
	}
	if got, err := pki.ParseFingerprint(""); err != nil || got != (pki.Fingerprint{}) || got.String() != "" {
		t.Errorf("none: %v, %v", got, err)
	}
}

func TestWhatIsNoFingerprintIsRefusedWithTheReason(t *testing.T) {
	for text, says := range map[string]string{
		strings.Repeat("AB:", 19) + "AB": "this is a SHA-1 thumbprint, which can be forged",
		strings.Repeat("ab", 20):         "this is a SHA-1 thumbprint, which can be forged",
		strings.Repeat("AB:", 30) + "AB": "has 62 hexadecimal digits, and a SHA-256 has 64",
		"abc":                            "is no SHA-256 thumbprint",
		strings.Repeat("zz:", 31) + "zz": "is no SHA-256 thumbprint",
		strings.Repeat("00", 32):         "zeros alone",
		" ":                              "has 0 hexadecimal digits",
	} {
		if got, err := pki.ParseFingerprint(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v, want an error with %q", text, got, err, says)
		}
	}
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add(strings.Repeat("AB:", 31) + "cd")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := pki.ParseFingerprint(text)
		if err != nil {
			return
		}
		if again, err := pki.ParseFingerprint(got.String()); err != nil || again != got {
			t.Errorf("%q: %v, then %v, %v", text, got, again, err)
		}
	})
}
