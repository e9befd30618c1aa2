package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Targets are what is looked at. Empty ones are left out.
type Targets struct {
	Unit     Unit
	DNS      []netip.Addr
	NTP      []string // hosts
	VCenters []string // "host[:port]"
}

// Check is the result of one look.
type Check struct {
	Name   string // "DNS server 192.0.2.53"
	OK     bool
	Result string // for people
}

// Diagnose looks at all targets at the same time, which takes half a minute at
// most, and returns the results in a fixed order.
func Diagnose(ctx context.Context, t Targets) []Check {
	type look struct {
		name string
		do   func(context.Context) (string, error)
	}
	var looks []look
	add := func(name string, do func(context.Context) (string, error)) { looks = append(looks, look{name, do}) }
	host, port := "", "443"
	if u, err := url.Parse(t.Unit.URL); err == nil && u.Host != "" {
		host = u.Hostname()
		if u.Port() != "" {
			port = u.Port()
		}
		add("deployment unit "+u.Host, t.unit)
		if p := t.Unit.Proxy; p != nil {
			target := net.JoinHostPort(host, port)
			add("proxy "+p.Host, func(ctx context.Context) (string, error) { return took(Tunnel(ctx, p, target)) })
		}
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		add("name "+host, func(ctx context.Context) (string, error) { return found(System(ctx, host)) })
		for _, server := range t.DNS {
			add("DNS server "+server.String(), func(ctx context.Context) (string, error) {
				return found(Lookup(ctx, netip.AddrPortFrom(server, 53), host))
			})
		}
	}
	for _, server := range t.NTP {
		add("NTP server "+server, func(ctx context.Context) (string, error) { return offset(NTP(ctx, net.JoinHostPort(server, "123"))) })
	}
	for _, v := range t.VCenters {
		add("vCenter "+v, func(ctx context.Context) (string, error) { return took(Dial(ctx, WithPort(v, "443"))) })
	}
	out := make([]Check, len(looks))
	var wg sync.WaitGroup
	for i, l := range looks {
		wg.Go(func() {
			text, err := l.do(ctx)
			if err != nil {
				text = reason(err)
			}
			out[i] = Check{l.name, err == nil, text}
		})
	}
	wg.Wait()
	return out
}

// WithPort adds a port to a host that has none.
func WithPort(host, port string) string {
	u, err := url.Parse("https://" + host)
	if err != nil || u.Port() != "" {
		return host
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (t Targets) unit(ctx context.Context) (string, error) {
	a, err := t.Unit.Ask(ctx)
	if err != nil {
		return "", err
	}
	if err := a.CheckSkew(); err != nil {
		return "", err
	}
	text := fmt.Sprintf("answers after %s with status %d, the clocks agree", round(a.Took), a.Status)
	if t.Unit.Pin == "" {
		text += "; who it is was not checked, for there is no pin yet"
	}
	return text, nil
}

func took(d time.Duration, err error) (string, error) {
	return "answers after " + round(d), err
}

func found(addrs []netip.Addr, err error) (string, error) {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.Unmap().String()
	}
	return strings.Join(all, ", "), err
}

func offset(t Time, err error) (string, error) {
	if err == nil && t.Offset.Abs() > SkewLimit {
		err = fmt.Errorf("the clock is %s off", t.Offset.Round(time.Second))
	}
	return fmt.Sprintf("answers after %s, stratum %d, our clock is %s ahead", round(t.Took), t.Stratum, t.Offset.Round(time.Millisecond)), err
}

func round(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

// reason leaves out of the resolver's errors what the check's name says.
func reason(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case e.IsTimeout:
			return "no answer in time"
		case e.IsNotFound:
			return "it answers that there is no such name"
		}
		return e.Err
	}
	return err.Error()
}
