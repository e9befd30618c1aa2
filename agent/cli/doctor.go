package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/kindtable"
)

// Finding is one thing that doctor looked at.
type Finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // "ok", "warning" or "bad"
	Text   string `json:"text,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

const (
	lowDisk  = 100 << 20 // bytes free in the state directory
	oldSkew  = 30 * time.Second
	lookTime = 5 * time.Second // for one check of the network
)

func doctor(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(0, "", func(fs *flag.FlagSet) { format = Output(fs, "text", "json") }); err != nil {
		return err
	}
	var found []Finding
	conf, err := c.load()
	if err != nil {
		return err
	}
	found = append(found, Finding{"configuration", "ok", c.config, ""})
	agent, taken := c.checkAgent(ctx)
	found = append(found, c.checkIdentity(conf, taken), checkDisk(conf), agent)
	if c.program.Check != nil {
		found = append(found, c.program.Check(ctx, c.call())...)
	}
	found = append(found, c.checkPlugins(conf)...)
	for _, du := range conf.DU {
		found = append(found, checkDU(ctx, conf, du)...)
	}
	bad := 0
	rows := [][]string{{"CHECK", "STATE", "FOUND"}}
	for _, f := range found {
		rows = append(rows, []string{f.Check, f.State, f.Text})
		if f.Remedy != "" {
			rows = append(rows, []string{"", "", "-> " + f.Remedy})
		}
		if f.State == "bad" {
			bad++
		}
	}
	if *format == "json" {
		err = c.json(found)
	} else {
		err = c.table(rows)
	}
	if bad > 0 {
		return errors.Join(err, fmt.Errorf("%d checks are bad", bad))
	}
	return err
}

// checkIdentity looks at the certificate, and whether the deployment unit takes it, as
// the daemon has learnt.
func (c *command) checkIdentity(conf core.Config, taken error) Finding {
	id, err := enroll.Load(enroll.PathsUnder(conf.EtcDir))
	if err != nil {
		return Finding{"identity", "bad", err.Error(), "enrol this machine: " + c.program.Name + " enroll --du URL --token-file FILE"}
	}
	if who, err := id.Name(); err != nil || who.Kind != c.program.Kind {
		return Finding{"identity", "bad", fmt.Sprintf("the certificate names %s, no %s", who, c.program.Kind), "enrol again: " + c.program.Name + " enroll --du URL --token-file FILE"}
	}
	cert := id.Certificate()
	if left := time.Until(cert.NotAfter); left <= 0 {
		return Finding{"identity", "bad", "the certificate expired at " + cert.NotAfter.Format(time.RFC3339), "enrol again with a join token made for it"}
	} else if taken != nil {
		return Finding{"identity", "bad", "the deployment unit does not take the certificate: " + taken.Error(), "if that is not intended, enrol again: " + c.program.Name + " enroll --du URL --token-file FILE"}
	} else if left < 24*time.Hour {
		return Finding{"identity", "warning", "the certificate expires at " + cert.NotAfter.Format(time.RFC3339), "it should have renewed itself; see the tunnel"}
	}
	return Finding{"identity", "ok", "certificate until " + cert.NotAfter.Format(time.RFC3339), ""}
}

func checkDisk(conf core.Config) Finding {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(conf.StateDir, &fs); err != nil {
		return Finding{"state directory", "bad", fmt.Sprintf("%s: %v", conf.StateDir, err), "make it, owned by the agent's user"}
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < lowDisk {
		return Finding{"state directory", "bad", fmt.Sprintf("%s has %s free", conf.StateDir, kindtable.Size(free)), "free some space: history is kept there while the tunnel is down"}
	}
	return Finding{"state directory", "ok", conf.StateDir, ""}
}

// checkAgent asks the daemon how it is. taken is why the deployment unit does not take
// its certificate; nil: it does, or nobody knows.
func (c *command) checkAgent(ctx context.Context) (f Finding, taken error) {
	var st localapi.Status
	if err := c.fetch(ctx, "/v1/status", &st); err != nil {
		return Finding{"agent", "bad", err.Error(), fmt.Sprintf("systemctl status %s; journalctl -u %[1]s", c.program.Name)}, nil
	}
	if st.Tunnel.Refused != "" {
		taken = errors.New(st.Tunnel.Refused)
	}
	if told := c.untold(&st); len(told) > 0 {
		return Finding{"agent", "warning", strings.Join(told, "; "), ""}, taken
	}
	return Finding{"agent", "ok", st.Line(), ""}, taken
}

// untold are the problems of which the program's own checks do not tell.
func (c *command) untold(st *localapi.Status) []string {
	if c.program.Tells == nil {
		return st.Problems
	}
	var troubled []string
	for _, s := range st.Sources {
		if s.State == discovery.Degraded || s.State == discovery.Failed {
			troubled = append(troubled, s.Name)
		}
	}
	return slices.DeleteFunc(slices.Clone(st.Problems), func(problem string) bool {
		source, _, _ := strings.Cut(problem, ": ")
		return slices.Contains(troubled, source) && c.program.Tells(source, troubled)
	})
}

// checkDU looks at the way to a deployment unit, step by step.
func checkDU(ctx context.Context, conf core.Config, du string) []Finding {
	u, err := url.Parse(du)
	if err != nil {
		return []Finding{{"deployment unit", "bad", err.Error(), "mend du in the configuration"}}
	}
	proxy, err := enroll.Proxy(enroll.PathsUnder(conf.EtcDir).Proxy, conf.Proxy.URL)
	if err != nil {
		return []Finding{{"proxy", "bad", err.Error(), "mend the proxy's configuration"}}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*lookTime)
	defer cancel()
	var found []Finding
	if proxy == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
			return append(found, Finding{"name " + u.Hostname(), "bad", err.Error(), "check /etc/resolv.conf and the deployment unit's name"})
		}
		found = append(found, Finding{"name " + u.Hostname(), "ok", "", ""})
	}
	tlsConfig := &tls.Config{}
	if id, err := enroll.Load(enroll.PathsUnder(conf.EtcDir)); err == nil {
		tlsConfig = id.TLS()
	}
	client := &http.Client{Transport: &http.Transport{Proxy: proxy, TLSClientConfig: tlsConfig, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, du+"/healthz", nil)
	if err != nil {
		return append(found, Finding{"deployment unit", "bad", err.Error(), ""})
	}
	asked := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return append(found, Finding{"deployment unit " + u.Host, "bad", err.Error(), fmt.Sprintf("outgoing TCP to port %s must be allowed, directly or by a proxy; a changed authority needs a new enrolment", cmp.Or(u.Port(), "443"))})
	}
	_ = resp.Body.Close()
	found = append(found, Finding{"deployment unit " + u.Host, "ok", resp.Status, ""})
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		skew := asked.Add(time.Since(asked) / 2).Sub(theirs)
		f := Finding{"clock", "ok", "", ""}
		if skew.Abs() > oldSkew {
			f = Finding{"clock", "warning", fmt.Sprintf("it is %v off the deployment unit's", skew.Round(time.Second)), "let chrony or systemd-timesyncd set it; certificates depend on it"}
		}
		found = append(found, f)
	}
	return found
}

func config(_ context.Context, c *command) error {
	if err := c.flags(1, "check|show", nil); err != nil {
		return err
	}
	_, whole, err := c.program.Load(c.config)
	if err != nil {
		return err
	}
	switch {
	case len(c.args) == 1 && c.args[0] == "check":
		_, err = fmt.Fprintf(c.out, "%s is good\n", c.config)
		return err
	case len(c.args) == 1 && c.args[0] == "show":
		text, err := daemon.Show(whole)
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	}
	fmt.Fprintln(c.errs, c.program.Name, "config: check or show?")
	return ErrUsage
}
