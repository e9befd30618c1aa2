package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/turns"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// How long an agent may take to begin its answer. It answers what it is asked from
// memory; what it is to do may take it longer.
const (
	lookLimit = 10 * time.Second
	actLimit  = 30 * time.Second
)

// ask calls the running agent. The caller closes the body.
func (c *command) ask(ctx context.Context, method, path string) (*http.Response, error) {
	conf, err := c.load()
	if err != nil {
		return nil, err
	}
	limit := actLimit
	if method == http.MethodGet {
		limit = c.lookLimit
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: limit,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", conf.Socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no agent listens on %s; start it: systemctl start %s", conf.Socket, c.program.Name)
	case timedOut(err) && ctx.Err() == nil:
		return nil, fmt.Errorf("the agent that listens on %s has not answered within %v: it hangs, or the machine is too busy; systemctl status %s says more, systemctl restart %[3]s starts it again", conf.Socket, limit, c.program.Name)
	case err != nil:
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var problem struct{ Message string }
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&problem) != nil || problem.Message == "" {
		problem.Message = resp.Status
	}
	return nil, errors.New(problem.Message)
}

func timedOut(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func (c *command) fetch(ctx context.Context, path string, out any) error {
	resp, err := c.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(out)
}

func (c *command) json(v any) error {
	e := json.NewEncoder(kindtable.JSON(c.out))
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows in columns; the first row is the heading.
func (c *command) table(rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = kindtable.Clean(row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func status(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(0, "", func(fs *flag.FlagSet) { format = Output(fs, "text", "json") }); err != nil {
		return err
	}
	var st localapi.Status
	if err := c.fetch(ctx, "/v1/status", &st); err != nil {
		return err
	}
	if *format == "json" {
		return c.json(st)
	}
	tunnel := "down: " + st.Tunnel.Problem
	if st.Tunnel.Connected {
		tunnel = fmt.Sprintf("up to %s since %s, round trip %s", st.Tunnel.Endpoint, st.Tunnel.Since.Format(time.RFC3339), st.Tunnel.RTT)
	}
	rows := [][]string{{"version", st.Version}, {"host", st.Host}, {"running since", st.Started.Format(time.RFC3339)}, {"tunnel", tunnel}}
	if !st.Expires.IsZero() {
		rows = append(rows, []string{"certificate", "until " + st.Expires.Format(time.RFC3339)})
	}
	if st.Tunnel.Unsent > 0 {
		rows = append(rows, []string{"unsent events", fmt.Sprint(st.Tunnel.Unsent)})
	}
	kinds := make([]string, 0, len(st.Kinds))
	for k, n := range st.Kinds {
		if n > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %d", k, n))
		}
	}
	slices.Sort(kinds)
	rows = append(rows, []string{"discovered", strings.Join(kinds, ", ")})
	for _, p := range st.Problems {
		rows = append(rows, []string{"problem", p})
	}
	return c.table(rows)
}

func sources(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(0, "", func(fs *flag.FlagSet) { format = output(fs) }); err != nil {
		return err
	}
	var list []wire.SourceStatus
	if err := c.fetch(ctx, "/v1/sources", &list); err != nil {
		return err
	}
	if *format == "json" {
		return c.json(list)
	}
	rows := [][]string{{"SOURCE", "STATE", "COUNT", "LISTED", "REASON"}}
	for _, s := range list {
		listed := "never"
		if !s.Listed.IsZero() {
			listed = time.Since(s.Listed).Round(time.Second).String() + " ago"
		}
		rows = append(rows, []string{s.Name, s.State, fmt.Sprint(s.Count), listed, s.Reason})
	}
	return c.table(rows)
}

func stats(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(0, "", func(fs *flag.FlagSet) { format = output(fs) }); err != nil {
		return err
	}
	var list []inventory.VMStats
	if err := c.fetch(ctx, "/v1/stats/vms", &list); err != nil {
		return err
	}
	if *format == "json" {
		return c.json(list)
	}
	rows := [][]string{{"NAME", "STATE", "VCPUS", "CPU TIME", "MEMORY", "RESIDENT"}}
	for _, s := range list {
		rows = append(rows, []string{s.Name, s.State, fmt.Sprint(s.VCPUs), time.Duration(s.CPUTimeNanoseconds).Round(time.Second).String(), kindtable.Size(s.MemoryBytes), kindtable.Size(s.ResidentBytes)})
	}
	return c.table(rows)
}

func act(ctx context.Context, c *command) error {
	if err := c.flags(0, "", nil); err != nil {
		return err
	}
	resp, err := c.ask(ctx, http.MethodPost, "/v1/"+c.name)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func watch(ctx context.Context, c *command) error {
	asJSON := false
	if err := c.flags(1, "[KIND]", func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "print JSON lines") }); err != nil {
		return err
	}
	path, kind := "/v1/watch", ""
	if len(c.args) == 1 {
		kinds, err := c.kindsOf(ctx, c.args[0])
		if err != nil {
			return err
		}
		if len(kinds) == 1 {
			kind = kinds[0]
			path += "?kind=" + url.QueryEscape(kind)
		}
	}
	resp, err := c.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines, tracker := json.NewDecoder(resp.Body), turns.Tracker{Kind: kind}
	for {
		var change localapi.Change
		if err := lines.Decode(&change); err != nil {
			return fmt.Errorf("the agent has ended the watch: %w", err)
		}
		if asJSON {
			if err := json.NewEncoder(kindtable.JSON(c.out)).Encode(change); err != nil {
				return err
			}
			continue
		}
		if change.Synced {
			fmt.Fprintf(c.out, "%d resources; changes follow\n", len(change.Upserts))
			change.Upserts = nil // whoever wants to see them has get
		}
		stamp := time.Now().Format("15:04:05.000")
		for _, turn := range tracker.Take(change.Sources) {
			fmt.Fprintln(c.out, stamp, turn.Word(), kindtable.Clean(turn.Line("")))
		}
		for _, r := range change.Upserts {
			state, detail := describe(r)
			fmt.Fprintln(c.out, stamp, r.Kind, kindtable.Clean(r.Name), kindtable.Clean(state), kindtable.Clean(detail))
		}
		for _, k := range change.Deletes {
			fmt.Fprintln(c.out, stamp, k.Kind, kindtable.Clean(k.ID), "deleted")
		}
	}
}
