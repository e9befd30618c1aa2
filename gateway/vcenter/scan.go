package vcenter

import (
	"bytes"
	"html"
	"strconv"
	"time"

	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"

	"github.com/openpf9/openpf9/gateway/session"
)

// Decoding XML by reflection is nearly all that discovery costs. Replies of
// WaitForUpdatesEx are therefore taken apart here, from their bytes, and only
// values that are structs, and what is missing, are decoded in the usual way. What is
// not as expected, such as a fault, is left to the usual decoder altogether.

// emptyReply is what the usual decoder gets to see when there is nothing left to do.
var emptyReply = []byte(`<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><WaitForUpdatesExResponse xmlns="urn:vim25"/></Body></Envelope>`)

// What a reply may become in memory, in bytes, is bounded, for not every vCenter is
// good: real ones have 100 objects in a reply.
const (
	maxScanned = 64 << 20
	perChild   = 256 // an element that is read, whatever it is
)

// scanner reads tags one after the other.
type scanner struct {
	b    []byte
	at   int // behind what was read
	left int // of maxScanned
}

// spend notes memory that is taken; false: there is none left.
func (s *scanner) spend(bytes int) bool {
	s.left -= bytes
	return s.left >= 0
}

// tag is an opening or closing tag.
type tag struct {
	name  []byte // without its prefix
	attrs []byte
	start int  // of its '<'
	close bool // it ends an element
	empty bool // it begins and ends one
}

// next reads the next tag; false: there is none that could be understood.
func (s *scanner) next() (t tag, ok bool) {
	for {
		i := bytes.IndexByte(s.b[s.at:], '<')
		if i < 0 {
			return t, false
		}
		start := s.at + i
		n := bytes.IndexByte(s.b[start:], '>')
		if n < 2 || s.b[start+1] == '!' {
			return t, false
		}
		inner := s.b[start+1 : start+n]
		s.at = start + n + 1
		if inner[0] == '?' {
			continue
		}
		t = tag{start: start}
		if inner[0] == '/' {
			t.close, inner = true, inner[1:]
		} else if inner[len(inner)-1] == '/' {
			t.empty, inner = true, inner[:len(inner)-1]
		}
		t.name, t.attrs, _ = bytes.Cut(inner, []byte(" "))
		if _, local, prefixed := bytes.Cut(t.name, []byte(":")); prefixed {
			t.name = local
		}
		return t, true
	}
}

// is says whether the tag is of that name.
func (t *tag) is(name string) bool { return string(t.name) == name }

// typ is the tag's type attribute, without a prefix of its value.
func (t *tag) typ() string {
	_, v, ok := bytes.Cut(t.attrs, []byte(`type="`))
	v, _, closed := bytes.Cut(v, []byte(`"`))
	if !ok || !closed {
		return ""
	}
	if _, local, prefixed := bytes.Cut(v, []byte(":")); prefixed {
		v = local
	}
	return intern(string(v))
}

// text reads an element's text up to its closing tag.
func (s *scanner) text(t *tag) (string, bool) {
	if t.empty {
		return "", true
	}
	from := s.at
	end, ok := s.next()
	if !ok || !end.close || !bytes.Equal(end.name, t.name) {
		return "", false
	}
	raw := s.b[from:end.start]
	if bytes.IndexByte(raw, '&') >= 0 {
		return html.UnescapeString(string(raw)), true
	}
	return string(raw), true
}

// skip goes behind an element whose opening tag was read.
func (s *scanner) skip(t *tag) bool {
	depth := 1
	if t.empty {
		depth = 0
	}
	for depth > 0 {
		in, ok := s.next()
		switch {
		case !ok:
			return false
		case in.close:
			depth--
		case !in.empty:
			depth++
		}
	}
	return true
}

// children calls f for each child of an element whose opening tag was read.
func (s *scanner) children(t *tag, f func(child *tag) bool) bool {
	if t.empty {
		return true
	}
	for {
		in, ok := s.next()
		switch {
		case !ok:
			return false
		case in.close:
			return bytes.Equal(in.name, t.name)
		case !s.spend(perChild) || !f(&in):
			return false
		}
	}
}

// scanReply takes a reply apart; false: the usual decoder must. A reply without
// updates is nil.
func scanReply(b []byte) (set *types.UpdateSet, ok bool) {
	s := &scanner{b: b, left: maxScanned}
	for _, name := range []string{"Envelope", "Body", "WaitForUpdatesExResponse"} {
		if t, ok := s.next(); !ok || t.close || !t.is(name) {
			return nil, false
		} else if t.empty {
			return nil, name == "WaitForUpdatesExResponse"
		}
	}
	t, ok := s.next()
	if !ok || t.close {
		return nil, ok && t.is("WaitForUpdatesExResponse")
	}
	set = &types.UpdateSet{}
	ok = t.is("returnval") && s.children(&t, func(c *tag) (ok bool) {
		switch {
		case c.is("version"):
			set.Version, ok = s.text(c)
		case c.is("truncated"):
			var text string
			text, ok = s.text(c)
			set.Truncated = types.NewBool(text == "true" || text == "1")
		case c.is("filterSet"):
			set.FilterSet = append(set.FilterSet, types.PropertyFilterUpdate{})
			ok = s.filterSet(c, &set.FilterSet[len(set.FilterSet)-1])
		}
		return ok
	})
	return set, ok
}

func (s *scanner) filterSet(t *tag, f *types.PropertyFilterUpdate) bool {
	return s.children(t, func(c *tag) (ok bool) {
		switch {
		case c.is("filter"):
			f.Filter, ok = s.reference(c)
		case c.is("objectSet"):
			var u types.ObjectUpdate
			ok = s.objectSet(c, &u)
			f.ObjectSet = append(f.ObjectSet, u)
		case c.is("missingSet"):
			var m struct {
				Object types.MissingObject `xml:"missingSet"`
			}
			ok = s.decode(c, ofMissing, &m)
			f.MissingSet = append(f.MissingSet, m.Object)
		}
		return ok
	})
}

func (s *scanner) objectSet(t *tag, u *types.ObjectUpdate) bool {
	return s.children(t, func(c *tag) (ok bool) {
		switch {
		case c.is("kind"):
			var text string
			text, ok = s.text(c)
			u.Kind = types.ObjectUpdateKind(intern(text))
		case c.is("obj"):
			u.Obj, ok = s.reference(c)
		case c.is("changeSet"):
			u.ChangeSet = append(u.ChangeSet, types.PropertyChange{})
			ok = s.changeSet(c, &u.ChangeSet[len(u.ChangeSet)-1])
		case c.is("missingSet"):
			var m struct {
				Property types.MissingProperty `xml:"missingSet"`
			}
			ok = s.decode(c, ofMissing, &m)
			u.MissingSet = append(u.MissingSet, m.Property)
		}
		return ok
	})
}

func (s *scanner) changeSet(t *tag, p *types.PropertyChange) bool {
	return s.children(t, func(c *tag) (ok bool) {
		var text string
		switch {
		case c.is("name"):
			text, ok = s.text(c)
			p.Name = intern(text)
		case c.is("op"):
			text, ok = s.text(c)
			p.Op = types.PropertyChangeOp(intern(text))
		case c.is("val"):
			p.Val, ok = s.value(c)
		}
		return ok
	})
}

func (s *scanner) int64(t *tag) (int64, bool) {
	text, ok := s.text(t)
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && err == nil
}

func (s *scanner) int32(t *tag) (int32, bool) {
	n, ok := s.int64(t)
	return int32(n), ok && n == int64(int32(n))
}

func (s *scanner) reference(t *tag) (types.ManagedObjectReference, bool) {
	text, ok := s.text(t)
	return types.ManagedObjectReference{Type: t.typ(), Value: intern(text)}, ok && t.typ() != ""
}

// value reads a property's value.
func (s *scanner) value(t *tag) (any, bool) {
	typ := t.typ()
	switch typ {
	case "ManagedObjectReference":
		return s.referenceValue(t)
	case "ArrayOfManagedObjectReference":
		var a types.ArrayOfManagedObjectReference
		ok := s.children(t, func(c *tag) bool {
			ref, ok := s.reference(c)
			a.ManagedObjectReference = append(a.ManagedObjectReference, ref)
			return ok
		})
		return a, ok
	case "string", "int", "long", "short", "boolean", "dateTime", "VirtualMachinePowerState", "VirtualMachineConnectionState":
		text, ok := s.text(t)
		if !ok {
			return nil, false
		}
		v, err := simple(typ, text)
		return v, err == nil
	}
	if typ == "ArrayOfVirtualDevice" {
		return s.devices(t)
	}
	var p types.DynamicProperty
	ok := s.decode(t, session.Weight(typ), &p)
	return p.Val, ok && p.Val != nil
}

// referenceValue reads a reference that is a value: its own type attribute says
// that it is one, and another one of which object.
func (s *scanner) referenceValue(t *tag) (any, bool) {
	of := t.attrs
	for {
		i := bytes.Index(of, []byte(`type="`))
		if i < 0 {
			return nil, false
		}
		if i == 0 || of[i-1] == ' ' { // without a prefix
			of = of[i+len(`type="`):]
			break
		}
		of = of[i+len(`type="`):]
	}
	typ, _, closed := bytes.Cut(of, []byte(`"`))
	text, ok := s.text(t)
	return types.ManagedObjectReference{Type: intern(string(typ)), Value: intern(text)}, ok && closed
}

// simple reads a value that is no struct.
func simple(typ, text string) (any, error) {
	switch typ {
	case "string":
		return text, nil
	case "int":
		n, err := strconv.ParseInt(text, 10, 32)
		return int32(n), err
	case "short":
		n, err := strconv.ParseInt(text, 10, 16)
		return int16(n), err
	case "long":
		return strconv.ParseInt(text, 10, 64)
	case "boolean":
		return strconv.ParseBool(text)
	case "dateTime":
		return time.Parse(time.RFC3339Nano, text)
	case "VirtualMachinePowerState":
		return types.VirtualMachinePowerState(intern(text)), nil
	}
	return types.VirtualMachineConnectionState(intern(text)), nil
}

const (
	valueHead = `<v xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">`
	valueTail = `</v>`
)

// ofMissing weighs what says that something is missing, with the fault in it.
const ofMissing = 24

// decode decodes an element whose opening tag was read, as a member of v, in the
// usual way.
func (s *scanner) decode(t *tag, weight int, v any) (ok bool) {
	defer func() {
		if recover() != nil { // govmomi's, at one type in the place of another
			ok = false
		}
	}()
	if !s.skip(t) || !s.spend(weight*(s.at-t.start)) {
		return false
	}
	b := s.b[t.start:s.at]
	whole := make([]byte, 0, len(valueHead)+len(b)+len(valueTail))
	whole = append(append(append(whole, valueHead...), b...), valueTail...)
	d := xml.NewDecoder(bytes.NewReader(whole))
	d.TypeFunc = session.Decodable
	return d.Decode(v) == nil
}
