package vcproxy

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	_ "github.com/vmware/govmomi/pbm/types" // registers the types of urn:pbm
	"github.com/vmware/govmomi/vim25/types"
)

// Ref names one managed object of vCenter.
type Ref = types.ManagedObjectReference

var (
	refType   = reflect.TypeFor[types.ManagedObjectReference]()
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[types.ByteSlice]()
	anyType   = reflect.TypeFor[types.AnyType]()
)

// schema checks calls against the types of the vSphere API. A call that passes
// has no element that the API does not know there, no value twice where one
// belongs, no value of another type than declared, and no reference that does
// not say so: what the policy looks at is then all that vCenter can read.
type schema struct {
	mu     sync.Mutex // guards fields
	fields map[reflect.Type]map[string]field
}

// field is an element that a type may have.
type field struct {
	typ  reflect.Type
	many bool
}

// visitor is told every element of a call with the type that it has.
type visitor func(e *element, t reflect.Type) error

func newSchema() *schema {
	return &schema{fields: make(map[reflect.Type]map[string]field)}
}

// lookup finds the type of a name, which Go knows by its namespace's prefix.
func lookup(name qname) (reflect.Type, bool) {
	if name.space == nsPBM {
		return types.TypeFunc()("pbm:" + name.local)
	}
	if name.space != nsVim {
		return nil, false
	}
	return types.TypeFunc()(name.local)
}

// check walks the whole call. It puts what it accepts into one form: booleans,
// whole numbers, and types only where they say something.
func (s *schema) check(c *call, visit visitor) error {
	t, ok := lookup(qname{c.space, c.method()})
	if !ok || t.Kind() != reflect.Struct {
		return fmt.Errorf("no method %q is known", c.method())
	}
	if c.root.isRef || c.root.xsiType.local != "" || c.root.text != "" && !blank([]byte(c.root.text)) {
		return fmt.Errorf("method %q has attributes or text", c.method())
	}
	c.root.text = ""
	if err := s.structure(c.root, t, c.space, visit); err != nil {
		return fmt.Errorf("%s: %w", c.method(), err)
	}
	return nil
}

func (s *schema) structure(e *element, t reflect.Type, space string, visit visitor) error {
	known := s.of(t)
	seen := make(map[string]bool, len(e.children))
	for _, child := range e.children {
		f, ok := known[child.local]
		if !ok {
			return fmt.Errorf("%s has no %q", t.Name(), child.local)
		}
		if seen[child.local] && !f.many {
			return fmt.Errorf("%q of %s is there twice", child.local, t.Name())
		}
		seen[child.local] = true
		if err := s.value(child, f.typ, space, visit); err != nil {
			return fmt.Errorf("%s: %w", child.local, err)
		}
	}
	return nil
}

// value checks one element that is declared to be of type t.
func (s *schema) value(e *element, t reflect.Type, space string, visit visitor) error {
	actual, err := narrow(e, t, space)
	if err != nil {
		return err
	}
	switch {
	case actual == refType:
		err = checkRef(e)
	case e.isRef:
		return fmt.Errorf("a reference stands where %s belongs", actual.Name())
	case actual.Kind() == reflect.Struct && actual != timeType:
		if e.text != "" && !blank([]byte(e.text)) {
			return fmt.Errorf("text stands where %s belongs", actual.Name())
		}
		e.text = ""
		err = s.structure(e, actual, space, visit)
	default:
		err = scalar(e, actual)
	}
	if err != nil {
		return err
	}
	return visit(e, actual)
}

// narrow finds the type that an element has, from the declared one and what it
// says itself, and drops what it says where that is no news.
func narrow(e *element, declared reflect.Type, space string) (reflect.Type, error) {
	said := e.xsiType
	if declared.Kind() != reflect.Interface {
		if said.local != "" && !names(said, declared, space) {
			return nil, fmt.Errorf("%q stands where %s belongs", said.local, declared.Name())
		}
		e.xsiType = qname{}
		return declared, nil
	}
	if said.local == "" {
		base, ok := strings.CutPrefix(declared.Name(), "Base")
		if !ok {
			return nil, errors.New("a value of any type must say which")
		}
		said = qname{space, base}
		if !strings.HasPrefix(base, "Pbm") {
			said.space = nsVim
		}
	}
	if said.space == nsXSD {
		t, ok := xsdTypes[said.local]
		if !ok || declared != anyType && declared.NumMethod() > 0 {
			return nil, fmt.Errorf("%q is no type that belongs here", said.local)
		}
		return t, nil
	}
	t, ok := lookup(said)
	if !ok {
		return nil, fmt.Errorf("the type %q is not known", said.local)
	}
	if declared.NumMethod() > 0 && !reflect.PointerTo(t).Implements(declared) {
		return nil, fmt.Errorf("%q stands where %s belongs", said.local, declared.Name())
	}
	return t, nil
}

// names says whether a name in a request is that of a type that has no others
// below it.
func names(said qname, t reflect.Type, space string) bool {
	if said.space == nsXSD {
		got, ok := xsdTypes[said.local]
		return ok && t.Kind() != reflect.Struct && (got == t || got.Kind() == t.Kind() || t == timeType)
	}
	got, ok := lookup(said)
	return ok && got == t
}

var xsdTypes = map[string]reflect.Type{
	"string": reflect.TypeFor[string](), "anyURI": reflect.TypeFor[string](),
	"boolean": reflect.TypeFor[bool](), "byte": reflect.TypeFor[int8](), "short": reflect.TypeFor[int16](),
	"int": reflect.TypeFor[int32](), "long": reflect.TypeFor[int64](), "float": reflect.TypeFor[float32](),
	"double": reflect.TypeFor[float64](), "dateTime": timeType, "base64Binary": reflect.TypeFor[[]byte](),
}

var (
	wholeNumber = regexp.MustCompile(`^(-?[0-9]{1,20})(\.0+)?$`)
	realNumber  = regexp.MustCompile(`^-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?$`)
	instant     = regexp.MustCompile(`^[0-9T:.+-]{1,40}Z?$`)
	base64      = regexp.MustCompile(`^[A-Za-z0-9+/=\s]*$`)
	refTypeName = regexp.MustCompile(`^[A-Z][A-Za-z]{1,63}$`)
	refValue    = regexp.MustCompile(`^[!-~]{1,255}$`)
)

func checkRef(e *element) error {
	if !e.isRef || len(e.children) > 0 {
		return errors.New("a reference does not say the type of its object")
	}
	if !refTypeName.MatchString(e.refType) || !refValue.MatchString(e.text) {
		return errors.New("this is no reference to an object")
	}
	return nil
}

func scalar(e *element, t reflect.Type) error {
	if len(e.children) > 0 {
		return errors.New("elements stand where a value belongs")
	}
	ok := true
	switch {
	case t == timeType:
		ok = instant.MatchString(e.text)
	case t.Kind() == reflect.Slice:
		ok = base64.MatchString(e.text)
	case t.Kind() == reflect.String:
	case t.Kind() == reflect.Bool:
		switch e.text {
		case "1", "True": // nova writes Python's words
			e.text = "true"
		case "0", "False":
			e.text = "false"
		}
		ok = e.text == "true" || e.text == "false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		parts := wholeNumber.FindStringSubmatch(e.text)
		if ok = parts != nil; ok {
			e.text = parts[1]
		}
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		ok = realNumber.MatchString(e.text)
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("%.40q is no %s", e.text, t)
	}
	return nil
}

// of returns the elements that a type may have, its embedded types' too.
func (s *schema) of(t reflect.Type) map[string]field {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.fields[t]
	if !ok {
		known = make(map[string]field)
		collect(t, known)
		s.fields[t] = known
	}
	return known
}

func collect(t reflect.Type, known map[string]field) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("xml"), ",")
		if f.Anonymous && name == "" {
			collect(f.Type, known)
			continue
		}
		if name == "" || name == "-" || strings.Contains(","+options+",", ",attr,") {
			continue
		}
		name = name[strings.LastIndexByte(name, ' ')+1:] // a tag may have a namespace before the name
		known[name] = describe(f.Type)
	}
}

func describe(t reflect.Type) field {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == bytesType: // one element per byte
		return field{reflect.TypeFor[int16](), true}
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		inner := t.Elem()
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		return field{inner, true}
	}
	return field{t, false}
}

// ref is the object that an element names. Its type is checked already.
func (e *element) ref() Ref { return Ref{Type: e.refType, Value: e.text} }
