package vcproxy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Namespaces that may occur in a request.
const (
	nsSOAP = "http://schemas.xmlsoap.org/soap/envelope/"
	nsXSI  = "http://www.w3.org/2001/XMLSchema-instance"
	nsXSD  = "http://www.w3.org/2001/XMLSchema"
	nsVim  = "urn:vim25"
	nsPBM  = "urn:pbm"
)

// Bounds of one request beside its size in bytes.
const (
	maxDepth      = 48
	maxElements   = 50_000
	maxAttributes = 16 // of one element
)

// What a call takes in memory beside the bytes of its text, until it ends: the text
// is there as it came, taken apart, and written anew.
const (
	perByte    = 4
	perElement = 256
)

// scan counts the elements of a text before it is decoded, which takes the memory
// for all attributes of an element at once. A tag has no '<' inside of it, so each
// '<' begins one, whatever is between them.
func scan(text []byte) (elements int, err error) {
	for {
		i := bytes.IndexByte(text, '<')
		if i < 0 {
			return elements, nil
		}
		text = text[i+1:]
		tag := text
		if next := bytes.IndexByte(tag, '<'); next >= 0 {
			tag = tag[:next]
		}
		if len(tag) > 0 && tag[0] == '/' {
			continue
		}
		if elements++; attributes(tag) > maxAttributes {
			return 0, fmt.Errorf("an element has more than %d attributes", maxAttributes)
		}
	}
}

// attributes counts those of a tag, which may be the beginning of a text.
func attributes(tag []byte) (n int) {
	var quote byte
	for _, c := range tag {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return n
		case c == '=':
			n++
		}
	}
	return n
}

// qname is a name with its namespace.
type qname struct{ space, local string }

// element is one element of a request. It has text or children, never both, and
// no attribute that is not here: what is not understood is refused, so a call
// that is written again says exactly what was judged.
type element struct {
	local    string
	xsiType  qname  // of the attribute xsi:type; zero: none
	refType  string // of the attribute type, which references have
	isRef    bool   // the attribute type was there
	text     string
	children []*element
}

// call is one SOAP request: one method of one object.
type call struct {
	space string // of the method and of everything below it
	opID  string // the client's mark in vCenter's logs, or ""
	root  *element
}

func (c *call) method() string { return c.root.local }

// child returns the only child of that name, or nil; second says if there are more.
func (e *element) child(local string) (found *element, second bool) {
	if e == nil {
		return nil, false
	}
	for _, c := range e.children {
		if c.local != local {
			continue
		}
		if found != nil {
			return found, true
		}
		found = c
	}
	return found, false
}

// value is the text of the only child of that name, or "".
func (e *element) value(local string) string {
	c, second := e.child(local)
	if c == nil || second {
		return ""
	}
	return c.text
}

// all returns the children of that name.
func (e *element) all(local string) (found []*element) {
	for _, c := range e.children {
		if c.local == local {
			found = append(found, c)
		}
	}
	return found
}

// reader reads one envelope. It accepts much less than XML is: no document type,
// no entities of its own, no comments, no instructions, no mixed content, no
// unknown attribute or namespace.
type reader struct {
	dec      *xml.Decoder
	bindings []map[string]string // prefixes declared by each open element
	elements int
}

// parseCall reads the body of a request.
func parseCall(body []byte) (*call, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("the request is not UTF-8")
	}
	p := &reader{dec: xml.NewDecoder(bytes.NewReader(body))}
	p.dec.Strict = true
	start, err := p.first()
	if err != nil {
		return nil, err
	}
	c, err := p.envelope(start)
	if err != nil {
		return nil, err
	}
	for {
		tok, err := p.dec.Token()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read behind the envelope: %w", err)
		}
		if text, ok := tok.(xml.CharData); !ok || !blank(text) {
			return nil, errors.New("there is something behind the envelope")
		}
	}
}

// first finds the outermost element.
func (p *reader) first() (xml.StartElement, error) {
	for began := false; ; began = true {
		tok, err := p.dec.Token()
		if err != nil {
			return xml.StartElement{}, fmt.Errorf("read the envelope: %w", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			return tok, nil
		case xml.ProcInst:
			if began || tok.Target != "xml" {
				return xml.StartElement{}, errors.New("processing instructions are not accepted")
			}
		case xml.CharData:
			if !blank(tok) {
				return xml.StartElement{}, errors.New("there is text before the envelope")
			}
		default:
			return xml.StartElement{}, errors.New("document types and comments are not accepted")
		}
	}
}

func (p *reader) envelope(start xml.StartElement) (*call, error) {
	if start.Name != (xml.Name{Space: nsSOAP, Local: "Envelope"}) {
		return nil, fmt.Errorf("outermost element is %q, want a SOAP 1.1 Envelope", start.Name.Local)
	}
	if err := p.frame(start); err != nil {
		return nil, err
	}
	c := new(call)
	for seen := 0; ; {
		next, end, err := p.inner()
		if err != nil {
			return nil, err
		}
		switch {
		case end && seen < 2:
			return nil, errors.New("the envelope has no Body")
		case end:
			return c, nil
		case next.Name == xml.Name{Space: nsSOAP, Local: "Header"} && seen == 0:
			seen = 1
			err = p.header(next, c)
		case next.Name == xml.Name{Space: nsSOAP, Local: "Body"} && seen < 2:
			seen = 2
			err = p.body(next, c)
		default:
			return nil, fmt.Errorf("the envelope has an unexpected %q", next.Name.Local)
		}
		if err != nil {
			return nil, err
		}
	}
}

// header takes the operation's mark; the session of a header is replaced, not
// forwarded.
func (p *reader) header(start xml.StartElement, c *call) error {
	if err := p.frame(start); err != nil {
		return err
	}
	for {
		next, end, err := p.inner()
		if err != nil || end {
			return err
		}
		e, _, err := p.element(next, next.Name.Space)
		if err != nil {
			return err
		}
		switch e.local {
		case "operationID":
			if c.opID != "" || !validOpID(e.text) {
				return errors.New("the operationID is given twice or has characters that no operationID has")
			}
			c.opID = e.text
		case "vcSessionCookie":
		default:
			return fmt.Errorf("the SOAP header %q is not accepted", e.local)
		}
	}
}

func (p *reader) body(start xml.StartElement, c *call) error {
	if err := p.frame(start); err != nil {
		return err
	}
	for {
		next, end, err := p.inner()
		switch {
		case err != nil:
			return err
		case end && c.root == nil:
			return errors.New("the body has no method")
		case end:
			return nil
		case c.root != nil:
			return errors.New("the body has more than one method")
		case next.Name.Space != nsVim && next.Name.Space != nsPBM:
			return fmt.Errorf("method %q is of the unknown namespace %q", next.Name.Local, next.Name.Space)
		}
		c.space = next.Name.Space
		if c.root, _, err = p.element(next, c.space); err != nil {
			return err
		}
	}
}

// frame reads the attributes of a part of the envelope itself.
func (p *reader) frame(start xml.StartElement) error {
	rest, err := p.push(start)
	if err != nil {
		return err
	}
	for _, a := range rest {
		if a.Name.Space != nsSOAP || a.Name.Local != "encodingStyle" {
			return fmt.Errorf("attribute %q of %q is not accepted", a.Name.Local, start.Name.Local)
		}
	}
	return nil
}

// inner returns the next element inside an element that has no text.
func (p *reader) inner() (next xml.StartElement, end bool, err error) {
	for {
		tok, err := p.dec.Token()
		if err != nil {
			return next, false, fmt.Errorf("read the envelope: %w", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			return tok, false, nil
		case xml.EndElement:
			p.pop()
			return next, true, nil
		case xml.CharData:
			if !blank(tok) {
				return next, false, errors.New("there is text beside elements")
			}
		default:
			return next, false, errors.New("comments and instructions are not accepted")
		}
	}
}

// element reads an element and all below it, which must be of one namespace.
func (p *reader) element(start xml.StartElement, space string) (*element, xml.Name, error) {
	e := &element{local: start.Name.Local}
	if start.Name.Space != space || !validName(e.local) {
		return nil, start.Name, fmt.Errorf("element %q of namespace %q stands where %q belongs", e.local, start.Name.Space, space)
	}
	rest, err := p.push(start)
	if err != nil {
		return nil, start.Name, err
	}
	if err := p.attributes(e, rest); err != nil {
		return nil, start.Name, err
	}
	var text strings.Builder
	for {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, start.Name, fmt.Errorf("read element %q: %w", e.local, err)
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text.Write(tok)
		case xml.StartElement:
			child, _, err := p.element(tok, space)
			if err != nil {
				return nil, start.Name, err
			}
			e.children = append(e.children, child)
		case xml.EndElement:
			p.pop()
			e.text = text.String()
			if len(e.children) > 0 {
				if !blank([]byte(e.text)) {
					return nil, start.Name, fmt.Errorf("element %q has text beside elements", e.local)
				}
				e.text = ""
			}
			return e, start.Name, nil
		default:
			return nil, start.Name, fmt.Errorf("element %q has a comment or an instruction in it", e.local)
		}
	}
}

func (p *reader) attributes(e *element, attrs []xml.Attr) error {
	seen := make(map[xml.Name]bool, len(attrs))
	for _, a := range attrs {
		if seen[a.Name] {
			return fmt.Errorf("element %q has the attribute %q twice", e.local, a.Name.Local)
		}
		seen[a.Name] = true
		switch {
		case a.Name == xml.Name{Space: nsXSI, Local: "type"}:
			name, err := p.resolve(a.Value)
			if err != nil {
				return fmt.Errorf("xsi:type of element %q: %w", e.local, err)
			}
			e.xsiType = name
		case a.Name == xml.Name{Local: "type"}:
			e.refType, e.isRef = a.Value, true
		case a.Name == xml.Name{Local: "serverGuid"} && a.Value == "": // of this vCenter
		default:
			return fmt.Errorf("attribute %q of element %q is not accepted", a.Name.Local, e.local)
		}
	}
	return nil
}

// push counts an element, takes its namespace declarations and returns its other
// attributes.
func (p *reader) push(start xml.StartElement) ([]xml.Attr, error) {
	p.elements++
	if p.elements > maxElements || len(p.bindings) >= maxDepth {
		return nil, fmt.Errorf("the request has more than %d elements or %d levels", maxElements, maxDepth)
	}
	var bound map[string]string
	var rest []xml.Attr
	for _, a := range start.Attr {
		prefix := a.Name.Local
		switch {
		case a.Name == xml.Name{Local: "xmlns"}:
			prefix = ""
		case a.Name.Space != "xmlns":
			rest = append(rest, a)
			continue
		}
		if _, twice := bound[prefix]; twice {
			return nil, fmt.Errorf("element %q declares a namespace twice", start.Name.Local)
		}
		if bound == nil {
			bound = make(map[string]string)
		}
		bound[prefix] = a.Value
	}
	p.bindings = append(p.bindings, bound)
	return rest, nil
}

func (p *reader) pop() { p.bindings = p.bindings[:len(p.bindings)-1] }

// usualPrefixes are those that govmomi uses in values without a declaration.
// What is written declares them.
var usualPrefixes = map[string]string{"xsd": nsXSD, "vim25": nsVim, "pbm": nsPBM}

// resolve finds the namespace of a name in a value.
func (p *reader) resolve(value string) (qname, error) {
	prefix, local, ok := strings.Cut(value, ":")
	if !ok {
		prefix, local = "", value
	}
	if !validName(local) {
		return qname{}, fmt.Errorf("%q is no name", value)
	}
	for i := len(p.bindings) - 1; i >= 0; i-- {
		if space, found := p.bindings[i][prefix]; found {
			return qname{space, local}, nil
		}
	}
	if space, usual := usualPrefixes[prefix]; usual {
		return qname{space, local}, nil
	}
	return qname{}, fmt.Errorf("the prefix of %q is not declared", value)
}

func blank(text []byte) bool { return len(bytes.Trim(text, " \t\r\n")) == 0 }

func validName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// validOpID keeps what goes into a header, a log and an audit record harmless.
func validOpID(s string) bool {
	return len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
