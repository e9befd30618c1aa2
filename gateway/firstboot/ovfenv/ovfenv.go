// Package ovfenv reads what the hypervisor hands to an appliance at its
// deployment: the OVF environment (DMTF DSP0243), an XML document with the
// properties that the administrator typed. It reads the document from VMware's
// guestinfo, from a disc without mounting it, or from a file. It knows no
// property by name.
package ovfenv

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

const (
	// MaxBytes bounds a document.
	MaxBytes      = 1 << 20
	maxProperties = 1000
	namespace     = "http://schemas.dmtf.org/ovf/environment/1"
)

// Environment is one document.
type Environment struct {
	// Properties by key, "gw.ip"; a class and an instance are part of the key.
	Properties map[string]string
}

// document is what of the XML matters. Sections of other virtual machines of a
// vApp are inside of Entity elements, which are not looked into.
type document struct {
	XMLName  xml.Name
	Sections []struct {
		Properties []struct {
			Attrs []xml.Attr `xml:",any,attr"`
		} `xml:"Property"`
	} `xml:"PropertySection"`
}

// Parse reads a document. It refuses what is not well formed, as a value with
// a bare & is: guessing at what was typed would be worse. What some transports
// add behind the document, zero bytes and white space, is no mistake.
func Parse(b []byte) (Environment, error) {
	var env Environment
	b = bytes.TrimRight(b, "\x00 \t\r\n")
	if len(b) > MaxBytes {
		return env, fmt.Errorf("the OVF environment has more than %d bytes", MaxBytes)
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	var doc document
	if err := d.Decode(&doc); err != nil {
		return env, fmt.Errorf("the OVF environment is not well-formed XML: %w", err)
	}
	if doc.XMLName.Local != "Environment" || doc.XMLName.Space != namespace {
		return env, fmt.Errorf("the document is no OVF environment: its root is %.100q of %.200q, want \"Environment\" of %q", doc.XMLName.Local, doc.XMLName.Space, namespace)
	}
	if err := onlyMisc(d); err != nil {
		return env, err
	}
	env.Properties = make(map[string]string)
	for _, section := range doc.Sections {
		for _, p := range section.Properties {
			if err := env.add(p.Attrs); err != nil {
				return Environment{}, err
			}
		}
	}
	return env, nil
}

// onlyMisc reads to the end and refuses a second document.
func onlyMisc(d *xml.Decoder) error {
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the OVF environment is not well-formed XML: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			return errors.New("there is a second document behind the OVF environment")
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errors.New("there is text behind the OVF environment")
			}
		}
	}
}

func (e *Environment) add(attrs []xml.Attr) error {
	var key, value string
	for _, a := range attrs {
		switch a.Name.Local {
		case "key":
			key = a.Value
		case "value":
			value = a.Value
		}
	}
	if key == "" {
		return errors.New("the OVF environment has a property without a key")
	}
	if _, twice := e.Properties[key]; twice {
		return fmt.Errorf("the OVF environment has the property %.100q twice", key)
	}
	if len(e.Properties) == maxProperties {
		return fmt.Errorf("the OVF environment has more than %d properties", maxProperties)
	}
	e.Properties[key] = value
	return nil
}

// Marshal writes the environment as a document that Parse reads.
func (e Environment) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	fmt.Fprintf(&b, "<Environment xmlns=%q xmlns:oe=%q oe:id=\"\">\n  <PropertySection>\n", namespace, namespace)
	for _, key := range slices.Sorted(maps.Keys(e.Properties)) {
		fmt.Fprintf(&b, "    <Property oe:key=\"%s\" oe:value=\"%s\"/>\n", escape(key), escape(e.Properties[key]))
	}
	b.WriteString("  </PropertySection>\n</Environment>\n")
	return b.Bytes()
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}
