// Package status collects how a gateway appliance is and writes it as plain
// text: for pf9-gateway status, and for the first page of the console. It asks
// the daemon over its socket and looks at the machine itself, so that a page is
// there also while the daemon is not. It changes nothing.
package status

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/gateway/firstboot/netconf"
	"github.com/openpf9/openpf9/gateway/firstboot/reach"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	apiLimit    = 5 * time.Second
	answerBytes = 4 << 20
)

// Reading is the state of a vCenter that is read for the first time, of which
// nothing has failed.
const Reading = "reading"

// Lack is what one thing does not work without.
type Lack struct {
	User       string   `json:"user"`     // whose account it is
	Function   string   `json:"function"` // "power"
	Privileges []string `json:"privileges"`
	On         string   `json:"on"`      // "/DC0/vm and 2 more"
	Without    string   `json:"without"` // what does not work, for people
}

// Text is the lack in a sentence, without its remedy.
func (l Lack) Text() string {
	return fmt.Sprintf("%s: %s lacks %s on %s", l.Without, l.User, strings.Join(l.Privileges, ", "), l.On)
}

// Word is the state with how far it is.
func (v VCenter) Word() string {
	if v.State == Reading && v.Read > 0 {
		return fmt.Sprintf("%s, %d objects so far", v.State, v.Read)
	}
	return v.State
}

// Trouble is what is wrong, in one line; empty: nothing.
func (v VCenter) Trouble() string {
	text := v.Problem
	if len(v.Missing) > 0 {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("%s (pf9-gateway doctor shows all that is missing)", v.Missing[0].Text())
	}
	return text
}

// VCenter is one vCenter as the daemon's GET /v1/vcenters lists it. A daemon
// without that route is asked for its sources: those whose names begin with
// "vcenter" are shown.
type VCenter struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // "vc.example:443"
	// State is Reading, or as of a source "ok", "degraded" (it cannot be followed,
	// and what was read last is in force) or "failed" (nothing was ever read).
	State   string `json:"state"`
	Problem string `json:"problem,omitempty"` // address, cause and remedy
	// StaleSince is until when what is known was true; zero: it is now, or nothing
	// is known.
	StaleSince time.Time      `json:"stale_since,omitzero"`
	Read       int            `json:"read,omitempty"`         // objects so far, while everything is read
	Since      time.Time      `json:"session_since,omitzero"` // of the session; zero: none, or nobody knows whether it lives
	Counts     map[string]int `json:"counts,omitempty"`       // objects by kind
	Changed    time.Time      `json:"changed,omitzero"`       // when something last changed; zero: not since it was read
	Pinned     string         `json:"thumbprint,omitempty"`   // of the certificate that is trusted
	// Missing is what the accounts lack, and Checked when that was looked at last;
	// zero: not yet.
	Missing []Lack    `json:"missing_privileges,omitempty"`
	Checked time.Time `json:"privileges_checked,omitzero"`
	// Control is how much the deployment unit may do there: "open", "read-only" or
	// "off"; empty: nothing, for control is not delegated.
	Control string `json:"control,omitempty"`
	// Broker is where programs on this machine reach it; empty: nowhere.
	Broker string `json:"broker,omitempty"`
	// Kept are the VMs that are never delegated, and why: "/dc/vm/gw (this gateway)".
	Kept []string `json:"never_delegated,omitempty"`
}

// Options say where to look.
type Options struct {
	Store  settings.Store
	Paths  enroll.Paths
	Socket string // the daemon's
	// Configured reads the daemon's configuration, which changes while the console
	// runs; nil: there is none.
	Configured func() Configured
	// Probe also asks the deployment unit for the time, over the network.
	Probe bool
}

// Report is the appliance at one time. What is not known is empty, and Problems
// say why.
type Report struct {
	At          time.Time
	Hostname    string
	Addresses   []string          // "eth0 192.0.2.10/24"
	Network     string            // what is set
	Settings    settings.Settings // and where they say nothing, the configuration
	Agent       localapi.Status
	AgentError  string // why the daemon did not answer; empty: it did
	VCenters    []VCenter
	LastChange  string // of the settings
	Pending     string // a change that waits for confirmation
	Fingerprint string // SHA-256 of the gateway's certificate
	Expires     time.Time
	DiskFree    uint64 // bytes
	DiskTotal   uint64
	Clock       Clock
	Problems    []string
}

// Clock compares our clock with the deployment unit's.
type Clock struct {
	Skew    time.Duration // that ours is ahead
	Known   bool
	Problem string // why it is not known, or what is wrong with it
}

// Collect looks at everything. Without a probe it takes no longer than a few
// seconds. A part that fails leaves the others alone.
func Collect(ctx context.Context, o Options) Report {
	r := Report{At: time.Now()}
	add := func(err error) {
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
	}
	var err error
	r.Hostname, err = os.Hostname()
	add(err)
	r.Addresses, err = addresses()
	add(err)
	add(r.state(o))
	conf := o.configured()
	r.Settings = conf.Over(r.Settings)
	add(r.certificate(o.Paths.Cert))
	add(r.disk(o.Store.Dir))
	if r.daemon(ctx, o.Socket); r.AgentError != "" {
		r.VCenters = conf.VCenters
	}
	if o.Probe {
		r.Clock = LookAtClock(ctx, o, r.Settings)
	}
	return r
}

// addresses are those by which others reach the machine.
func addresses() ([]string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var out []string
	for _, l := range links {
		as, err := l.Addrs()
		if err != nil || l.Flags&net.FlagLoopback != 0 || l.Flags&net.FlagUp == 0 {
			continue // an interface may go while it is looked at
		}
		for _, a := range as {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				out = append(out, l.Name+" "+p.String())
			}
		}
	}
	return out, nil
}

func (r *Report) state(o Options) error {
	st, err := o.Store.Load()
	if errors.Is(err, os.ErrPermission) {
		return errors.New("the appliance's settings are for root to see")
	}
	if err != nil {
		return err
	}
	r.Settings, r.Network = st.Settings, netconf.Describe(st.Settings)
	r.Problems = append(r.Problems, st.Problems...)
	if st.Enrolled.Error != "" {
		r.Problems = append(r.Problems, "enrolment: "+st.Enrolled.Error)
	}
	if n := len(st.Changes); n > 0 {
		c := st.Changes[n-1]
		r.LastChange = c.At.Format(time.DateTime) + " UTC, " + c.What + ": " + c.Outcome
	}
	if p := st.Pending; p != nil {
		r.Pending = p.What + ", since " + p.Began.Format(time.TimeOnly) + " UTC"
	}
	return nil
}

func (r *Report) certificate(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil // not enrolled, which the page says
	}
	if err != nil {
		return fmt.Errorf("read the gateway's certificate: %w", err)
	}
	certs, err := pki.ParseCertificates(b)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	sum := sha256.Sum256(certs[0].Raw)
	r.Fingerprint, r.Expires = pki.Colons(sum[:]), certs[0].NotAfter
	return nil
}

func (r *Report) disk(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	r.DiskFree, r.DiskTotal = fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize)
	return nil
}

// daemon asks the daemon for what it knows.
func (r *Report) daemon(ctx context.Context, socket string) {
	ctx, cancel := context.WithTimeout(ctx, apiLimit)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	if err := get(ctx, client, "/v1/status", &r.Agent); err != nil {
		r.AgentError = err.Error()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			r.AgentError = "it is not running: nobody listens on " + socket
		} else if errors.Is(err, context.DeadlineExceeded) {
			r.AgentError = fmt.Sprintf("it has not answered on %s within %v: it hangs, or the machine is too busy; systemctl status pf9-gateway says more, systemctl restart pf9-gateway starts it again", socket, apiLimit)
		}
		return
	}
	problems := slices.Clone(r.Agent.Problems)
	if err := get(ctx, client, "/v1/vcenters", &r.VCenters); err != nil {
		r.VCenters = fromSources(r.Agent)
	}
	for _, v := range r.VCenters { // which say it themselves
		problems = slices.DeleteFunc(problems, func(p string) bool {
			return strings.HasPrefix(p, "vcenter-"+v.Name+": ") || v.Problem != "" && strings.HasPrefix(p, inventory.VCenterTagModule(v.Name)+": ")
		})
	}
	r.Problems = append(r.Problems, problems...)
	slices.SortFunc(r.VCenters, func(a, b VCenter) int { return strings.Compare(a.Name, b.Name) })
}

func fromSources(st localapi.Status) []VCenter {
	var out []VCenter
	for _, s := range st.Sources {
		if strings.HasPrefix(s.Name, "vcenter") {
			out = append(out, VCenter{Name: s.Name, State: s.State, Problem: s.Reason, Counts: map[string]int{"objects": s.Count}, Changed: s.Listed})
		}
	}
	return out
}

func get(ctx context.Context, client *http.Client, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s with %s", path, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, answerBytes)).Decode(out)
}

// LookAtClock asks the deployment unit of the settings, or else of the
// configuration, what time it is. If it does not answer that takes half a minute.
func LookAtClock(ctx context.Context, o Options, s settings.Settings) Clock {
	s = o.configured().Over(s)
	if s.DU == "" {
		return Clock{}
	}
	a, err := reach.Unit{URL: s.DU, Pin: reach.PinOf(o.Paths.CA, s.Pin), Proxy: s.ProxyURL()}.Ask(ctx)
	c := Clock{Skew: a.Skew, Known: !a.Date.IsZero()}
	if err == nil {
		err = a.CheckSkew()
	}
	if err != nil {
		c.Problem = err.Error()
	}
	return c
}
