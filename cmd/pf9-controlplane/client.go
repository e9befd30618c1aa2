package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openpf9/openpf9/controlplane/du"
	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
)

// A client calls the API of the control plane that runs on this machine, with
// the first administrator's token, which only its owner can read. There is one
// way to change state, and it is audited.
type client struct {
	base  string
	token string
	http  *http.Client
	out   io.Writer
}

func newClient(c *du.Config, out io.Writer) (*client, error) {
	token, err := os.ReadFile(filepath.Join(c.State, du.AdminTokenFile))
	if err != nil {
		return nil, fmt.Errorf("read the administrator's token: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(c.State, du.AuthorityFile))
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return &client{
		base:  "https://" + net.JoinHostPort(host, port),
		token: strings.TrimSpace(string(token)),
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: c.FQDN},
		}},
		out: out,
	}, nil
}

// call asks and decodes the answer, or returns the server's words.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the control plane, which must be running: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var problem struct{ Message string }
		if json.Unmarshal(b, &problem) == nil && problem.Message != "" {
			return errors.New(problem.Message)
		}
		return fmt.Errorf("the control plane answers %s", res.Status)
	}
	return json.Unmarshal(b, out)
}

// tokenCommand makes and lists API tokens.
func (c *client) tokenCommand(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want token create or token list")
	}
	switch args[0] {
	case "create":
		f := flag.NewFlagSet("token create", flag.ContinueOnError)
		name := f.String("name", "", "who will use it")
		level := f.String("level", "reader", "reader, operator or admin")
		ttl := f.Duration("ttl", 0, "how long it lives; 0: until it is revoked")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		var made api.NewToken
		in := api.TokenRequest{Name: *name, Level: *level, TTLSeconds: int64(ttl.Seconds())}
		if err := c.call(ctx, http.MethodPost, "/api/v1/api-tokens", in, &made); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.out, made.Secret)
		return err
	case "list":
		var list api.Tokens
		if err := c.call(ctx, http.MethodGet, "/api/v1/api-tokens", nil, &list); err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tNAME\tLEVEL\tCREATED")
		for _, t := range list.Tokens {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, kindtable.Clean(t.Name), t.Level, t.Created.Format(time.RFC3339))
		}
		return w.Flush()
	}
	return fmt.Errorf("token %s: want create or list", args[0])
}

// joinTokenCommand makes join tokens.
func (c *client) joinTokenCommand(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "create" {
		return errors.New("want join-token create")
	}
	f := flag.NewFlagSet("join-token create", flag.ContinueOnError)
	host := f.String("host", "", "only for the host with this id, also if it was enrolled before")
	kind := f.String("kind", "host", "host, gateway or any")
	uses := f.Int("uses", 1, "how many hosts may use it")
	ttl := f.Duration("ttl", 24*time.Hour, "how long it lives")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	var made api.NewJoinToken
	in := api.JoinTokenRequest{Host: wire.HostID(*host), Kind: *kind, Uses: *uses, TTLSeconds: int64(ttl.Seconds())}
	if err := c.call(ctx, http.MethodPost, "/api/v1/join-tokens", in, &made); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.out, made.Secret)
	return err
}
