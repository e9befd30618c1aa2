package firstboot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/gateway/firstboot/netconf"
	"github.com/openpf9/openpf9/gateway/firstboot/reach"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/internal/pki"
)

const (
	enrolFirst  = 2 * time.Second // wait after the first failure; then twice as long
	enrolMost   = 30 * time.Second
	reloadLimit = 5 * time.Second
)

// enrolUntil tries to trade the token until it succeeds, is refused, or the
// time is over: a network that has just been made needs a moment, and so does a
// clock that has just been told of its servers.
func (o Options) enrolUntil(ctx context.Context, token string) error {
	within, cancel := context.WithTimeout(ctx, o.EnrolFor)
	defer cancel()
	wait, last := enrolFirst, ""
	for {
		err := o.Enrol(within, token)
		if err == nil || errors.Is(err, enroll.ErrRefused) {
			return err
		}
		if within.Err() != nil && last != "" {
			return errors.New(last) // the deadline itself is no reason
		}
		if text := err.Error(); text != last {
			o.Log.Warn("not enrolled; trying again", "err", err)
			last = text
		}
		again := time.NewTimer(wait + rand.N(wait/4))
		select {
		case <-again.C:
			wait = min(2*wait, enrolMost)
		case <-within.Done():
			again.Stop()
			return errors.New(last)
		}
	}
}

// Enrol trades a join token once, with the deployment unit of the settings. It
// refuses while the clock is wrong. How it went is kept for the console.
func (o Options) Enrol(ctx context.Context, token string) error {
	o = o.withDefaults()
	store := o.Store()
	st, err := store.Load()
	if err != nil {
		return err
	}
	result, err := o.trade(ctx, st.Settings, token)
	keep := ctx
	if err == nil { // what was traded is written down, whatever time the attempt had
		keep = context.WithoutCancel(ctx)
	}
	release, busy := o.lock(keep)
	if busy != nil {
		return errors.Join(err, busy)
	}
	defer release()
	if st, e := store.Load(); e == nil {
		if err == nil {
			st.Enrolled = settings.Enrolment{DU: st.Settings.DU, Host: string(result.Host), At: time.Now().UTC().Truncate(time.Second), Token: settings.Hash(token)}
			o.Log.Info("enrolled", "host", result.Host, "du", st.Settings.DU, "expires", result.NotAfter)
		} else {
			st.Enrolled.Error = err.Error()
		}
		err = errors.Join(err, store.Save(st))
	}
	if err == nil {
		o.reload(ctx)
	}
	return err
}

// EnrolAt sets the deployment unit, as typed on the console, and enrols with it.
func (o Options) EnrolAt(ctx context.Context, du, token string) error {
	store := o.Store()
	release, err := store.Lock()
	if err != nil {
		return err
	}
	st, err := store.Load()
	if err == nil {
		var problems settings.Problems
		before := st.Settings
		st.Settings, problems = before.With(map[string]string{settings.KeyDU: du, settings.KeyToken: token})
		if what := netconf.Differences(before, st.Settings); len(problems) > 0 {
			err = problems
		} else if what != "" {
			st.Record(what, "set on the console")
			err = store.Save(st)
		}
	}
	release()
	if err != nil {
		return err
	}
	return o.Enrol(ctx, token)
}

// trade looks at the clock and enrols.
func (o Options) trade(ctx context.Context, s settings.Settings, token string) (enroll.Result, error) {
	parsed, err := pki.ParseToken(pki.JoinToken, token)
	if err != nil {
		return enroll.Result{}, fmt.Errorf("join token: %w", err)
	}
	if s.DU == "" {
		return enroll.Result{}, errors.New("no deployment unit is set; set its https://host first")
	}
	if s.Pin != "" && s.Pin != parsed.Pin {
		return enroll.Result{}, fmt.Errorf("the join token is of another authority (%s) than the pin of the settings (%s); one of the two is not from your deployment unit", parsed.Pin, s.Pin)
	}
	answer, err := reach.Unit{URL: s.DU, Pin: parsed.Pin, Proxy: s.ProxyURL()}.Ask(ctx)
	if err != nil {
		return enroll.Result{}, err
	}
	if err := answer.CheckSkew(); err != nil {
		return enroll.Result{}, err
	}
	paths := o.Paths()
	proxy, err := enroll.Proxy(paths.Proxy, s.Proxy)
	if err != nil {
		return enroll.Result{}, err
	}
	name, err := os.Hostname()
	if err != nil {
		return enroll.Result{}, err
	}
	return enroll.Enroll(ctx, enroll.Request{DU: s.DU, Token: token, Hostname: name, Kind: pki.KindGateway, Paths: paths, Proxy: proxy})
}

// reload tells a daemon that runs; one that does not reads everything when it
// starts.
func (o Options) reload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", o.Socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway/v1/reload", nil)
	if err != nil {
		return
	}
	if resp, err := client.Do(req); err != nil {
		o.Log.Debug("the daemon was not told", "err", err)
	} else {
		_ = resp.Body.Close()
	}
}

// answers says who of the far side answers over the network of the settings.
func (o Options) answers(ctx context.Context, s settings.Settings) (string, error) {
	var why error
	if o.Configured != nil {
		s = o.Configured().Over(s)
	}
	if s.DU != "" {
		unit := reach.Unit{URL: s.DU, Pin: reach.PinOf(o.Paths().CA, s.Pin), Proxy: s.ProxyURL()}
		_, err := unit.Ask(ctx)
		if err == nil {
			return "the deployment unit " + s.DU, nil
		}
		why = err
	}
	if s.VCenter != "" {
		_, err := reach.Dial(ctx, reach.WithPort(s.VCenter, "443"))
		if err == nil {
			return "the vCenter " + s.VCenter, nil
		}
		why = errors.Join(why, err)
	}
	if why == nil {
		why = errors.New("neither a deployment unit nor a vCenter is set, so there is nobody to ask")
	}
	return "", why
}
