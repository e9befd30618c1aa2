package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
)

// Proxy reads comms_proxy_cfg.json, whose form existing installations know:
//
//	{"http_proxy": {"protocol": "http", "host": "proxy", "port": 3128, "user": "", "pass": ""}}
//
// configured, if not empty, is a URL that takes its place. It returns nil
// without either.
func Proxy(file, configured string) (func(*http.Request) (*url.URL, error), error) {
	if configured != "" {
		u, err := url.Parse(configured)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("proxy %q: want http://[user:password@]host:port", configured)
		}
		return http.ProxyURL(u), nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read proxy configuration: %w", err)
	}
	u, err := parseProxy(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return http.ProxyURL(u), nil
}

// CurrentProxy is Proxy for who dials again and again: the file is read for each
// request, because it may be changed while the daemon runs.
func CurrentProxy(file, configured string) func(*http.Request) (*url.URL, error) {
	return func(q *http.Request) (*url.URL, error) {
		proxy, err := Proxy(file, configured)
		if err != nil || proxy == nil {
			return nil, err
		}
		return proxy(q)
	}
}

func parseProxy(b []byte) (*url.URL, error) {
	var c struct {
		Proxy struct {
			Protocol, Host, User, Pass string
			Port                       json.RawMessage // a number or a string
		} `json:"http_proxy"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, err
	}
	p := c.Proxy
	port := string(p.Port)
	if unquoted, err := strconv.Unquote(port); err == nil {
		port = unquoted
	}
	if n, err := strconv.Atoi(port); p.Host == "" || err != nil || n < 1 || n > 65535 {
		return nil, errors.New("http_proxy needs a host and a port")
	}
	if p.Protocol == "" {
		p.Protocol = "http"
	}
	if p.Protocol != "http" && p.Protocol != "https" {
		return nil, fmt.Errorf("http_proxy: protocol %q is neither http nor https", p.Protocol)
	}
	u := &url.URL{Scheme: p.Protocol, Host: net.JoinHostPort(p.Host, port)}
	if p.User != "" {
		u.User = url.UserPassword(p.User, p.Pass)
	}
	return u, nil
}
