// Package firstboot is what the gateway appliance does at each boot, and for the
// first time at its first: it reads what the administrator typed at the
// deployment of the OVA, makes the name, the network, the time servers and the
// proxy accordingly, and trades the one-time join token for an identity. It runs
// to its end; the console and the daemon are other processes.
//
// A boot with the same properties changes nothing. Of changed properties only
// those that changed are applied, so that what was set on the console stays.
package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/gateway/firstboot/netconf"
	"github.com/openpf9/openpf9/gateway/firstboot/ovfenv"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
)

const lockLimit = netconf.Window + 2*time.Minute // a change, and its way back

// Options say where things are. The zero value is the appliance.
type Options struct {
	Root  string // before all paths; empty: /
	Etc   string // "/etc/pf9"
	State string // "/var/lib/pf9/appliance", root's alone, unlike the daemon's
	// Config is the daemon's file, beside which enrolment writes the deployment
	// unit's address; "/etc/pf9/gateway.conf".
	Config string
	// Socket is the daemon's, which is told after enrolment;
	// "/run/pf9-gateway/agent.sock".
	Socket string
	Link   string // network interface; empty: the first card
	// Configured reads what Config has of what may also be typed at the deployment;
	// nil: nothing.
	Configured func() status.Configured
	// Sources are where the OVF environment is looked for; nil: [ovfenv.Usual].
	Sources *ovfenv.Sources
	// EnrolFor is how long enrolment is tried; 0 means 10 minutes. The next boot
	// tries again.
	EnrolFor time.Duration
	Log      *slog.Logger // nil discards
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&o.Etc, "/etc/pf9"},
		{&o.State, "/var/lib/pf9/appliance"},
		{&o.Config, "/etc/pf9/gateway.conf"},
		{&o.Socket, "/run/pf9-gateway/agent.sock"},
	} {
		if *d.field == "" {
			*d.field = filepath.Join("/", o.Root, d.value)
		}
	}
	if o.Sources == nil {
		usual := ovfenv.Usual(o.Etc)
		o.Sources = &usual
	}
	if o.EnrolFor == 0 {
		o.EnrolFor = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store is where the appliance's state is.
func (o Options) Store() settings.Store { return settings.Store{Dir: o.withDefaults().State} }

// System is what is configured.
func (o Options) System() *netconf.System {
	return &netconf.System{Root: o.Root, Link: o.Link, Log: o.Log}
}

// Paths are where the gateway's identity is.
func (o Options) Paths() enroll.Paths {
	o = o.withDefaults()
	p := enroll.PathsUnder(o.Etc)
	p.DropIn = o.Config + ".d/10-du.conf"
	p.Proxy = filepath.Join("/", o.Root, "/etc/pf9/comms_proxy_cfg.json")
	return p
}

// Changer makes changes of the console.
func (o Options) Changer() *netconf.Changer {
	o = o.withDefaults()
	return &netconf.Changer{System: o.System(), Store: o.Store(), Answers: o.answers, Applied: o.reload, Log: o.Log}
}

// Report is how the appliance is. With probe the deployment unit is asked for
// the time, which takes a moment or, if it does not answer, half a minute.
func (o Options) Report(ctx context.Context, probe bool) status.Report {
	so := o.StatusOptions()
	so.Probe = probe
	return status.Collect(ctx, so)
}

// StatusOptions say where a report's parts are.
func (o Options) StatusOptions() status.Options {
	o = o.withDefaults()
	return status.Options{Store: o.Store(), Paths: o.Paths(), Socket: o.Socket, Configured: o.Configured}
}

// Run does what a boot needs and returns. An error says everything that is
// wrong with the properties, or why enrolment did not succeed; it is also kept
// for the console. What was in force before is then still in force.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	o.System().WaitForLink(ctx)
	if took, err := o.Changer().Recover(ctx); err != nil {
		o.Log.Error("unconfirmed change not rolled back", "err", err)
	} else if took {
		o.Log.Warn("unconfirmed change rolled back")
	}
	found, unreadable := o.Sources.Read(ctx)
	switch {
	case errors.Is(unreadable, fs.ErrNotExist):
		o.Log.Info("no OVF environment; the settings stay", "err", unreadable)
		unreadable = nil
	case unreadable == nil:
		o.Log.Info("OVF environment found", "where", found.String(), "properties", len(found.Properties))
	}
	token, err := o.configure(ctx, found)
	if err = errors.Join(unreadable, err); err != nil {
		return o.fail(ctx, err)
	}
	if token == "" {
		return nil
	}
	if err := o.enrolUntil(ctx, token); err != nil {
		return err // kept by enrolment itself
	}
	if err := o.Sources.Blank(ctx, found, settings.KeyToken); err != nil {
		// It was good once; nobody can use it again.
		o.Log.Info("the spent join token stays in the OVF environment", "where", found.String(), "err", err)
	}
	return nil
}

// lock waits for a console that rolls a change back, as it does at a boot too, or
// that waits for a confirmation.
func (o Options) lock(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	return o.Store().LockWithin(ctx)
}

// fail keeps the reason for the console.
func (o Options) fail(ctx context.Context, reason error) error {
	release, err := o.lock(ctx)
	if err != nil {
		return errors.Join(reason, err)
	}
	defer release()
	st, err := o.Store().Load()
	if err != nil {
		return errors.Join(reason, err)
	}
	if problems, ok := errors.AsType[settings.Problems](reason); ok {
		st.Problems = problems.Lines()
	} else {
		st.Problems = []string{reason.Error()}
	}
	return errors.Join(reason, o.Store().Save(st))
}

// configure applies the properties that changed, and returns a join token that
// has not been traded yet.
func (o Options) configure(ctx context.Context, found ovfenv.Found) (token string, err error) {
	store := o.Store()
	release, err := o.lock(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	st, err := store.Load()
	if err != nil {
		return "", err
	}
	changed, seen := news(st.Seen, found.Properties)
	want, problems := st.Settings.With(changed)
	if len(problems) > 0 {
		_, err := o.System().Apply(ctx, st.Settings)
		return "", errors.Join(problems, err)
	}
	did, err := o.System().Apply(ctx, want)
	if err != nil {
		_, again := o.System().Apply(ctx, st.Settings)
		return "", errors.Join(fmt.Errorf("apply the settings: %w", err), again)
	}
	if len(did) > 0 {
		o.Log.Info("settings applied", "changed", did)
		o.reload(ctx)
	}
	if len(did) > 0 && len(changed) > 0 { // else the system was only put right
		st.Record(strings.Join(slices.Sorted(maps.Keys(changed)), ", "), "applied: "+strings.Join(did, ", "))
	}
	token = want.Token
	want.Token = ""
	if found.Where != "" {
		st.Source = found.String()
	}
	st.Settings, st.Seen, st.Problems = want, seen, nil
	if token == "" {
		token = o.pendingToken(st, found.Properties[settings.KeyToken])
	}
	if at := st.Enrolled.DU; token == "" && at != "" && want.DU != at {
		st.Problems = []string{fmt.Sprintf("%s %q: the gateway is still enrolled with %s; make a join token at the new deployment unit, by pf9ctl token create --kind gateway, and set it as %s", settings.KeyDU, want.DU, at, settings.KeyToken)}
	}
	return token, store.Save(st)
}

// news are the properties of ours that are not as they were seen last, and all
// that have been seen now. A token that is gone is no news: it has been blanked.
func news(seen, properties map[string]string) (changed, now map[string]string) {
	changed, now = make(map[string]string), maps.Clone(seen)
	for key, value := range properties {
		if !strings.HasPrefix(key, settings.Prefix) || key == settings.KeyToken && value == "" {
			continue
		}
		if sum := settings.Hash(value); seen[key] != sum {
			changed[key] = value
			if now == nil {
				now = make(map[string]string)
			}
			now[key] = sum
		}
	}
	return changed, now
}

// pendingToken is a token that was seen at an earlier boot and has not been
// traded: the deployment unit was out of reach then.
func (o Options) pendingToken(st settings.State, token string) string {
	token = strings.TrimSpace(token)
	if token == "" || st.Enrolled.Token == settings.Hash(token) {
		return ""
	}
	if _, err := enroll.Load(o.Paths()); err == nil && st.Enrolled.Token == "" {
		return "" // enrolled by hand
	}
	return token
}
