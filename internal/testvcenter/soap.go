package testvcenter

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"
	vimxml "github.com/vmware/govmomi/vim25/xml"
)

const (
	maxRequest = 16 << 20
	cookieName = "vmware_soap_session"
)

// call is one request.
type call struct {
	method  string
	body    []byte // the method's element
	session *session
	cookie  string
	agent   string
	done    <-chan struct{} // closed when the client has gone
	header  http.Header     // of the answer
	page    bool            // the answer is one page of several
	kind    string          // media type of the answer
}

// decode reads the method's arguments.
func (c *call) decode(req any) error {
	d := vimxml.NewDecoder(bytes.NewReader(c.body))
	d.TypeFunc = types.TypeFunc()
	return d.Decode(req)
}

// parse takes a request apart without looking into the method.
func parse(r io.Reader) (method string, body []byte, err error) {
	var envelope struct {
		Body struct {
			Inner []byte `xml:",innerxml"`
		} `xml:"Body"`
	}
	if err := xml.NewDecoder(r).Decode(&envelope); err != nil {
		return "", nil, err
	}
	d := xml.NewDecoder(bytes.NewReader(envelope.Body.Inner))
	for {
		t, err := d.Token()
		if err != nil {
			return "", nil, errors.New("no method in the request")
		}
		if start, ok := t.(xml.StartElement); ok {
			return start.Name.Local, envelope.Body.Inner, nil
		}
	}
}

// vimFault is an answer instead of a result.
type vimFault struct{ fault types.BaseMethodFault }

func (f vimFault) Error() string { return reflect.TypeOf(f.fault).Elem().Name() }

const (
	envelopeHead = xml.Header + `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"` +
		` xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`
	envelopeTail = `</soapenv:Body></soapenv:Envelope>`
)

// element encodes one value as an element of that name.
func element(name string, v any) []byte {
	var out bytes.Buffer
	e := vimxml.NewEncoder(&out)
	if err := e.EncodeElement(v, vimxml.StartElement{Name: vimxml.Name{Local: name}}); err != nil {
		panic(fmt.Sprintf("encode %s: %v", name, err)) // a mistake of this package
	}
	_ = e.Flush()
	return bytes.ReplaceAll(out.Bytes(), []byte(encoderType), []byte(" xsi:type="))
}

// encoderType is how govmomi's encoder writes what vCenter writes as xsi:type.
const encoderType = ` xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance" XMLSchema-instance:type=`

// response wraps a result; raw is the inside of the response's element.
func response(method string, raw []byte) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `%s<%sResponse xmlns="urn:vim25">%s</%sResponse>%s`, envelopeHead, method, raw, method, envelopeTail)
	return out.Bytes()
}

func faultResponse(f types.BaseMethodFault) []byte {
	kind := reflect.TypeOf(f).Elem().Name()
	return fmt.Appendf(nil, `%s<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring>`+
		`<detail><%sFault xmlns="urn:vim25" xsi:type="%s">%s</%sFault></detail></soapenv:Fault>%s`,
		envelopeHead, kind, kind, kind, faultFields(f), kind, envelopeTail)
}

// faultFields writes what of a fault the client looks at.
func faultFields(f types.BaseMethodFault) string {
	if p, ok := f.(*types.InvalidProperty); ok {
		return "<name>" + p.Name + "</name>"
	}
	return ""
}

// serve answers one request, in the way that the fault in force says.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, restRoot) {
		s.serveREST(w, r)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/sdk" {
		http.NotFound(w, r)
		return
	}
	method, body, err := parse(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := &call{kind: "text/xml; charset=utf-8", method: method, body: body, agent: r.UserAgent(), done: r.Context().Done(), header: w.Header()}
	if k, err := r.Cookie(cookieName); err == nil {
		c.cookie = k.Value
	}
	s.mu.Lock()
	s.counts.Calls++
	if c.session = s.sessions[c.cookie]; c.session != nil {
		c.session.user.LastActiveTime = time.Now().UTC()
	}
	f := s.fault
	s.mu.Unlock()
	if f.before(w, r, c) {
		return
	}
	raw, err := s.answer(c)
	status, out := http.StatusOK, []byte(nil)
	if err != nil {
		status, out = http.StatusInternalServerError, faultResponse(asFault(err))
	} else {
		out = response(method, raw)
	}
	s.mu.Lock()
	s.counts.BytesOut += len(out)
	f = s.fault
	s.mu.Unlock()
	f.write(w, r, c, status, out)
}

func asFault(err error) types.BaseMethodFault {
	if v, ok := errors.AsType[vimFault](err); ok {
		return v.fault
	}
	return &types.InvalidRequest{}
}
