package vcproxy

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// description is a file of the API's description, which clients load before they
// log in.
var description = regexp.MustCompile(`^/(sdk|pbm)/[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.(wsdl|xsd|xml)$`)

// ServeHTTP implements http.Handler. Any path that is not listed does not exist.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if r.URL.RawPath != "" && !strings.HasPrefix(path, "/folder/") && !strings.HasPrefix(path, "/nfc/") || r.Header.Get("Upgrade") != "" {
		b.refuse(w, r, "spelled otherwise")
		return
	}
	switch {
	case path == "/sdk" || path == "/sdk/vimService" || path == "/pbm" || path == "/pbm/sdk":
		if r.Method != http.MethodPost {
			b.refuse(w, r, "the API is called by POST")
			return
		}
		b.serveCall(w, r)
	case description.MatchString(path) && r.Method == http.MethodGet && r.URL.RawQuery == "":
		b.serveDescription(w, r)
	case strings.HasPrefix(path, "/folder/") || strings.HasPrefix(path, "/nfc/"):
		b.serveTransfer(w, r)
	default:
		b.refuse(w, r, "the path is not on the gateway's list")
	}
}

// refuse answers what is no call.
func (b *Broker) refuse(w http.ResponseWriter, r *http.Request, why string) {
	b.audit.add(Record{
		Time: time.Now(), Remote: remoteHost(r), Method: "HTTP " + short(r.Method), Object: r.URL.EscapedPath(), Result: resultRefused, Detail: why,
	})
	http.Error(w, "refused by the gateway: "+why, http.StatusForbidden)
}

// turn is one call on its way through the broker.
type turn struct {
	r      *http.Request
	pbm    bool
	action string
	s      *session // nil: none
	call   *call
	facts  *facts
	rule   rule
	began  time.Time

	memory *gate  // for it, while it is under way
	who    Client // takes it
	taken  int64
}

// readTime bounds how long a client takes to send a call.
const readTime = 30 * time.Second

// What calls without a session are allowed: logins are short.
const (
	strangerBody   = 16 << 10 // bytes of one
	strangerMemory = 8 << 20  // of all
	strangerTime   = 5 * time.Second
)

// serveCall answers one SOAP call.
func (b *Broker) serveCall(w http.ResponseWriter, r *http.Request) {
	t := &turn{r: r, pbm: strings.HasPrefix(r.URL.Path, "/pbm"), began: time.Now(), s: b.session(r)}
	if t.s != nil {
		if !t.s.begin() {
			t.s = nil
		} else {
			defer t.s.done()
		}
	}
	rc := http.NewResponseController(w)
	patience := readTime
	if t.s != nil {
		t.memory, t.who = b.memory, t.s.client
	} else {
		patience, t.memory = strangerTime, b.strangers
		t.who, _ = clientOf(r.Context())
	}
	_ = rc.SetReadDeadline(t.began.Add(patience)) // a connection without deadlines has its server's
	_ = rc.SetWriteDeadline(t.began.Add(readTime + 2*b.limits.Queue + b.limits.Call))
	defer func() { t.memory.leave(t.who, t.taken) }()
	if err := b.read(t); errors.Is(err, errBusy) {
		b.finish(t, resultError, err.Error())
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	} else if err != nil {
		b.finish(t, resultRefused, err.Error())
		f := fault{name: "InvalidRequest", text: "the gateway does not accept this request: " + err.Error()}
		f.write(w)
		return
	}
	result, err := b.serve(w, t)
	detail := ""
	if err != nil {
		detail = err.Error()
		answerError(w, t, err)
	}
	b.finish(t, result, detail)
}

// answerError puts an error into the words of the API.
func answerError(w http.ResponseWriter, t *turn, err error) {
	var f fault
	var refused *refusal
	switch {
	case errors.As(err, &f):
	case errors.As(err, &refused):
		f = denied(refused.method, refused.object, refused.Error())
	case errors.Is(err, errBusy):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case errors.Is(err, errEnded):
		f = notAuthenticated(t.facts.target)
	case errors.Is(err, errSwitched):
		f = denied(t.call.method(), t.facts.target, err.Error())
	default:
		f = fault{name: "HostCommunication", text: err.Error()}
	}
	f.write(w)
}

// finish writes the audit's record.
func (b *Broker) finish(t *turn, result, detail string) {
	rec := Record{Time: t.began, Remote: remoteHost(t.r), Result: result, Detail: detail, Took: time.Since(t.began), Method: "unreadable"}
	if t.s != nil {
		rec.Client, rec.Session = t.s.client, t.s.key
	} else if c, ok := clientOf(t.r.Context()); ok {
		rec.Client = c
	}
	if t.call != nil {
		rec.Method, rec.Class, rec.OpID = t.call.method(), string(t.rule.class), t.opID()
	}
	if t.facts != nil {
		rec.Object = t.facts.target.Type + ":" + t.facts.target.Value
	}
	b.audit.add(rec)
}

// opID is the client's mark, of the message or of the request.
func (t *turn) opID() string {
	if t.call.opID != "" {
		return t.call.opID
	}
	if id := t.r.Header.Get("opID"); validOpID(id) {
		return id
	}
	return ""
}

var soapAction = regexp.MustCompile(`^"?(urn:(?:vim25|pbm)(?:/[0-9A-Za-z._-]{0,32})?)?"?$`)

// read reads and checks the request: its headers, its size, its form and its
// place in the schema.
func (b *Broker) read(t *turn) error {
	r := t.r
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "text/xml" {
		return errors.New("the content is not text/xml")
	}
	if set := params["charset"]; set != "" && !strings.EqualFold(set, "utf-8") {
		return fmt.Errorf("the character set is %.20q, want utf-8", set)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return errors.New("compressed requests are not accepted")
	}
	actions := r.Header.Values("SOAPAction")
	if len(actions) > 1 || len(actions) == 1 && !soapAction.MatchString(actions[0]) {
		return errors.New("the SOAPAction is not one of the vSphere API")
	}
	if len(actions) == 1 {
		t.action = strings.Trim(actions[0], `"`)
	}
	body, err := b.body(t)
	if err != nil {
		return err
	}
	c, err := parseCall(body)
	if err != nil {
		return err
	}
	if t.pbm != (c.space == nsPBM) {
		return fmt.Errorf("method %q is called at another service's address", c.method())
	}
	t.call, t.rule = c, decide(c.space, c.method())
	t.facts, err = b.schema.collect(c)
	return err
}

// body reads the text of a request and takes the memory for what it becomes.
func (b *Broker) body(t *turn) ([]byte, error) {
	limit := b.limits.Body
	if t.s == nil {
		limit = min(limit, strangerBody)
	}
	tooLong := fmt.Errorf("the request has more than %d bytes", limit)
	size := t.r.ContentLength
	if size > limit {
		return nil, tooLong
	} else if size < 0 {
		size = limit
	}
	if err := t.hold(perByte*size, b.limits.Queue); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(t.r.Body, limit+1))
	if err != nil {
		return nil, errors.New("the request broke off")
	}
	if int64(len(body)) > limit {
		return nil, tooLong
	}
	elements, err := scan(body)
	if err == nil && elements > maxElements {
		err = fmt.Errorf("the request has more than %d elements", maxElements)
	}
	if err == nil { // who waited now would have what others wait for
		err = t.hold(perElement*int64(elements), 0)
	}
	return body, err
}

// hold takes memory for a call, until it ends.
func (t *turn) hold(n int64, patience time.Duration) error {
	err := t.memory.enter(t.r.Context(), t.who, n, patience)
	if err == nil {
		t.taken += n
	}
	return err
}
