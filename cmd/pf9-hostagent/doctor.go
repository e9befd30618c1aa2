package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/agent"
	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/kindtable"
)

// finding is one thing that doctor looked at.
type finding struct {
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
	asJSON := false
	if err := c.flags(0, "", func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "print JSON") }); err != nil {
		return err
	}
	var found []finding
	conf, err := agent.LoadConfig(c.config)
	if err != nil {
		return err
	}
	found = append(found, finding{"configuration", "ok", c.config, ""})
	found = append(found, checkIdentity(conf), checkDisk(conf), c.checkAgent(ctx), checkLibvirt(conf))
	found = append(found, checkPlugins(conf)...)
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
	if asJSON {
		err = c.json(found)
	} else {
		err = c.table(rows)
	}
	if bad > 0 {
		return errors.Join(err, fmt.Errorf("%d checks are bad", bad))
	}
	return err
}

func checkIdentity(conf agent.Config) finding {
	id, err := enroll.Load(enroll.PathsUnder(conf.EtcDir))
	if err != nil {
		return finding{"identity", "bad", err.Error(), "enrol the host: pf9-hostagent enroll --du URL --token-file FILE"}
	}
	cert := id.Certificate()
	if left := time.Until(cert.NotAfter); left <= 0 {
		return finding{"identity", "bad", "the certificate expired at " + cert.NotAfter.Format(time.RFC3339), "enrol again with a join token made for this host"}
	} else if left < 24*time.Hour {
		return finding{"identity", "warning", "the certificate expires at " + cert.NotAfter.Format(time.RFC3339), "it should have renewed itself; see the tunnel"}
	}
	return finding{"identity", "ok", "certificate until " + cert.NotAfter.Format(time.RFC3339), ""}
}

func checkDisk(conf agent.Config) finding {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(conf.StateDir, &fs); err != nil {
		return finding{"state directory", "bad", fmt.Sprintf("%s: %v", conf.StateDir, err), "make it, owned by the agent's user"}
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < lowDisk {
		return finding{"state directory", "bad", fmt.Sprintf("%s has %s free", conf.StateDir, kindtable.Size(free)), "free some space: history is kept there while the tunnel is down"}
	}
	return finding{"state directory", "ok", conf.StateDir, ""}
}

func (c *command) checkAgent(ctx context.Context) finding {
	var st localapi.Status
	if err := c.fetch(ctx, "/v1/status", &st); err != nil {
		return finding{"agent", "bad", err.Error(), "systemctl status pf9-hostagent; journalctl -u pf9-hostagent"}
	}
	if len(st.Problems) > 0 {
		return finding{"agent", "warning", strings.Join(st.Problems, "; "), ""}
	}
	return finding{"agent", "ok", st.Line(), ""}
}

func checkLibvirt(conf agent.Config) finding {
	sockets := []string{conf.Libvirt.Socket}
	if sockets[0] == "" {
		sockets = []string{"/run/libvirt/virtqemud-sock-ro", "/run/libvirt/libvirt-sock-ro"}
	}
	for _, s := range sockets {
		conn, err := net.DialTimeout("unix", s, lookTime)
		if err == nil {
			_ = conn.Close()
			return finding{"libvirt", "ok", s, ""}
		}
		if errors.Is(err, os.ErrPermission) {
			return finding{"libvirt", "bad", err.Error(), "the agent's user needs libvirt's read-only socket: install the package's polkit rule"}
		}
	}
	return finding{"libvirt", "warning", "no socket answers: " + strings.Join(sockets, ", "), "no VMs are discovered; install libvirt, or start it: systemctl start libvirtd"}
}

// checkDU looks at the way to a deployment unit, step by step.
func checkDU(ctx context.Context, conf agent.Config, du string) []finding {
	u, err := url.Parse(du)
	if err != nil {
		return []finding{{"deployment unit", "bad", err.Error(), "mend du in the configuration"}}
	}
	proxy, err := enroll.Proxy(enroll.PathsUnder(conf.EtcDir).Proxy, conf.Proxy.URL)
	if err != nil {
		return []finding{{"proxy", "bad", err.Error(), "mend the proxy's configuration"}}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*lookTime)
	defer cancel()
	var found []finding
	if proxy == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
			return append(found, finding{"name " + u.Hostname(), "bad", err.Error(), "check /etc/resolv.conf and the deployment unit's name"})
		}
		found = append(found, finding{"name " + u.Hostname(), "ok", "", ""})
	}
	tlsConfig := &tls.Config{}
	if id, err := enroll.Load(enroll.PathsUnder(conf.EtcDir)); err == nil {
		tlsConfig = id.TLS()
	}
	client := &http.Client{Transport: &http.Transport{Proxy: proxy, TLSClientConfig: tlsConfig, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, du+"/healthz", nil)
	if err != nil {
		return append(found, finding{"deployment unit", "bad", err.Error(), ""})
	}
	asked := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return append(found, finding{"deployment unit " + u.Host, "bad", err.Error(), "outgoing TCP to port 443 must be allowed, directly or by a proxy; a changed authority needs a new enrolment"})
	}
	_ = resp.Body.Close()
	found = append(found, finding{"deployment unit " + u.Host, "ok", resp.Status, ""})
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		skew := asked.Add(time.Since(asked) / 2).Sub(theirs)
		f := finding{"clock", "ok", "", ""}
		if skew.Abs() > oldSkew {
			f = finding{"clock", "warning", fmt.Sprintf("it is %v off the deployment unit's", skew.Round(time.Second)), "let chrony or systemd-timesyncd set it; certificates depend on it"}
		}
		found = append(found, f)
	}
	return found
}

func config(_ context.Context, c *command) error {
	if err := c.flags(1, "check|show", nil); err != nil {
		return err
	}
	conf, err := agent.LoadConfig(c.config)
	if err != nil {
		return err
	}
	switch {
	case len(c.args) == 1 && c.args[0] == "check":
		_, err = fmt.Fprintf(c.out, "%s is good\n", c.config)
		return err
	case len(c.args) == 1 && c.args[0] == "show":
		text, err := daemon.Show(conf)
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	}
	fmt.Fprintln(c.errs, "pf9-hostagent config: check or show?")
	return errUsage
}
