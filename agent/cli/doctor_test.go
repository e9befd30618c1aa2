package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

func TestDoctorLeavesToTheProgramWhatItTells(t *testing.T) {
	st := &localapi.Status{
		Sources:  []wire.SourceStatus{{Name: "vcenter-lab", State: "degraded"}, {Name: "dns", State: "failed"}, {Name: "os", State: "ok"}},
		Problems: []string{"tunnel: down", "vcenter-lab: degraded: it does not answer", "dns: failed: no zone"},
	}
	if got := (&command{}).untold(st); !slices.Equal(got, st.Problems) {
		t.Errorf("of a program without checks: %q", got)
	}
	c := &command{program: Program{Tells: func(source string, troubled []string) bool {
		return source == "vcenter-lab" && slices.Equal(troubled, []string{"vcenter-lab", "dns"})
	}}}
	if got := c.untold(st); !slices.Equal(got, []string{"tunnel: down", "dns: failed: no zone"}) {
		t.Errorf("left are %q", got)
	}
}

// A certificate that has not ended may be revoked, which the daemon has learnt.
func TestDoctorTellsOfARevokedCertificate(t *testing.T) {
	etc := t.TempDir()
	enrolled(t, enroll.PathsUnder(etc))
	c := &command{program: hostAgent}
	conf := core.Config{EtcDir: etc}
	if f := c.checkIdentity(conf, nil); f.State != "ok" {
		t.Errorf("in force: %+v", f)
	}
	f := c.checkIdentity(conf, errors.New("the certificate was revoked at noon"))
	if f.State != "bad" || !strings.Contains(f.Text, "does not take the certificate: the certificate was revoked at noon") || !strings.Contains(f.Remedy, "pf9-hostagent enroll") {
		t.Errorf("revoked: %+v", f)
	}
}

// enrolled writes an identity.
func enrolled(t *testing.T, p enroll.Paths) {
	t.Helper()
	authority, err := pki.NewAuthority("du.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	const host = "8a6e0804-2bd0-4672-b79d-d97027f9071a"
	cert, err := authority.IssuePeer(pki.Identity{DU: "du.example", Kind: pki.KindHost, Host: host}, &key.PublicKey, time.Now(), 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		p.Cert: pki.EncodeCertificates(cert), p.CA: pki.EncodeCertificates(authority.Cert), p.Key: text, p.HostID: []byte("[hostagent]\nhost_id = " + host + "\n"),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
