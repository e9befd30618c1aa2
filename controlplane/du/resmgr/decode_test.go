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
