package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// maxMessage bounds one message of ovsdb-server, in bytes. Ten thousand ports
// take about 3 MiB.
const maxMessage = 16 << 20

// ovsdb is one connection to ovsdb-server: JSON-RPC 1.0 (RFC 7047) over a Unix
// socket. It serves one caller at a time.
type ovsdb struct {
	conn  net.Conn
	limit *meter
	dec   *json.Decoder
	next  int
}

// rpcMessage is a request, a response or a notification.
type rpcMessage struct {
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error"`
	ID     json.RawMessage `json:"id"`
}

func dialOVSDB(ctx context.Context, socket string) (*ovsdb, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	limit := &meter{from: conn}
	return &ovsdb{conn: conn, limit: limit, dec: json.NewDecoder(limit)}, nil
}

// call asks and waits for the answer; what arrives in between is handed to
// other, which may be nil. The connection's deadline bounds it.
func (c *ovsdb) call(method string, params, result any, other func(rpcMessage)) error {
	c.next++
	id := fmt.Appendf(nil, "%d", c.next)
	if err := c.send(map[string]any{"method": method, "params": params, "id": json.RawMessage(id)}); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for {
		m, err := c.receive()
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		switch {
		case m.Method == "" && bytes.Equal(m.ID, id):
			if len(m.Error) != 0 && !bytes.Equal(m.Error, []byte("null")) {
				return fmt.Errorf("%s: %s", method, m.Error)
			}
			if err := json.Unmarshal(m.Result, result); err != nil {
				return fmt.Errorf("%s: decode answer: %w", method, err)
			}
			return nil
		case m.Method != "" && other != nil:
			other(m)
		}
	}
}

// receive returns the next message. The server's "echo", by which it finds out
// whether we live, is answered here.
func (c *ovsdb) receive() (rpcMessage, error) {
	for {
		var m rpcMessage
		c.limit.left = maxMessage
		if err := c.dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return m, err
		}
		if m.Method != "echo" {
			return m, nil
		}
		if err := c.send(map[string]any{"result": m.Params, "error": nil, "id": m.ID}); err != nil {
			return m, fmt.Errorf("answer echo: %w", err)
		}
	}
}

// send writes within a second, so that a server that does not read cannot hold
// us up.
func (c *ovsdb) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.conn.Write(b)
	return err
}

// meter lets at most left bytes through.
type meter struct {
	from io.Reader
	left int
}

var errTooLong = fmt.Errorf("message longer than %d bytes", maxMessage)

func (m *meter) Read(b []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooLong
	}
	n, err := m.from.Read(b[:min(len(b), m.left)])
	m.left -= n
	return n, err
}

// listen hands each notification to update. After a silence of keepalive it
// asks the server whether it lives, and returns an error if no byte comes
// within timeout.
func (c *ovsdb) listen(keepalive, timeout time.Duration, update func(rpcMessage)) error {
	for asked := false; ; {
		wait := keepalive
		if asked {
			wait = timeout
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		m, err := c.receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !asked && c.idle():
			asked = true
			if err := c.send(map[string]any{"method": "echo", "params": []any{}, "id": "alive"}); err != nil {
				return fmt.Errorf("echo: %w", err)
			}
			continue
		case err != nil:
			return err
		case m.Method == "update":
			update(m)
		}
		asked = false
	}
}

// idle says that the deadline passed between two messages, not within one. A
// decoder keeps its error for ever, so a fresh one takes over.
func (c *ovsdb) idle() bool {
	left, err := io.ReadAll(c.dec.Buffered())
	if err != nil || len(bytes.TrimSpace(left)) != 0 {
		return false
	}
	c.dec = json.NewDecoder(c.limit)
	return true
}

// ovsAtom is a string, a number or the UUID of a row.
type ovsAtom struct {
	text   string
	number int
}

// ovsSet is an OVSDB value (RFC 7047, 5.1): an atom, or ["set", [atom...]].
type ovsSet []ovsAtom

func (s ovsSet) text() string {
	if len(s) != 1 {
		return ""
	}
	return s[0].text
}

// UnmarshalJSON reads either form.
func (s *ovsSet) UnmarshalJSON(b []byte) error {
	*s = nil
	var pair []json.RawMessage
	if json.Unmarshal(b, &pair) == nil && len(pair) == 2 && string(pair[0]) == `"set"` {
		var members []json.RawMessage
		if err := json.Unmarshal(pair[1], &members); err != nil {
			return fmt.Errorf("set: %w", err)
		}
		for _, m := range members {
			if err := s.add(m); err != nil {
				return err
			}
		}
		return nil
	}
	return s.add(b)
}

func (s *ovsSet) add(b []byte) error {
	var a ovsAtom
	var uuid [2]string
	switch {
	case json.Unmarshal(b, &a.text) == nil, json.Unmarshal(b, &a.number) == nil:
	case json.Unmarshal(b, &uuid) == nil && uuid[0] == "uuid":
		a.text = uuid[1]
	default:
		return fmt.Errorf("atom %.40q is neither text, integer nor uuid", b)
	}
	*s = append(*s, a)
	return nil
}
