package vcproxy

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A grant is leave to transfer one file, which a client got by a call.
type grant struct {
	s      *session
	host   string // as vCenter named it; "": vCenter itself
	method string // of HTTP; "": any that a lease is used with
	target string // path and query
	until  time.Time
}

const (
	grantTime    = 10 * time.Minute // to begin with a ticket
	leaseTime    = 24 * time.Hour   // for all files of a lease
	grantsMax    = 1024             // of all sessions; when full no more are given
	transferIdle = time.Minute      // without a byte
)

// grants are by ticket, and by the path of a lease. The broker's lock guards them.
type grants struct {
	tickets, leases map[string]grant
}

func (g *grants) add(key string, one grant, isLease bool) error {
	if g.tickets == nil {
		g.tickets, g.leases = make(map[string]grant), make(map[string]grant)
	}
	now := time.Now()
	for _, m := range []map[string]grant{g.tickets, g.leases} {
		maps.DeleteFunc(m, func(_ string, old grant) bool { return now.After(old.until) })
	}
	if len(g.tickets)+len(g.leases) >= grantsMax {
		return errBusy
	}
	if isLease {
		g.leases[key] = one
	} else {
		g.tickets[key] = one
	}
	return nil
}

func (g *grants) drop(s *session) {
	g.dropLeases(s)
	maps.DeleteFunc(g.tickets, func(_ string, one grant) bool { return one.s == s })
}

func (g *grants) dropLeases(s *session) {
	maps.DeleteFunc(g.leases, func(_ string, one grant) bool { return one.s == s })
}

// serveTicket forwards a request for a ticket to read or write one file.
func (b *Broker) serveTicket(ctx context.Context, w http.ResponseWriter, t *turn) (result string, err error) {
	one, err := b.wanted(ctx, t)
	if err != nil {
		return resultRefused, &refusal{t.call.method(), t.facts.target, err.Error()}
	}
	resp, err := b.exchange(ctx, t.s, t.outgoing())
	if err != nil {
		return outcome(ctx, err), err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := readSmall(resp.Body)
	if err != nil {
		err = b.broken(ctx, err)
		return outcome(ctx, err), err
	}
	if resp.StatusCode != http.StatusOK {
		reply(w, resp.StatusCode, body)
		return resultFault, nil
	}
	id, inner := ticket(body)
	if id == "" {
		return resultError, errors.New("vCenter answers without a ticket")
	}
	b.mu.Lock()
	err = b.grants.add(id, one, false)
	b.mu.Unlock()
	if err != nil {
		return resultRefused, err
	}
	answer(w, t.call.method(), "<returnval>"+inner+"</returnval>")
	return resultOK, nil
}

// ticket reads a ticket, and what of it the client is told: not where the file
// is or by which certificate, for it comes back to us.
func ticket(body []byte) (id, inner string) {
	var kind string
	text := func(path []string, name string) bool { return len(path) == 5 && path[4] == name }
	tokens(body, func(path []string, tok xml.Token) bool {
		if chars, ok := tok.(xml.CharData); ok {
			switch {
			case text(path, "id"):
				id += string(chars)
			case text(path, "ticketType"):
				kind += string(chars)
			}
		}
		return true
	})
	b := new(bytes.Buffer)
	leaf(b, "id", id)
	leaf(b, "ticketType", kind)
	return id, b.String()
}

// wanted checks what a ticket is wanted for, and writes the address as vCenter
// knows it.
func (b *Broker) wanted(ctx context.Context, t *turn) (grant, error) {
	spec, _ := t.call.root.child("spec")
	if spec == nil || spec.xsiType.local != "SessionManagerHttpServiceRequestSpec" {
		return grant{}, errors.New("tickets are given for files only")
	}
	method := strings.ToUpper(strings.TrimPrefix(spec.value("method"), "http")) // OpenStack says PUT for httpPut
	ok := method == http.MethodGet || method == http.MethodHead || method == http.MethodPut
	address, _ := spec.child("url")
	if !ok || address == nil {
		return grant{}, errors.New("tickets are given to get or put a file only")
	}
	u, err := url.Parse(address.text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return grant{}, errors.New("the file's address is no https address")
	}
	one := grant{s: t.s, method: method, until: time.Now().Add(grantTime)}
	near := Ref{}
	upstream := b.opts.Upstream.URL
	switch {
	case u.Host == t.r.Host || u.Host == upstream.Host || u.Hostname() == upstream.Hostname() && u.Port() == "":
		u.Host = upstream.Host
	case !b.opts.HostTickets:
		return grant{}, fmt.Errorf("files are not exchanged with the host %.80q itself; send them to the gateway, which reaches vCenter", u.Host)
	default:
		h, err := b.host(u.Host)
		if err != nil {
			return grant{}, err
		}
		one.host, near = u.Host, h.Ref
	}
	if one.target, err = b.file(ctx, t.s, method, u, near); err != nil {
		return grant{}, err
	}
	address.text = "https://" + u.Host + one.target
	return one, nil
}

// host finds a host of the live inventory.
func (b *Broker) host(name string) (Host, error) {
	if b.opts.Hosts != nil {
		host := name
		if u := (&url.URL{Host: name}); u.Port() == "" || u.Port() == "443" {
			host = u.Hostname()
		}
		if h, ok := b.opts.Hosts.Host(host); ok {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("the inventory has no connected host %.80q", name)
}

// file checks the address of a file on a datastore and spells it in one way.
func (b *Broker) file(ctx context.Context, s *session, method string, u *url.URL, near Ref) (string, error) {
	path, ok := strings.CutPrefix(u.Path, "/folder/")
	if !ok || !straight(path) {
		return "", errors.New("this is no file on a datastore, or its path leads upward or can be read in several ways")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) > 2 || len(query["dsName"]) != 1 || len(query["dcPath"]) > 1 || len(query) == 2 && len(query["dcPath"]) == 0 {
		return "", errors.New("the address must have dsName and may have dcPath, once each, and nothing else")
	}
	name := query.Get("dsName")
	if near == (Ref{}) && query.Get("dcPath") != "" && len(b.opts.Scope.Datastores(near, name)) > 1 {
		near = b.datacenter(ctx, s, query.Get("dcPath"))
	}
	if why := (judge{scope: b.opts.Scope}).place(b.opts.Scope.Datastores(near, name), name, path); why != "" {
		return "", errors.New(why)
	}
	if method == http.MethodPut && !slices.Contains(endings, ending(path)) {
		return "", fmt.Errorf("files are sent whose names end in one of %q", endings)
	}
	return (&url.URL{Path: u.Path, RawQuery: query.Encode()}).String(), nil
}

// learnLeases finds where a lease's files go, and makes the client come to us.
func (b *Broker) learnLeases(resp *http.Response, t *turn) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, b.limits.Body))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) == b.limits.Body { // no lease is that long
		resp.Body = &putBack{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
		return nil, nil
	}
	thumb := ""
	if t.r.TLS != nil {
		thumb = b.thumbprint
	}
	return leaseURLs(body, thumb, func(host, path string) bool {
		u, err := url.Parse(path)
		if err != nil || !strings.HasPrefix(u.Path, "/nfc/") || strings.Contains(u.Path, "..") || u.RawQuery != "" {
			return false
		}
		one := grant{s: t.s, host: host, target: u.EscapedPath(), until: time.Now().Add(leaseTime)}
		if host == "*" || host == b.opts.Upstream.URL.Host || host == b.opts.Upstream.URL.Hostname() {
			one.host = ""
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.grants.add(u.Path, one, true); err != nil {
			b.log.Warn("too many files are transferred at once", "client", t.s.client)
			return false
		}
		return true
	}), nil
}

// granted finds the leave for a transfer.
func (b *Broker) granted(r *http.Request) (grant, string, error) {
	tickets := r.CookiesNamed("vmware_cgi_ticket")
	if len(tickets) > 1 {
		return grant{}, "", errors.New("there is more than one ticket")
	}
	var one grant
	var ok bool
	id := ""
	b.mu.Lock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/nfc/") && r.URL.RawQuery == "":
		one, ok = b.grants.leases[r.URL.Path]
	case len(tickets) == 1:
		id = tickets[0].Value
		one, ok = b.grants.tickets[id]
	}
	ok = ok && time.Now().Before(one.until)
	b.mu.Unlock()
	s := b.session(r)
	client, known := clientOf(r.Context())
	switch {
	case ok && (known && client != one.s.client || s != nil && s.client != one.s.client):
		return grant{}, "", errors.New("the leave for this file is another client's")
	case ok:
		return one, id, nil
	case len(tickets) == 0 && s != nil && strings.HasPrefix(r.URL.Path, "/folder/"):
		return grant{s: s, method: r.Method}, "", nil
	}
	return grant{}, "", errors.New("no ticket or lease for this file was given to this client through the gateway")
}

// serveTransfer sends or fetches one file.
func (b *Broker) serveTransfer(w http.ResponseWriter, r *http.Request) {
	one, ticket, err := b.granted(r)
	if err == nil {
		err = b.matches(r, &one)
	}
	if err != nil {
		b.refuse(w, r, err.Error())
		return
	}
	if !one.s.begin() {
		b.refuse(w, r, "the session has ended")
		return
	}
	defer one.s.done()
	if isUpload(r) {
		defer one.s.beginUpload()()
	}
	changes := r.Method == http.MethodPut || r.Method == http.MethodPost
	ctx, leave, err := b.sw.pass(r.Context(), changes)
	if err == nil && changes {
		err = b.audit.Ready()
	}
	if err != nil {
		b.refuse(w, r, err.Error())
		return
	}
	defer leave()
	kind := classRead
	if changes {
		kind = classFiles
	}
	if err := one.s.pace(ctx, kind, b.limits.Queue); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := b.transfers.enter(ctx, one.s.client, 1, b.limits.Call); err != nil {
		http.Error(w, errBusy.Error(), http.StatusServiceUnavailable)
		return
	}
	defer b.transfers.leave(one.s.client, 1)
	rec := Record{
		Time: time.Now(), Client: one.s.client, Session: one.s.key, Remote: remoteHost(r),
		Method: "file " + r.Method, Object: one.host + one.target, Class: classTransfer, Result: resultOK,
	}
	rec.Bytes, err = b.transfer(ctx, w, r, one, ticket)
	if err != nil {
		rec.Result, rec.Detail = outcome(ctx, err), err.Error()
		if errors.Is(err, errFar) {
			rec.Result = resultFault
		}
	}
	rec.Took = time.Since(rec.Time)
	b.audit.add(rec)
	if err != nil && rec.Bytes > 0 && !changes {
		panic(http.ErrAbortHandler) // the client must not take a part for the file
	}
}

// matches checks that a request is what the leave is for.
func (b *Broker) matches(r *http.Request, one *grant) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut:
	case http.MethodPost:
		if one.method != "" {
			return errors.New("files on datastores are sent by PUT")
		}
	default:
		return errors.New("files are got and put, nothing else")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" {
		return errors.New("compressed files are not accepted in this form")
	}
	if strings.HasPrefix(r.URL.Path, "/nfc/") {
		return nil
	}
	near := Ref{}
	if one.host != "" {
		h, err := b.host(one.host)
		if err != nil {
			return err
		}
		near = h.Ref
	}
	target, err := b.file(r.Context(), one.s, r.Method, r.URL, near) // the datastore may not be delegated any more
	switch {
	case err != nil:
		return err
	case one.target == "":
		one.target = target
	case one.target != target || one.method != r.Method:
		return errors.New("the ticket is for another file or another way")
	}
	return nil
}

// transfer exchanges the file with vCenter or a host.
func (b *Broker) transfer(ctx context.Context, w http.ResponseWriter, r *http.Request, one grant, ticket string) (int64, error) {
	to := b.opts.Upstream.Transport
	address := b.opts.Upstream.URL.Host
	if one.host != "" {
		h, err := b.host(one.host)
		if err == nil {
			to, err = b.hosts.to(h)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return 0, err
		}
		address = one.host
	}
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	stall := time.AfterFunc(transferIdle, func() { cut(errStalled) })
	defer stall.Stop()
	body := &paced{r: r.Body, rc: http.NewResponseController(w), stall: stall}
	_ = body.rc.SetWriteDeadline(time.Time{}) // that of a call before on the same connection
	defer context.AfterFunc(ctx, body.end)()  // a read or a write that waits for the client
	content, err := checked(r, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return body.n.Load(), err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "https://"+address+one.target, content)
	if err != nil {
		return 0, err
	}
	req.ContentLength = r.ContentLength
	if r.ContentLength == 0 {
		req.Body = http.NoBody
	}
	for _, name := range []string{"Content-Type", "Range", "Overwrite"} {
		if v := r.Header.Get(name); v != "" && (name != "Range" || r.Method == http.MethodGet) {
			req.Header.Set(name, v)
		}
	}
	if err := b.authorize(ctx, req, one, ticket); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return 0, err
	}
	resp, err := to.RoundTrip(req)
	if err != nil {
		err = b.unreached(ctx, one.host, err)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return body.n.Load(), err
	}
	defer func() { _ = resp.Body.Close() }()
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Last-Modified"} {
		if v := resp.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(resp.StatusCode)
	n, err := io.Copy(w, &paced{r: resp.Body, stall: stall})
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%w answers %d", errFar, resp.StatusCode)
	}
	return body.n.Load() + n, err
}

// errContent is that a file is not sent for what is in it.
var errContent = errors.New("refused by the gateway")

// checked returns the content of a file after a look at its beginning. What is sent
// by a lease is taken to pieces by whom it is for.
func checked(r *http.Request, body io.ReadCloser) (io.ReadCloser, error) {
	if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/folder/") {
		return body, nil
	}
	content, err := checkDisk(r.URL.Path, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errContent, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{content, body}, nil
}

// authorize adds the ticket, or the upstream session for vCenter itself. A host
// gets no session.
func (b *Broker) authorize(ctx context.Context, req *http.Request, one grant, ticket string) error {
	if ticket != "" {
		req.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: ticket, Quoted: true})
		return nil
	}
	if one.host != "" {
		return nil
	}
	cookies, _, err := b.upstream(ctx, one.s, 0)
	for _, c := range cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return err
}

// errFar is for what the other end does not do.
var errFar = errors.New("the far side")

var errStalled = errors.New("the transfer stood still for a minute")

// paced is a body that is transferred, in one direction. Each read puts off the
// end of the whole.
type paced struct {
	r     io.ReadCloser
	rc    *http.ResponseController // of the client that sends; nil: it does not
	stall *time.Timer
	n     atomic.Int64

	mu    sync.Mutex // guards ended, and that no deadline comes after the last
	ended bool
}

func (p *paced) Read(b []byte) (int, error) {
	p.putOff()
	n, err := p.r.Read(b)
	p.n.Add(int64(n))
	p.stall.Reset(transferIdle)
	return n, err
}

func (p *paced) putOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rc != nil && !p.ended {
		_ = p.rc.SetReadDeadline(time.Now().Add(transferIdle)) // a connection without deadlines has its server's
	}
}

// end makes the read that is under way fail, and all after it.
func (p *paced) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	_ = p.rc.SetReadDeadline(time.Unix(1, 0)) // as above
	_ = p.rc.SetWriteDeadline(time.Now().Add(lastWord))
}

// lastWord is how long a client takes to read why its transfer ended.
const lastWord = 5 * time.Second

func (p *paced) Close() error { return p.r.Close() }
