package tunnel

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, 1, frameFin))
	f.Add(opening{Bulk, 5, "vnc"}.appendTo(nil, 3))
	f.Add(appendText(nil, 0, frameEnd, "bye"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerLen {
			return
		}
		h, err := parseHeader((*[headerLen]byte)(b))
		if err != nil {
			return
		}
		if again := appendHeader(nil, h); !bytes.Equal(again, b[:headerLen]) {
			t.Errorf("%x reads as %+v, which writes as %x", b[:headerLen], h, again)
		}
		if body := b[headerLen:]; h.kind == frameOpen && len(body) >= h.length {
			if o, err := parseOpening(body[:h.length]); err == nil && !bytes.Equal(o.appendTo(nil, h.stream), b[:headerLen+h.length]) {
				t.Errorf("%x reads as %+v", b, o)
			}
		}
	})
}

// raw returns a session at a server and a bare WebSocket at its other end.
func raw(t testing.TB, c Config) (*Session, *websocket.Conn) {
	t.Helper()
	sessions := make(chan *Session, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := Upgrade(w, r, c)
		if err != nil {
			t.Error(err)
		}
		sessions <- s
	}))
	defer srv.Close() // hijacked connections stay
	ws, resp, err := (&websocket.Dialer{Subprotocols: []string{Subprotocol}}).Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	s := <-sessions
	t.Cleanup(func() {
		_ = ws.Close()
		_ = s.Close("the test has ended")
		s.Wait()
	})
	return s, ws
}

// A stranger's frames end the session or not; they never hang or break us.
func FuzzSession(f *testing.F) {
	seed := opening{Normal, 0, "echo"}.appendTo(nil, 1)
	seed = append(appendHeader(seed, header{1, frameData, 3}), "abc"...)
	seed = appendUint32(seed, 1, frameCredit, 1000)
	seed = appendFrame(seed, 1, frameFin)
	f.Add(append(seed, appendText(nil, 1, frameReset, "no")...))
	f.Add(appendFrame(nil, 0, framePing, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		services := NewServices()
		l, err := services.Listen("echo")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s, ws := raw(t, Config{Services: services})
		if err := ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
			t.Fatal(err)
		}
		_ = ws.WriteMessage(websocket.BinaryMessage, appendText(nil, 0, frameEnd, "over"))
		select {
		case <-s.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("the session hangs after %x", b)
		}
	})
}

func TestViolationsEndTheSession(t *testing.T) {
	open := opening{Normal, 0, "echo"}.appendTo(nil, 1)
	data := func(id uint32, n int) []byte {
		return append(appendHeader(nil, header{id, frameData, n}), make([]byte, n)...)
	}
	tests := []struct {
		name string
		kind int
		b    []byte
		says string
	}{
		{"text", websocket.TextMessage, []byte("hello"), "not binary"},
		{"unknown type", 0, appendHeader(nil, header{1, frameTypes, 0}), "unknown type"},
		{"too long", 0, appendHeader(nil, header{1, frameData, maxFrame + 1}), "bytes"},
		{"empty data", 0, appendHeader(nil, header{1, frameData, 0}), "bytes"},
		{"data without a stream", 0, data(0, 1), "on stream 0"},
		{"data before open", 0, data(1, 1), "never opened"},
		{"our number", 0, opening{Normal, 0, "echo"}.appendTo(nil, 2), "out of order"},
		{"twice", 0, append(bytes.Clone(open), open...), "out of order"},
		{"odd class", 0, opening{classes, 0, "echo"}.appendTo(nil, 1), "class"},
		{"acknowledgement of nothing", 0, appendUint32(nil, 0, frameAck, 1), "not sent"},
		{"more than the window", 0, append(append(bytes.Clone(open), data(1, maxFrame)...), data(1, 1)...), "window"},
		{"data after the end", 0, append(append(bytes.Clone(open), appendFrame(nil, 1, frameFin)...), data(1, 1)...), "window"},
		{"endless credit", 0, append(append(append(bytes.Clone(open), appendUint32(nil, 1, frameCredit, 1<<25)...), appendUint32(nil, 1, frameCredit, 1<<25)...), appendUint32(nil, 1, frameCredit, 1<<25)...), "protocol error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			services := NewServices()
			l, err := services.Listen("echo")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s, ws := raw(t, Config{Services: services})
			kind := test.kind
			if kind == 0 {
				kind = websocket.BinaryMessage
			}
			if err := ws.WriteMessage(kind, test.b); err != nil {
				t.Fatal(err)
			}
			<-s.Done()
			if err := s.Err(); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the session ended with %v, want %q", err, test.says)
			}
		})
	}
}

func TestPeerThatNeverReadsIsCut(t *testing.T) {
	s, ws := raw(t, Config{Keepalive: time.Hour})
	ping := appendFrame(nil, 0, framePing, 1, 2, 3, 4, 5, 6, 7, 8)
	flood := bytes.Repeat(ping, 4000)
	go func() { // ends with the connection
		for ws.WriteMessage(websocket.BinaryMessage, flood) == nil {
		}
	}()
	<-s.Done()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "does not read") {
		t.Errorf("the session ended with %v", err)
	}
}
