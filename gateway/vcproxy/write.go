package vcproxy

import (
	"bytes"
	"encoding/xml"
)

// encode writes the call again, in the one form that vCenter is ever sent: one
// spelling of every prefix, no attribute beside types, vcSession in the header
// where the service wants it there.
func (c *call) encode(vcSession string) []byte {
	b := new(bytes.Buffer)
	b.WriteString(xml.Header)
	b.WriteString(`<soapenv:Envelope xmlns:soapenv="` + nsSOAP + `" xmlns:xsd="` + nsXSD + `" xmlns:xsi="` + nsXSI + `" xmlns:vim25="` + nsVim + `" xmlns:pbm="` + nsPBM + `">`)
	if c.opID != "" || vcSession != "" {
		b.WriteString("<soapenv:Header>")
		leaf(b, "operationID", c.opID)
		leaf(b, "vcSessionCookie", vcSession)
		b.WriteString("</soapenv:Header>")
	}
	b.WriteString("<soapenv:Body>")
	c.root.encode(b, c.space, true)
	b.WriteString("</soapenv:Body></soapenv:Envelope>")
	return b.Bytes()
}

// leaf writes an element with text, or nothing for no text.
func leaf(b *bytes.Buffer, name, text string) {
	if text == "" {
		return
	}
	b.WriteString("<" + name + ">")
	escape(b, text)
	b.WriteString("</" + name + ">")
}

func (e *element) encode(b *bytes.Buffer, space string, outermost bool) {
	b.WriteString("<" + e.local)
	if outermost {
		b.WriteString(` xmlns="` + space + `"`)
	}
	if e.xsiType.local != "" {
		b.WriteString(` xsi:type="` + prefixed(e.xsiType, space) + `"`)
	}
	if e.isRef {
		b.WriteString(` type="`)
		escape(b, e.refType)
		b.WriteString(`"`)
	}
	b.WriteString(">")
	escape(b, e.text)
	for _, c := range e.children {
		c.encode(b, space, false)
	}
	b.WriteString("</" + e.local + ">")
}

// prefixed spells a type's name; without a prefix it is of the method's namespace.
func prefixed(name qname, space string) string {
	switch name.space {
	case space:
		return name.local
	case nsXSD:
		return "xsd:" + name.local
	case nsPBM:
		return "pbm:" + name.local
	default:
		return "vim25:" + name.local
	}
}

func escape(b *bytes.Buffer, text string) {
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes everything
}
