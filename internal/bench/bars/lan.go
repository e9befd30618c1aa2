package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/sandbox"
)

// lan is a customer's network for a container: a bridge of this machine, which is
// also its default gateway. The deployment unit is behind it: only who has a
// default route gets there, or who goes through the proxy.
type lan struct{ bridge string }

// The network's addresses, of the range for measurements (RFC 2544).
const (
	lanGateway = "198.18.78.1"
	lanPrefix  = "198.18.78."
	lanUnit    = "198.18.79.1" // of the deployment unit
)

// newLAN makes the network; it goes with the box.
func newLAN(ctx context.Context, box *sandbox.Box) (*lan, error) {
	l := &lan{bridge: fmt.Sprintf("pf9l%d", os.Getpid()%1000000)}
	box.OnClose(func() { _ = command(context.Background(), "ip", "link", "del", l.bridge) })
	for _, words := range []string{
		"link add " + l.bridge + " type bridge",
		"address add " + lanGateway + "/24 dev " + l.bridge,
		"address add " + lanUnit + "/32 dev " + l.bridge,
		"link set " + l.bridge + " up",
	} {
		if err := command(ctx, append([]string{"ip"}, strings.Fields(words)...)...); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// dhcp starts a server that gives addresses, and no default route. Its program is
// that of a Debian at root.
func (l *lan) dhcp(box *sandbox.Box, root string) error {
	p, err := box.Start("dnsmasq", nil, "chroot", root, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root",
		"--log-facility=-", "--log-dhcp", "--port=0", "--interface="+l.bridge, "--bind-interfaces", "--leasefile-ro",
		"--dhcp-range="+lanPrefix+"100,"+lanPrefix+"120,255.255.255.0,2m", "--dhcp-option=3", "--dhcp-option=42,"+lanGateway)
	if err == nil {
		box.OnClose(func() { _ = p.Stop() })
	}
	return err
}

// lanProxy is an HTTP proxy on the network, which wants to know who asks.
type lanProxy struct {
	url            string
	user, password string

	mu      sync.Mutex // guards the field below
	targets []string   // who was asked for
}

// proxy starts one; it ends with the box.
func (l *lan) proxy(box *sandbox.Box, user, password string) (*lanProxy, error) {
	listener, err := net.Listen("tcp", lanGateway+":0")
	if err != nil {
		return nil, err
	}
	p := &lanProxy{user: user, password: password}
	p.url = (&url.URL{Scheme: "http", Host: listener.Addr().String(), User: url.UserPassword(user, password)}).String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { p.serve(ctx, listener) })
	box.OnClose(func() {
		cancel()
		_ = listener.Close()
		serving.Wait()
	})
	return p, nil
}

// asked is who the proxy was asked for so far.
func (p *lanProxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.targets)
}

// serve takes connections until the listener is closed, and waits for them.
func (p *lanProxy) serve(ctx context.Context, listener net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			defer func() { _ = near.Close() }()
			stop := context.AfterFunc(ctx, func() { _ = near.Close() })
			defer stop()
			if err := p.connect(ctx, near); err != nil {
				_, _ = fmt.Fprintf(near, "HTTP/1.1 502 %v\r\nContent-Length: 0\r\n\r\n", err)
			}
		})
	}
}

// connect does what CONNECT asks for, until either side ends. An error is one
// before the answer.
func (p *lanProxy) connect(ctx context.Context, near net.Conn) error {
	if err := near.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	buffered := bufio.NewReader(near)
	q, err := http.ReadRequest(buffered)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", q.Header.Get("Proxy-Authorization"))
	if user, password, ok := q.BasicAuth(); !ok || user != p.user || password != p.password || q.Method != http.MethodConnect {
		return fmt.Errorf("no %s for %s", q.Method, user)
	}
	far, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", q.Host)
	if err != nil {
		return err
	}
	defer func() { _ = far.Close() }()
	p.mu.Lock()
	p.targets = append(p.targets, q.Host)
	p.mu.Unlock()
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return err
	}
	var up sync.WaitGroup
	up.Go(func() { _, _ = io.Copy(far, buffered); _ = far.Close() })
	_, _ = io.Copy(near, far)
	_ = near.Close() // ends the way up
	up.Wait()
	return nil
}

// loopDevice makes a block device of an image; it goes with the box.
func loopDevice(ctx context.Context, box *sandbox.Box, image string) (string, error) {
	out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", "--read-only", image).Output()
	if err != nil {
		return "", fmt.Errorf("make a device of %s: %w", image, err)
	}
	device := strings.TrimSpace(string(out))
	box.OnClose(func() { _ = command(context.Background(), "losetup", "--detach", device) })
	return device, nil
}
