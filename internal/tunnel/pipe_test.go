package tunnel

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Whoever may send no more must have asked for an acknowledgement of all that is
// in flight, or it would wait for ever.
func TestPipeNeverWaitsForNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := newPipe()
		var asks []uint64
		ask := func(asked bool) {
			if asked {
				asks = append(asks, p.sent)
			}
		}
		for range 2000 {
			if p.openTo(maxFrame) && r.IntN(3) > 0 {
				ask(p.send(1 + r.IntN(maxFrame)))
			}
			if p.openTo(1) && r.IntN(3) == 0 {
				ask(p.send(1 + r.IntN(smallFrame)))
			}
			if len(asks) > 0 && r.IntN(4) == 0 {
				if !p.ack(uint32(asks[0]-p.acked), r.IntN(2) == 0) {
					t.Fatal("an acknowledgement was refused")
				}
				asks = asks[1:]
				if r.IntN(10) == 0 { // as if the path had become slow
					p.bound = leastBound
				}
				ask(p.ask(false))
			}
			if !p.open() && (len(asks) == 0 || asks[len(asks)-1] != p.sent) {
				t.Fatalf("%d in flight, bound %d, acknowledgements owed for %v of %d", p.inFlight(), p.bound, asks, p.sent)
			}
		}
	}
}

func TestBoundFollowsThePath(t *testing.T) {
	for name, c := range map[string]struct {
		rate        float64 // bytes per second
		rtt         time.Duration
		alone       bool
		least, most int64
	}{
		"a slow path":          {125e3, time.Millisecond, true, leastBound, leastBound},
		"a fair path":          {5e6, time.Millisecond, false, 90 << 10, 110 << 10},
		"fast, with company":   {1.5e9, 50 * time.Microsecond, false, 430 << 10, sharedMost},
		"fast, alone":          {1.5e9, 50 * time.Microsecond, true, 1200 << 10, aloneMost},
		"long and fast, alone": {100e6, 50 * time.Millisecond, true, 6e6, 12e6}, // 5 MB on the path
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipe()
			now := time.Now()
			if !c.alone {
				p.smallAt = now.Add(time.Hour)
			}
			p.measured(c.rtt, now)
			for range 20 {
				now = now.Add(max(c.rtt, shortRound))
				p.sent += uint64(c.rate * max(c.rtt, shortRound).Seconds())
				p.acked = p.sent
				p.turn(now)
			}
			if p.bound < c.least || p.bound > c.most {
				t.Errorf("bound %d, want %d to %d", p.bound, c.least, c.most)
			}
		})
	}
}

// frames reads messages from a bare end and hands over each frame, until f
// returns true.
func frames(t *testing.T, ws *websocket.Conn, f func(h header, body []byte) bool) {
	t.Helper()
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			h, err := parseHeader((*[headerLen]byte)(b))
			if err != nil {
				t.Fatal(err)
			}
			if f(h, b[headerLen:headerLen+h.length]) {
				return
			}
			b = b[headerLen+h.length:]
		}
	}
}

func TestSmallDataPassesAClosedBound(t *testing.T) {
	services := NewServices()
	l, err := services.Listen("any")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, ws := raw(t, Config{Services: services})
	message := opening{Bulk, maxWindow - firstWindow, "any"}.appendTo(nil, 1)
	message = opening{Interactive, 0, "any"}.appendTo(message, 3)
	if err := ws.WriteMessage(websocket.BinaryMessage, message); err != nil {
		t.Fatal(err)
	}
	bulk, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	small, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := bulk.Write(make([]byte, 4<<20))
		done <- err
	}()
	got, owed, asked := 0, 0, 0
	data := func(h header) {
		switch {
		case h.kind == frameData:
			got += h.length
			owed += h.length
		case h.kind == frameAsk:
			asked = owed
		}
	}
	frames(t, ws, func(h header, _ []byte) bool { // nothing is acknowledged
		data(h)
		return got >= firstBound && asked == owed
	})
	if _, err := small.Write([]byte("key")); err != nil {
		t.Fatal(err)
	}
	frames(t, ws, func(h header, body []byte) bool {
		data(h)
		return h.stream == 3 && bytes.Equal(body, []byte("key"))
	})
	if got > firstBound+maxFrame+3 {
		t.Errorf("%d bytes came though nothing was acknowledged", got)
	}
	if err := ws.WriteMessage(websocket.BinaryMessage, appendUint32(nil, 0, frameAck, uint32(owed))); err != nil {
		t.Fatal(err)
	}
	frames(t, ws, func(h header, _ []byte) bool { return h.stream == 1 })
	_ = s.Close("enough")
	if err := <-done; err == nil {
		t.Error("the write outlived the session")
	}
}

// A far side that is alive but takes nothing off the wire must not hold writers
// for ever.
func TestPeerThatTakesNothingIsCut(t *testing.T) {
	services := NewServices()
	l, err := services.Listen("any")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, ws := raw(t, Config{Services: services, Keepalive: 100 * time.Millisecond})
	if err := ws.WriteMessage(websocket.BinaryMessage, opening{Bulk, maxWindow - firstWindow, "any"}.appendTo(nil, 1)); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the connection: signs of life, and room for more
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if ws.WriteMessage(websocket.BinaryMessage, appendFrame(nil, 0, framePong, 1, 2, 3, 4, 5, 6, 7, 8)) != nil {
				return
			}
		}
	}()
	s.writer.mu.Lock()
	s.writer.pipe.bound = maxInFlight // as a long fast path would have it
	s.writer.mu.Unlock()
	_, err = io.Copy(c, endless{})
	if err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("the write ended with %v", err)
	}
	<-s.Done()
	if _, ok := s.RemoteAddr().(*net.TCPAddr); !ok {
		t.Skip("no TCP")
	}
}

// endless is data without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
