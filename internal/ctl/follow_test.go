package ctl

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// until is a buffer that calls done when it holds the text.
type until struct {
	bytes.Buffer
	text string
	done func()
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.done()
	}
	return n, err
}

func TestGetWatch(t *testing.T) {
	const id = "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a"
	lun := func(name, size string) string {
		return `{"host":"` + id + `","hostname":"kvm1","kind":"com.acme.lun","id":"` + name + `","name":"` + name + `","spec":{"size_bytes":` + size + `}}`
	}
	host := `host ` + `{"id":"` + id + `","hostname":"kvm1"}`
	from := func(connected bool, state, reason string) string {
		return fmt.Sprintf(`host {"id":"%s","hostname":"kvm1","connected":%v,"reason":"rebooting","sources":[`+
			`{"name":"array","state":"%s","reason":"%s","kinds":["com.acme.lun"]},{"name":"libvirt","state":"failed","kinds":["vm"]}]}`, id, connected, state, reason)
	}
	gone := `deleted {"host":"` + id + `","kind":"com.acme.lun","id":"a","name":"a","deleted":true}`
	tests := []struct {
		name, line string
		events     []string
		want       string
	}{
		{
			"table", "get com.acme.lun -w",
			[]string{host, "added " + lun("a", "1024"), "synced {}", "added " + lun("b", "2048"), "modified " + lun("a", "4096"), gone},
			"EVENT     HOST  ID  NAME  STATE  SIZE\n" +
				"known     kvm1  a   a     -      1.0 KiB\n" +
				"added     kvm1  b   b     -      2.0 KiB\n" +
				"modified  kvm1  a   a     -      4.0 KiB\n" +
				"deleted   kvm1  a   a     -      -\n",
		},
		{
			"nothing at first, one only, reset", "get com.acme.lun b -w --no-headers",
			[]string{"synced {}", "added " + lun("a", "1"), "added " + lun("b", "1"), "reset {}", "added " + lun("b", "2"), "synced {}"},
			"added     kvm1  b   b     -      1 B\nknown     kvm1  b   b     -      2 B\n",
		},
		{
			"sources that turn", "get com.acme.lun -w",
			[]string{
				from(true, "ok", ""), "added " + lun("a", "1024"), "synced {}", from(true, "degraded", "array 7 does not answer"),
				from(true, "degraded", "array 7 does not answer"), from(false, "degraded", ""), from(true, "ok", ""),
			},
			"known     kvm1  a   a     -      1.0 KiB\n" +
				"stale     array on kvm1 is degraded: array 7 does not answer\n" +
				"stale     kvm1 is disconnected: rebooting\n" +
				"fresh     kvm1 is connected\nfresh     array on kvm1 is ok\n",
		},
		{
			"sources that are stale at first", "get com.acme.lun -w",
			[]string{from(true, "degraded", "array 7 does not answer"), "added " + lun("a", "1024"), "synced {}"},
			"known     kvm1  a   a     -      1.0 KiB\nstale     array on kvm1 is degraded: array 7 does not answer\n",
		},
		{
			"sources that turn as JSON lines", "get com.acme.lun -w -o json",
			[]string{from(true, "ok", ""), "synced {}", from(true, "failed", "gone")},
			`]}}` + "\n" + `{"event":"source","data":{"host":"` + id + `","hostname":"kvm1","name":"array","state":"failed","stale":true,"reason":"gone"}}` + "\n",
		},
		{"JSON lines", "get com.acme.lun -w -o json", []string{"synced {}", gone}, `{"event":"deleted","data":{"host":"` + id},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/api/v1/kinds/com.acme.lun" {
					fmt.Fprint(w, `{"kind":"com.acme.lun","columns":[{"name":"SIZE","path":"size_bytes"}]}`)
					return
				}
				if r.URL.Path != "/api/v1/watch" || r.URL.Query().Get("kind") != "com.acme.lun" {
					t.Errorf("asked for %s", r.URL)
				}
				for _, e := range test.events {
					name, data, _ := strings.Cut(e, " ")
					fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
				}
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
			defer s.Close()
			ca, token := credentials(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			out := &until{text: test.want, done: cancel}
			var errs bytes.Buffer
			args := append(strings.Fields(test.line), "--url", s.URL, "--ca-file", ca, "--token-file", token)
			if status := Main(ctx, "", args, out, &errs); status != 0 || !strings.Contains(out.String(), test.want) {
				t.Errorf("status %d\n%s\n%s\nwant\n%s", status, &errs, out, test.want)
			}
		})
	}
}
