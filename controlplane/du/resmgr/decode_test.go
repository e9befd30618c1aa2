package resmgr

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

func packed(text string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return out.String()
}

func TestDecode(t *testing.T) {
	message := `{"hostname":"kvm1"}`
	for name, c := range map[string]struct {
		encoding, body string
		status         int // of the refusal; 0: none
	}{
		"plain":                     {"", message, 0},
		"compressed":                {"gzip", packed(message), 0},
		"not what it says":          {"gzip", message, http.StatusBadRequest},
		"cut short":                 {"gzip", packed(message)[:12], http.StatusBadRequest},
		"of an unknown encoding":    {"br", message, http.StatusUnsupportedMediaType},
		"too large":                 {"", strings.Repeat(" ", wire.MaxReport+1) + message, http.StatusRequestEntityTooLarge},
		"too large when unpacked":   {"gzip", packed(strings.Repeat(" ", wire.MaxReport+1) + message), http.StatusRequestEntityTooLarge},
		"as large as it may become": {"gzip", packed(strings.Repeat(" ", wire.MaxReport-len(message)) + message), 0},
		"of many elements":          {"", `{"kinds":[` + strings.Repeat("{},", maxElements-10) + `{}],"hostname":"kvm1"}`, 0},
		"of too many elements":      {"gzip", packed(`{"kinds":[` + strings.Repeat("null,", maxElements+1) + `null]}`), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/v1/hello", strings.NewReader(c.body))
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			var got wire.Hello
			err := decode(httptest.NewRecorder(), r, &got)
			if c.status == 0 {
				if err != nil || got.Hostname != "kvm1" {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if e, ok := errors.AsType[*httpapi.Error](err); !ok || e.Status != c.status {
				t.Errorf("error %v, want status %d", err, c.status)
			}
		})
	}
}

func TestElements(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, `{}`: 0, `{"a":1,"b":2}`: 0, `{"a":[1,2,3]}`: 2, `{"a":[{"b":[1,2,3],"c":1},{}],"d":[null,null]}`: 2, `{"a":["},],",",\",\\"]}`: 1, `]]],[[[`: 0,
	} {
		if got := elements([]byte(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// A host that sends without end has four messages in our memory.
func TestMessagesOfOneHostAtOnceAreBounded(t *testing.T) {
	all := &turns{of: make(map[wire.HostID]int)}
	for range maxAtOnce {
		if !all.enter("a") {
			t.Fatal("too early")
		}
	}
	if all.enter("a") || !all.enter("b") {
		t.Error("the bound is not one host's")
	}
	all.leave("a")
	if !all.enter("a") || all.enter("a") {
		t.Error("one that ended leaves no place, or more than one")
	}
}
