package api

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// AppendJSON appends the page as json.Marshal writes it, but takes the specs as
// they are, for a page is mostly specs: they must be valid and compact JSON.
func (p *Resources) AppendJSON(b []byte) []byte {
	b = append(b, `{"items":`...)
	if p.Items == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for i := range p.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.Items[i].AppendJSON(b)
		}
		b = append(b, ']')
	}
	b = appendText(b, "continue", p.Continue)
	b = append(b, `,"revision":`...)
	return append(appendString(b, p.Revision), '}')
}

// AppendJSON appends the resource as json.Marshal writes it; its Spec and Ext
// must be valid and compact JSON.
func (r *Resource) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"host":`...), string(r.Host))
	b = appendText(b, "hostname", r.Hostname)
	b = appendString(append(b, `,"kind":`...), r.Kind)
	b = appendString(append(b, `,"id":`...), r.ID)
	b = appendText(b, "name", r.Name)
	b = appendText(b, "state", r.State)
	if r.Parent != (plugin.Key{}) {
		b = appendString(append(b, `,"parent":{"kind":`...), r.Parent.Kind)
		b = append(appendString(append(b, `,"id":`...), r.Parent.ID), '}')
	}
	b = appendText(b, "source", r.Source)
	b = strconv.AppendUint(append(b, `,"revision":`...), r.Revision, 10)
	b = strconv.AppendUint(append(b, `,"generation":`...), r.Generation, 10)
	b = strconv.AppendBool(append(b, `,"stale":`...), r.Stale)
	if !r.StaleSince.IsZero() {
		b = append(b, `,"stale_since":"`...)
		b = append(r.StaleSince.AppendFormat(b, time.RFC3339Nano), '"')
	}
	b = appendText(b, "stale_reason", r.StaleReason)
	b = appendText(b, "invalid", r.Invalid)
	b = appendRaw(append(b, `,"spec":`...), r.Spec)
	if len(r.Ext) > 0 {
		b = append(append(b, `,"ext":`...), r.Ext...)
	}
	return append(b, '}')
}

// appendText appends a member that is left out when it is empty.
func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendString(b, s)
}

func appendRaw(b []byte, raw json.RawMessage) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

// appendString appends a JSON string. What needs an escape is left to
// encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string has no error
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
