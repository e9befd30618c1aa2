package vcproxy

import (
	"bytes"
	"encoding/xml"
	"regexp"
	"strings"
)

// These functions read answers of vCenter, or their beginnings. They are not
// strict: what they do not understand is passed on as it is.

// tokens calls f for each element's start and text, with the names of the
// elements around it, itself last, until f returns false or the bytes end.
func tokens(answer []byte, f func(path []string, tok xml.Token) bool) {
	if _, err := scan(answer); err != nil {
		return // vCenter has no such elements
	}
	dec := xml.NewDecoder(bytes.NewReader(answer))
	var path []string
	for {
		tok, err := dec.Token()
		if err != nil {
			return
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			path = append(path, tok.Name.Local)
		case xml.EndElement:
			path = path[:max(0, len(path)-1)]
			continue
		}
		if len(path) > 0 && !f(path, tok) {
			return
		}
	}
}

// typeOf is the value of xsi:type, without its prefix.
func typeOf(start xml.StartElement) string {
	for _, a := range start.Attr {
		if a.Name.Space == nsXSI && a.Name.Local == "type" {
			return a.Value[strings.LastIndexByte(a.Value, ':')+1:]
		}
	}
	return ""
}

func attr(start xml.StartElement, name string) string {
	for _, a := range start.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// faultName is the type of the fault that an answer is, or "".
func faultName(answer []byte) (name string) {
	tokens(answer, func(path []string, tok xml.Token) bool {
		start, ok := tok.(xml.StartElement)
		if !ok || len(path) != 5 || path[2] != "Fault" || path[3] != "detail" {
			return true
		}
		name = typeOf(start)
		if name == "" {
			name = strings.TrimSuffix(path[4], "Fault")
		}
		return false
	})
	return name
}

// allMissing says whether the answer of a reading call shows a dead session: no
// property of any object, and the reason is that nobody is logged in.
func allMissing(head []byte) bool {
	properties, dead := false, false
	tokens(head, func(path []string, tok xml.Token) bool {
		start, ok := tok.(xml.StartElement)
		if !ok {
			return true
		}
		switch path[len(path)-1] {
		case "propSet", "changeSet":
			properties = true
		case "fault":
			dead = dead || typeOf(start) == "NotAuthenticated"
		}
		return !properties
	})
	return dead && !properties
}

// returned is the reference that an answer consists of.
func returned(answer []byte) (ref Ref) {
	tokens(answer, func(path []string, tok xml.Token) bool {
		switch tok := tok.(type) {
		case xml.StartElement:
			if len(path) == 4 && path[3] == "returnval" {
				ref.Type = attr(tok, "type")
			}
		case xml.CharData:
			if len(path) == 4 && path[3] == "returnval" {
				ref.Value += string(tok)
			}
		}
		return true
	})
	return ref
}

// referred reads the references in the properties of one object. It is false if a
// property could not be read.
func referred(answer []byte) (refs []Ref, whole bool) {
	whole = true
	open := 0 // how deep the element of the last one is
	tokens(answer, func(path []string, tok xml.Token) bool {
		switch tok := tok.(type) {
		case xml.StartElement:
			name := path[len(path)-1]
			whole = whole && name != "missingSet"
			open = 0
			if kind := attr(tok, "type"); kind != "" && (name == "val" || name == "ManagedObjectReference") {
				refs = append(refs, Ref{Type: kind})
				open = len(path)
			}
		case xml.CharData:
			if open > 0 && len(path) == open {
				refs[len(refs)-1].Value += string(tok)
			}
		}
		return whole
	})
	return refs, whole
}

// stringsIn reads the strings of a property that is an array of them.
func stringsIn(answer []byte) (list []string) {
	tokens(answer, func(path []string, tok xml.Token) bool {
		if path[len(path)-1] != "string" {
			return true
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			list = append(list, "")
		case xml.CharData:
			if len(list) > 0 {
				list[len(list)-1] += string(tok)
			}
		}
		return true
	})
	return list
}

// contentRef finds a reference in an answer to RetrieveServiceContent.
func contentRef(answer []byte, name string) (ref Ref) {
	tokens(answer, func(path []string, tok xml.Token) bool {
		at := len(path) == 5 && path[4] == name
		switch tok := tok.(type) {
		case xml.StartElement:
			if at {
				ref.Type = attr(tok, "type")
			}
		case xml.CharData:
			if at {
				ref.Value += string(tok)
			}
		}
		return true
	})
	return ref
}

var (
	deviceURL = regexp.MustCompile(`(?s)<deviceUrl>.*?</deviceUrl>`)
	urlInside = regexp.MustCompile(`<url>https://([^/<]+)(/[^<]*)</url>`)
	hostCert  = regexp.MustCompile(`<ssl(?:Thumbprint|Certificate)(?:/>|>[^<]*</ssl(?:Thumbprint|Certificate)>)`)
)

// leaseURLs finds the addresses of transfers in an answer. found decides on each;
// an address that it accepts becomes one at the gateway: by the API, the host "*"
// is whom the client is connected to. It gets the thumbprint that is given here;
// OpenStack's client does not do without one, be it empty.
func leaseURLs(answer []byte, thumb string, found func(host, path string) bool) []byte {
	return deviceURL.ReplaceAllFunc(answer, func(one []byte) []byte {
		m := urlInside.FindSubmatch(one)
		if m == nil {
			return one
		}
		host, path := unescape(m[1]), unescape(m[2])
		if host == "" || path == "" || !found(host, path) {
			return one
		}
		one = hostCert.ReplaceAll(one, nil)
		return bytes.Replace(one, m[0], []byte("<url>https://*"+string(m[2])+"</url><sslThumbprint>"+thumb+"</sslThumbprint>"), 1)
	})
}

// unescape reads the text of an element.
func unescape(text []byte) string {
	var out strings.Builder
	tokens([]byte("<t>"+string(text)+"</t>"), func(_ []string, tok xml.Token) bool {
		if text, ok := tok.(xml.CharData); ok {
			out.Write(text)
		}
		return true
	})
	return out.String()
}
