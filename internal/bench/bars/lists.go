package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// listQueries are the filters of lists, and how many of 100 VMs match.
var listQueries = []struct {
	what  string
	query url.Values
	match int
}{
	{"by state", url.Values{"state": {inventory.VMRunning}, "limit": {"100"}}, 100},
	{"by name", url.Values{"name": {"vm07.*"}, "limit": {"100"}}, 100},
	{"of a cluster that none is in", url.Values{"cluster": {"prod"}, "limit": {"100"}}, 0},
	{"of a vCenter that has none", url.Values{"source": {inventory.VCenterModule("east")}, "limit": {"100"}}, 0},
	{"that nothing matches", url.Values{"state": {inventory.VMCrashed}, "limit": {"100"}}, 0},
}

const listTimes = 300

// lists times pages of a long list, from the request until the whole answer is
// read. The client is a process of its own: this one has the simulated hosts,
// whose garbage is no part of the answer.
func lists(ctx context.Context, r *run, cp *sandbox.ControlPlane) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, listClient, cp.URL, cp.CAFile)
	cmd.Env = append(os.Environ(), "PF9_TOKEN="+cp.AdminToken)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("client of lists: %w", err)
	}
	var took [][]time.Duration
	if err := json.Unmarshal(out, &took); err != nil {
		return err
	}
	for i, q := range listQueries {
		p50, last := p99(took[i])
		most(r, fmt.Sprintf("list of 100 VMs %s over HTTPS, 99th percentile of %d", q.what, listTimes), last, 10*time.Millisecond, "")
		note(r, "  median", p50, "")
	}
	return nil
}

// listClient is the argument with which this program is the client of lists.
const listClient = "list-client"

// runListClient writes how long each request took, by query, as JSON.
func runListClient(base, caFile, token string, w io.Writer) error {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	took := make([][]time.Duration, len(listQueries))
	for i, q := range listQueries {
		target := base + "/api/v1/resources/" + inventory.KindVM + "?" + q.query.Encode()
		for range listTimes {
			began := time.Now()
			answer, err := fetch(c, target, token)
			took[i] = append(took[i], time.Since(began))
			var page api.Resources
			if err == nil {
				err = json.Unmarshal(answer, &page)
			}
			if err == nil && len(page.Items) != q.match {
				err = fmt.Errorf("%d VMs, want %d", len(page.Items), q.match)
			}
			if err != nil {
				return fmt.Errorf("list %s: %w", q.what, err)
			}
		}
	}
	return json.NewEncoder(w).Encode(took)
}

func fetch(c *http.Client, target, token string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}
