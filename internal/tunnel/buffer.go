package tunnel

import (
	"io"
	"sync"
)

// chunk is received data of one frame.
type chunk struct {
	data []byte // what is left
	home *sync.Pool
	slab *[]byte
}

// Chunks come from pools of a few sizes, so that small frames cost little.
var pools = func() (p []sizedPool) {
	for size := 1 << 10; size <= maxFrame; size <<= 2 {
		p = append(p, sizedPool{size, &sync.Pool{New: func() any { b := make([]byte, size); return &b }}})
	}
	return p
}()

type sizedPool struct {
	size int
	pool *sync.Pool
}

// readChunk reads n bytes, at most maxFrame, into a chunk.
func readChunk(r io.Reader, n int) (chunk, error) {
	i := 0
	for pools[i].size < n {
		i++
	}
	slab := pools[i].pool.Get().(*[]byte)
	c := chunk{data: (*slab)[:n], home: pools[i].pool, slab: slab}
	if _, err := io.ReadFull(r, c.data); err != nil {
		c.free()
		return chunk{}, err
	}
	return c, nil
}

func (c *chunk) free() {
	c.home.Put(c.slab)
	*c = chunk{}
}

// buffer is a queue of chunks, bounded by the window that was granted.
type buffer struct {
	chunks []chunk
	first  int // index of the first that has data
	size   int
}

func (b *buffer) len() int { return b.size }

// add appends a chunk. A small one goes into the last one's slab if it fits,
// so that a flood of tiny frames does not take a slab each.
func (b *buffer) add(c chunk) {
	b.size += len(c.data)
	if last := len(b.chunks) - 1; last >= b.first && len(c.data) < 1<<10 {
		l := &b.chunks[last]
		if room := cap(l.data) - len(l.data); room >= len(c.data) {
			l.data = append(l.data, c.data...)
			c.free()
			return
		}
	}
	if b.first > 16 && b.first*2 > len(b.chunks) {
		n := copy(b.chunks, b.chunks[b.first:])
		clear(b.chunks[n:])
		b.chunks, b.first = b.chunks[:n], 0
	}
	b.chunks = append(b.chunks, c)
}

// read copies data out.
func (b *buffer) read(p []byte) int {
	n := 0
	for n < len(p) && b.size > 0 {
		c := &b.chunks[b.first]
		k := copy(p[n:], c.data)
		n, b.size = n+k, b.size-k
		if c.data = c.data[k:]; len(c.data) == 0 {
			c.free()
			b.first++
		}
	}
	if b.size == 0 {
		b.chunks, b.first = b.chunks[:0], 0
		if cap(b.chunks) > 64 {
			b.chunks = nil
		}
	}
	return n
}

// drop frees everything.
func (b *buffer) drop() {
	for i := b.first; i < len(b.chunks); i++ {
		b.chunks[i].free()
	}
	*b = buffer{}
}
