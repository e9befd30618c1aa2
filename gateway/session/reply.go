package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// A vCenter that is no good, or somebody who has it, must not take the memory that
// the gateway works for others with. What a reply can become is therefore bounded
// twice: by its size, and by the weight of what is in it, see [Decodable].
const (
	maxReply = 3 << 20 // bytes that are decoded
	// maxRewritten is for replies that are taken apart before: a hundred machines
	// with many disks each.
	maxRewritten = 16 << 20
)

// replyLimit bounds the replies of a transport.
type replyLimit struct{ http.RoundTripper }

// RoundTrip fails the reading of a reply that is too large.
func (r replyLimit) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if f, ok := req.Context().Value(rewrite{}).(func([]byte) []byte); ok {
		whole := replies.Get().(*bytes.Buffer)
		whole.Reset()
		_, err := whole.ReadFrom(&limitedBody{ReadCloser: res.Body, left: maxRewritten, most: maxRewritten})
		_ = res.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("read vCenter's reply: %w", err)
		}
		res.Body = &wholeBody{Reader: bytes.NewReader(f(whole.Bytes())), buffer: whole}
	}
	res.Body = &limitedBody{ReadCloser: res.Body, left: maxReply, most: maxReply}
	return res, nil
}

// replies are buffers for whole replies.
var replies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// wholeBody is a reply that was read whole.
type wholeBody struct {
	*bytes.Reader
	buffer *bytes.Buffer
}

// Close lets the next reply have the buffer.
func (b *wholeBody) Close() error {
	if b.buffer != nil {
		replies.Put(b.buffer)
		b.buffer = nil
	}
	return nil
}

type rewrite struct{}

// Rewriting returns a context of calls whose replies f may change before they are
// decoded, in place if it likes. It keeps nothing of them.
func Rewriting(ctx context.Context, f func(reply []byte) []byte) context.Context {
	return context.WithValue(ctx, rewrite{}, f)
}

// limitedBody fails when there is more than the most.
type limitedBody struct {
	io.ReadCloser
	left, most int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("vCenter's reply is larger than %d MiB", b.most>>20)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
