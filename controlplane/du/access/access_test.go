package access_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/controlplane/du/access"
	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/sqldb"
)

func open(t *testing.T, file string) *access.Tokens {
	t.Helper()
	db, err := sqldb.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), access.Schema()); err != nil {
		t.Fatal(err)
	}
	tokens, err := access.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// call authenticates a request with these headers.
func call(tokens *access.Tokens, headers ...string) (httpapi.Caller, error) {
	r := httptest.NewRequest("GET", "/", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return tokens.Authenticate(r)
}

func TestAuthenticate(t *testing.T) {
	tokens := open(t, filepath.Join(t.TempDir(), "db"))
	made, err := tokens.Create(t.Context(), api.TokenRequest{Name: "grafana", Level: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := tokens.Create(t.Context(), api.TokenRequest{Name: "gone", Level: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.Revoke(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	wrong := made.Secret[:len(made.Secret)-1] + map[bool]string{true: "b", false: "a"}[strings.HasSuffix(made.Secret, "a")]
	tests := []struct {
		name    string
		headers []string
		want    string // in the error; "" for accepted
	}{
		{"bearer", []string{"Authorization", "Bearer " + made.Secret}, ""},
		{"OpenStack's header", []string{"X-Auth-Token", made.Secret}, ""},
		{"none", nil, "no API token"},
		{"basic", []string{"Authorization", "Basic eDp5"}, "not of the form"},
		{"rubbish", []string{"X-Auth-Token", "hello"}, "not a token"},
		{"wrong secret", []string{"X-Auth-Token", wrong}, "not known here"},
		{"revoked", []string{"X-Auth-Token", gone.Secret}, "not known here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := call(tokens, test.headers...)
			if test.want == "" && (err != nil || c.Name != "grafana" || c.Access != httpapi.Reader) {
				t.Errorf("Authenticate = %v, %v", c, err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Authenticate = %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestTokensExpire(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	tokens := open(t, file)
	made, err := tokens.Create(t.Context(), api.TokenRequest{Name: "short", Level: "reader", TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, file) // after a restart
	if _, err := call(again, "X-Auth-Token", made.Secret); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(made.Expires) + time.Second)
		if _, err := call(again, "X-Auth-Token", made.Secret); err == nil || !strings.Contains(err.Error(), "expired at") {
			t.Errorf("Authenticate = %v, want expired", err)
		}
	})
}

func TestFirstAdminIsMadeOnceAndNeverLost(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "admin.token")
	tokens := open(t, filepath.Join(dir, "db"))
	for range 2 {
		if err := tokens.EnsureAdmin(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	list := tokens.List().Tokens
	if len(list) != 1 {
		t.Fatalf("%d tokens, want the first admin's", len(list))
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := call(tokens, "X-Auth-Token", string(secret)); err != nil || c.Access != httpapi.Admin {
		t.Fatalf("the file's token gives %v, %v", c, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if err := tokens.Revoke(t.Context(), list[0].ID); err == nil {
		t.Error("the last admin token could be revoked")
	}
	if _, err := tokens.Create(t.Context(), api.TokenRequest{Name: "me", Level: "admin"}); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Revoke(t.Context(), list[0].ID); err != nil {
		t.Errorf("revoke with another admin left: %v", err)
	}
}

func TestNobodyIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "db")
	works := func(tokens *access.Tokens, file string) {
		t.Helper()
		secret, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := call(tokens, "X-Auth-Token", string(secret)); err != nil || c.Access != httpapi.Admin {
			t.Errorf("the file's token gives %v, %v", c, err)
		}
	}
	tokens := open(t, db)
	if err := tokens.EnsureAdmin(t.Context(), filepath.Join(dir, "missing", "token")); err == nil {
		t.Fatal("no error though the file cannot be written")
	}
	if n := len(tokens.List().Tokens); n != 0 {
		t.Errorf("%d tokens that nobody knows", n)
	}
	file := filepath.Join(dir, "token")
	if err := tokens.EnsureAdmin(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	works(tokens, file)
	if err := os.Remove(file); err != nil { // lost
		t.Fatal(err)
	}
	if err := tokens.EnsureAdmin(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	works(tokens, file)
}

func TestCreateRefuses(t *testing.T) {
	tokens := open(t, filepath.Join(t.TempDir(), "db"))
	for name, q := range map[string]api.TokenRequest{
		"no name":      {Level: "reader"},
		"odd name":     {Name: "a\nb", Level: "reader"},
		"no level":     {Name: "a"},
		"open level":   {Name: "a", Level: "open"},
		"negative ttl": {Name: "a", Level: "reader", TTLSeconds: -1},
	} {
		if _, err := tokens.Create(t.Context(), q); err == nil {
			t.Errorf("%s: a token was made", name)
		}
	}
}
