package vcproxy

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"time"
)

// fault is an answer that says no in the words of the vSphere API, so that any
// client understands it.
type fault struct {
	name   string // of the fault's type, such as NoPermission
	object Ref    // zero: the fault has none
	text   string // for people
	more   string // elements of the type, ready
}

const replyHead = xml.Header + `<soapenv:Envelope xmlns:soapenv="` + nsSOAP + `" xmlns:xsd="` + nsXSD + `" xmlns:xsi="` + nsXSI + `"><soapenv:Body>`

const replyTail = `</soapenv:Body></soapenv:Envelope>`

// denied is the answer to what the policy refuses.
func denied(method string, object Ref, why string) fault {
	privilege := "openpf9.gateway." + method
	return fault{"NoPermission", object, "Permission to perform this operation was denied. " + why, "<privilegeId>" + escaped(privilege) + "</privilegeId>"}
}

// notAuthenticated is the answer to calls without a session of ours.
func notAuthenticated(object Ref) fault {
	return fault{"NotAuthenticated", object, "The session is not authenticated.", "<privilegeId>System.View</privilegeId>"}
}

func (f fault) Error() string { return f.text }

func (f fault) write(w http.ResponseWriter) {
	b := bytes.NewBufferString(replyHead)
	b.WriteString(`<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>` + escaped(f.text) + `</faultstring><detail>`)
	b.WriteString(`<` + f.name + `Fault xmlns="` + nsVim + `" xsi:type="` + f.name + `">`)
	if f.object != (Ref{}) {
		b.WriteString(`<object type="` + escaped(f.object.Type) + `">` + escaped(f.object.Value) + `</object>`)
	}
	b.WriteString(f.more + `</` + f.name + `Fault></detail></soapenv:Fault>` + replyTail)
	reply(w, http.StatusInternalServerError, b.Bytes())
}

// answer writes what a method returns.
func answer(w http.ResponseWriter, method, inner string) {
	reply(w, http.StatusOK, []byte(replyHead+`<`+method+`Response xmlns="`+nsVim+`">`+inner+`</`+method+`Response>`+replyTail))
}

func reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

// record is the session as vCenter would show it to its client.
func (s *session) record() string {
	s.mu.Lock()
	used, calls := s.used, s.calls
	s.mu.Unlock()
	b := new(bytes.Buffer)
	leaf(b, "key", s.key)
	leaf(b, "userName", s.user)
	leaf(b, "fullName", "openpf9 gateway: "+string(s.client))
	leaf(b, "loginTime", s.began.UTC().Format(time.RFC3339Nano))
	leaf(b, "lastActiveTime", used.UTC().Format(time.RFC3339Nano))
	leaf(b, "locale", "en")
	leaf(b, "messageLocale", "en")
	leaf(b, "extensionSession", "false")
	leaf(b, "ipAddress", s.remote)
	leaf(b, "userAgent", s.agent)
	leaf(b, "callCount", fmt.Sprint(calls))
	return b.String()
}

// currentSession answers a client that asks the property collector for its own
// session; none has no property.
func currentSession(w http.ResponseWriter, method string, object Ref, s *session) {
	content := `<obj type="` + escaped(object.Type) + `">` + escaped(object.Value) + `</obj>`
	if s != nil {
		content += `<propSet><name>currentSession</name><val xsi:type="UserSession">` + s.record() + `</val></propSet>`
	}
	if method == "RetrievePropertiesEx" {
		content = `<objects>` + content + `</objects>`
	}
	answer(w, method, `<returnval>`+content+`</returnval>`)
}

func escaped(text string) string {
	b := new(bytes.Buffer)
	escape(b, text)
	return b.String()
}
