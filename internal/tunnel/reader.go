package tunnel

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/gorilla/websocket"
)

// read takes messages off the connection until it fails. It never writes and
// never waits for a stream's consumer.
func (s *Session) read() {
	for {
		kind, r, err := s.ws.NextReader()
		if err == nil && kind != websocket.BinaryMessage {
			err = fmt.Errorf("%w: message that is not binary", errProtocol)
		}
		if err == nil {
			err = s.message(r)
		}
		if err != nil {
			s.broken(err)
			return
		}
	}
}

// message takes the frames of one message.
func (s *Session) message(r io.Reader) error {
	head := &s.head
	for {
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		s.heard.Store(int64(time.Since(s.began)))
		h, err := parseHeader(head)
		if err != nil {
			return err
		}
		if h.kind == frameData {
			err = s.data(h, r)
		} else {
			err = s.control(h, r)
		}
		if err != nil {
			return err
		}
	}
}

// control takes any frame but data.
func (s *Session) control(h header, r io.Reader) error {
	body := s.small[:]
	if h.length > len(body) {
		body = make([]byte, h.length)
	}
	body = body[:h.length]
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	switch h.kind {
	case frameOpen:
		return s.opened(h.stream, body)
	case framePing:
		nonce := binary.BigEndian.Uint64(body)
		s.writer.push(now, func(b []byte) []byte {
			return binary.BigEndian.AppendUint64(appendHeader(b, header{0, framePong, 8}), nonce)
		})
		return nil
	case framePong:
		s.ponged(binary.BigEndian.Uint64(body))
		return nil
	case frameAck:
		if !s.writer.acked(binary.BigEndian.Uint32(body)) {
			return fmt.Errorf("%w: acknowledgement of data that was not sent", errProtocol)
		}
		return nil
	case frameAsk:
		s.acknowledge()
		return nil
	case frameGoAway:
		s.wentAway(body)
		return nil
	case frameEnd:
		s.end(&CloseError{Reason: printable(body), Remote: true}, false)
		return nil
	}
	st, err := s.stream(h.stream)
	if st == nil {
		return err
	}
	switch h.kind {
	case frameFin:
		st.remoteFin()
	case frameClose:
		st.remoteClose()
	case frameReset:
		st.remoteReset(printable(body))
	case frameCredit:
		return st.remoteCredit(binary.BigEndian.Uint32(body))
	}
	return nil
}

// stream finds a stream. nil without an error: it has ended, the frame is late.
func (s *Session) stream(id uint32) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[id]; st != nil {
		return st, nil
	}
	newest := s.newest
	if s.ours(id) {
		newest = s.next - 2
	}
	if id > newest {
		return nil, fmt.Errorf("%w: frame on stream %d, which was never opened", errProtocol, id)
	}
	return nil, nil
}

// ours says whether a stream's number is one of those that we give.
func (s *Session) ours(id uint32) bool { return (id%2 == 1) == s.client }

// data takes a frame of data into its stream's buffer.
func (s *Session) data(h header, r io.Reader) error {
	st, err := s.stream(h.stream)
	if err != nil {
		return err
	}
	if st == nil {
		_, err = io.CopyN(io.Discard, r, int64(h.length))
	} else {
		err = st.fill(r, h.length)
	}
	if err != nil {
		return err
	}
	s.received.Add(uint64(h.length))
	s.unacked += uint64(h.length)
	return nil
}

// acknowledge tells the sender how much was taken off the wire. It is the
// sender that asks: only it knows how often it needs to know.
func (s *Session) acknowledge() {
	for s.unacked > 0 {
		n := uint32(min(s.unacked, math.MaxUint32))
		s.unacked -= uint64(n)
		s.writer.push(now, func(b []byte) []byte { return appendUint32(b, 0, frameAck, n) })
	}
}

// opened takes the far side's wish for a stream.
func (s *Session) opened(id uint32, body []byte) error {
	o, err := parseOpening(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.ours(id) || id <= s.newest {
		s.mu.Unlock()
		return fmt.Errorf("%w: stream %d opened out of order", errProtocol, id)
	}
	s.newest = id
	st := newStream(s, id, o.service, o.class)
	st.credit += int64(o.extra)
	full := s.theirs >= s.cfg.MaxStreams
	if s.err == nil && !full {
		s.streams[id] = st
		s.theirs++
	}
	s.mu.Unlock()
	var refusal error
	switch {
	case full:
		refusal = fmt.Errorf("too many streams: %d are open", s.cfg.MaxStreams)
	case s.cfg.Allow != nil:
		refusal = s.cfg.Allow(s, o.service)
	}
	if refusal == nil {
		refusal = s.cfg.Services.offer(st)
	}
	if refusal != nil {
		if s.cfg.Refused != nil {
			s.cfg.Refused(s, o.service, refusal)
		}
		st.reset(refusal.Error())
	}
	return nil
}

// printable keeps a stranger's text from spoiling a log.
func printable(b []byte) string {
	out := make([]rune, 0, len(b))
	for _, r := range string(b) {
		if r < ' ' || r == 0x7f || r == '\u2028' {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}
