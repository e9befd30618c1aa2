package paired_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/paired"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/internal/wire"
)

func TestWhatAPersonIsAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		files paired.Files
		r     wire.PairingRequest
		lacks []string
	}{
		"a new one":             {r: wire.PairingRequest{Address: "vc"}, lacks: []string{"--thumbprint", "--user", "--password-file"}},
		"all is given":          {files: paired.Files{Password: "f"}, r: wire.PairingRequest{Address: "vc", Thumbprint: pin, User: "gw"}},
		"a known one":           {},
		"its certificate":       {r: wire.PairingRequest{Thumbprint: pin}},
		"its account":           {r: wire.PairingRequest{User: "gw"}, lacks: []string{"--password-file"}},
		"its password":          {files: paired.Files{Password: "f"}},
		"an account to act by":  {r: wire.PairingRequest{ControlUser: "act"}, lacks: []string{"--control-password-file"}},
		"and a password for it": {files: paired.Files{ControlPassword: "f"}, r: wire.PairingRequest{ControlUser: "act"}},
	} {
		if d := cmp.Diff(test.lacks, test.files.Lacks(&test.r)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestNobodyIsAskedInAScript(t *testing.T) {
	looked := func(context.Context, string) (wire.PairingCertificate, error) {
		return wire.PairingCertificate{}, errors.New("the certificate was looked at")
	}
	ask := &tty.Asker{Path: filepath.Join(t.TempDir(), "none"), In: strings.NewReader("hush\n")}
	err := paired.Files{}.Ask(t.Context(), ask, looked, &wire.PairingRequest{Address: "vc", ControlUser: "act"})
	if err == nil || !strings.Contains(err.Error(), "give --thumbprint, --user, --password-file and --control-password-file;") {
		t.Errorf("Ask: %v", err)
	}
	r := wire.PairingRequest{Address: "vc", Thumbprint: pin, User: "gw"}
	if err := (paired.Files{Password: "-"}).Ask(t.Context(), ask, looked, &r); err != nil || r.Password != "hush" {
		t.Errorf("Ask: %v, password %q", err, r.Password)
	}
	if err := (paired.Files{Password: "-"}).Ask(t.Context(), ask, looked, &r); err == nil || !strings.Contains(err.Error(), "the password: standard input") {
		t.Errorf("Ask of an empty input: %v", err)
	}
}
