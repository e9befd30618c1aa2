package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
)

type pet struct {
	Name string    `json:"name"`
	Legs int       `json:"legs,omitempty"`
	Born time.Time `json:"born,omitzero"`
	Mate *pet      `json:"mate,omitempty"`
}

// server serves a small API; a token is the level's name.
func server(t *testing.T, calls *[]httpapi.Call) *httptest.Server {
	t.Helper()
	fail := func(err error) func(http.ResponseWriter, *http.Request) error {
		return func(http.ResponseWriter, *http.Request) error { return err }
	}
	routes := []httpapi.Route{
		{Pattern: "GET /pets/{name...}", Access: httpapi.Reader, Summary: "One pet.", Response: pet{}, Query: []httpapi.Param{{Name: "legs"}}, Do: func(w http.ResponseWriter, r *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, pet{Name: r.PathValue("name")})
		}},
		{Pattern: "POST /pets", Access: httpapi.Operator, Audit: "pet.create", Summary: "Make a pet.", Request: pet{}, Response: pet{}, Do: func(w http.ResponseWriter, r *http.Request) error {
			var p pet
			if err := httpapi.ReadJSON(r, &p); err != nil {
				return err
			}
			return httpapi.WriteJSON(w, http.StatusCreated, p)
		}},
		{Pattern: "GET /fail/absent", Do: fail(fmt.Errorf("pet: %w", fs.ErrNotExist))},
		{Pattern: "GET /fail/secret", Do: fail(errors.New("password is hunter2"))},
		{Pattern: "GET /fail/busy", Do: fail(&httpapi.Error{Status: 503, Message: "busy", RetryAfter: 1500 * time.Millisecond})},
		{Pattern: "GET /fail/panic", Do: func(http.ResponseWriter, *http.Request) error { panic("oh") }},
	}
	s := httptest.NewServer(httpapi.New(routes, httpapi.Options{
		Title: "pets", Version: "1",
		Authenticate: func(r *http.Request) (httpapi.Caller, error) {
			for _, a := range []httpapi.Access{httpapi.Reader, httpapi.Operator, httpapi.Admin} {
				if r.Header.Get("Authorization") == "Bearer "+a.String() {
					return httpapi.Caller{Name: a.String(), Access: a}, nil
				}
			}
			return httpapi.Caller{}, errors.New("the token is not known")
		},
		Audit: func(_ context.Context, c httpapi.Call) { *calls = append(*calls, c) },
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAnswers(t *testing.T) {
	var calls []httpapi.Call
	s := server(t, &calls)
	tests := []struct {
		name, token, method, path, body string
		status                          int
		says                            string
	}{
		{"read", "reader", "GET", "/pets/a/b", "", 200, `"name":"a/b"`},
		{"more than enough access", "admin", "GET", "/pets/a", "", 200, ""},
		{"no token", "", "GET", "/pets/a", "", 401, "not known"},
		{"not enough access", "reader", "POST", "/pets", "{}", 403, "needs the level operator"},
		{"declared parameter", "reader", "GET", "/pets/a?legs=4", "", 200, ""},
		{"undeclared parameter", "reader", "GET", "/pets/a?wings=2", "", 400, `no parameter \"wings\" here; there are: legs`},
		{"create", "operator", "POST", "/pets", `{"name":"x"}`, 201, `"x"`},
		{"unknown field", "operator", "POST", "/pets", `{"nmae":"x"}`, 400, `unknown field \"nmae\"`},
		{"no body", "operator", "POST", "/pets", ``, 400, "no body"},
		{"two documents", "operator", "POST", "/pets", `{} {}`, 400, "has more"},
		{"huge body", "operator", "POST", "/pets", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "1048576 bytes"},
		{"absent", "", "GET", "/fail/absent", "", 404, "pet"},
		{"internal", "", "GET", "/fail/secret", "", 500, "internal error"},
		{"busy", "", "GET", "/fail/busy", "", 503, "busy"},
		{"panic", "", "GET", "/fail/panic", "", 500, "internal error"},
		{"no such path", "", "GET", "/nowhere", "", 404, "/nowhere"},
		{"no such method", "", "DELETE", "/pets", "", 405, "POST"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, s.URL+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.token != "" {
				req.Header.Set("Authorization", "Bearer "+test.token)
			}
			rec, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Body.Close()
			var raw json.RawMessage
			if err := json.NewDecoder(rec.Body).Decode(&raw); err != nil {
				t.Fatal(err)
			}
			if rec.StatusCode != test.status || !strings.Contains(string(raw), test.says) {
				t.Errorf("got %d %s, want %d with %q", rec.StatusCode, raw, test.status, test.says)
			}
			if strings.Contains(string(raw), "hunter2") {
				t.Errorf("the client sees the log's text: %s", raw)
			}
			if test.status < 400 {
				return
			}
			var p httpapi.Problem
			if err := json.Unmarshal(raw, &p); err != nil || p.Status != test.status || p.Message == "" || p.Message != p.Detail {
				t.Errorf("not a problem document with a message: %s", raw)
			}
			if ct := rec.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			if test.name == "busy" && rec.Header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After %q, want 2", rec.Header.Get("Retry-After"))
			}
		})
	}
	audited := 0
	for _, c := range calls {
		if c.Action == "pet.create" {
			audited++
		}
	}
	if audited != 6 {
		t.Errorf("%d calls of the audited route recorded, want 6", audited)
	}
}

func TestDocumentDescribesTheRoutes(t *testing.T) {
	var calls []httpapi.Call
	s := server(t, &calls)
	resp, err := s.Client().Get(s.URL + httpapi.DocumentPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage
				Required   []string
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || doc.Paths["/pets/{name}"]["get"] == nil || doc.Paths["/pets"]["post"] == nil {
		t.Errorf("document lacks routes: %v", doc.Paths)
	}
	got := doc.Components.Schemas["pet"]
	if len(got.Properties) != 4 || len(got.Required) != 1 || got.Required[0] != "name" {
		t.Errorf("schema of pet = %v, want four properties, name required", got)
	}
}
