package tunnel

import (
	"encoding/binary"
	"fmt"
)

// frameType says what a frame's body is.
type frameType uint8

const (
	frameData   frameType = iota // bytes of the stream
	frameOpen                    // class (1), the opener's extra window (4), service's name
	frameFin                     // no more data comes
	frameClose                   // no more data comes nor is read
	frameReset                   // reason
	frameCredit                  // bytes added to the far side's window (4)
	frameAck                     // data bytes taken off the wire since the last (4); stream 0, as those below
	frameAsk                     // acknowledge now
	framePing                    // opaque (8)
	framePong                    // the ping's (8)
	frameGoAway                  // milliseconds to wait (4), where to go instead
	frameEnd                     // reason; the session is over
	frameTypes
)

const headerLen = 8

// header is a frame's first eight bytes: stream (4), type (1), length (3).
type header struct {
	stream uint32
	kind   frameType
	length int
}

func appendHeader(b []byte, h header) []byte {
	b = binary.BigEndian.AppendUint32(b, h.stream)
	return append(b, byte(h.kind), byte(h.length>>16), byte(h.length>>8), byte(h.length))
}

func appendFrame(b []byte, stream uint32, kind frameType, body ...byte) []byte {
	return append(appendHeader(b, header{stream, kind, len(body)}), body...)
}

func appendUint32(b []byte, stream uint32, kind frameType, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, header{stream, kind, 4}), n)
}

func appendText(b []byte, stream uint32, kind frameType, text string) []byte {
	text = text[:min(len(text), maxReason)]
	return append(appendHeader(b, header{stream, kind, len(text)}), text...)
}

// parseHeader reads a header and refuses what no sender of this protocol makes.
func parseHeader(b *[headerLen]byte) (header, error) {
	h := header{binary.BigEndian.Uint32(b[:4]), frameType(b[4]), int(b[5])<<16 | int(b[6])<<8 | int(b[7])}
	least, most := 0, 0
	switch h.kind {
	case frameData:
		least, most = 1, maxFrame
	case frameOpen:
		least, most = 6, 5+maxService
	case frameReset, frameEnd:
		most = maxReason
	case frameCredit, frameAck:
		least, most = 4, 4
	case framePing, framePong:
		least, most = 8, 8
	case frameGoAway:
		least, most = 4, 4+maxReason
	case frameFin, frameClose, frameAsk:
	default:
		return h, fmt.Errorf("%w: frame of unknown type %d", errProtocol, h.kind)
	}
	if h.length < least || h.length > most {
		return h, fmt.Errorf("%w: frame of type %d with %d bytes", errProtocol, h.kind, h.length)
	}
	if (h.stream == 0) != (h.kind >= frameAck) {
		return h, fmt.Errorf("%w: frame of type %d on stream %d", errProtocol, h.kind, h.stream)
	}
	return h, nil
}

// opening is the body of an open frame.
type opening struct {
	class   Class
	extra   uint32 // window beyond firstWindow that the opener grants
	service string
}

func (o opening) appendTo(b []byte, stream uint32) []byte {
	b = appendHeader(b, header{stream, frameOpen, 5 + len(o.service)})
	b = append(b, byte(o.class))
	b = binary.BigEndian.AppendUint32(b, o.extra)
	return append(b, o.service...)
}

func parseOpening(b []byte) (opening, error) {
	o := opening{class: Class(b[0]), extra: binary.BigEndian.Uint32(b[1:5]), service: string(b[5:])}
	if o.class >= classes || o.extra > maxWindow {
		return o, fmt.Errorf("%w: open with class %d and window %d", errProtocol, o.class, o.extra)
	}
	return o, nil
}
