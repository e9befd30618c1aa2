package testvcenter

import (
	"net"
	"sync"
	"sync/atomic"
)

// proxy passes connections on to the server, or fails to.
type proxy struct {
	listener net.Listener
	back     string
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	pairs  map[*pair]struct{}
	refuse bool
	thaw   chan struct{} // closed when bytes pass; nil: they do
	closed bool
}

// pair is a client's connection and ours to the server.
type pair struct {
	front, back net.Conn
	gone        chan struct{} // closed by end
	once        sync.Once
	dead        atomic.Bool // passes nothing ever more
}

func newProxy(l net.Listener, back string) *proxy {
	return &proxy{listener: l, back: back, pairs: make(map[*pair]struct{})}
}

func (p *proxy) run() {
	defer p.wg.Wait()
	for {
		front, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.pass(front) })
	}
}

func (p *proxy) pass(front net.Conn) {
	back, err := net.Dial("tcp", p.back)
	if err != nil {
		_ = front.Close()
		return
	}
	k := &pair{front: front, back: back, gone: make(chan struct{})}
	p.mu.Lock()
	refused := p.refuse || p.closed
	if !refused {
		p.pairs[k] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		k.end()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(k, back, front) })
	wg.Go(func() { p.copy(k, front, back) })
	wg.Wait()
	p.mu.Lock()
	delete(p.pairs, k)
	p.mu.Unlock()
}

// copy passes bytes on, unless they are frozen.
func (p *proxy) copy(k *pair, to, from net.Conn) {
	defer k.end()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !p.wait(k) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// wait returns when bytes may pass; false: the pair has ended.
func (p *proxy) wait(k *pair) bool {
	p.mu.Lock()
	thaw := p.thaw
	p.mu.Unlock()
	if k.dead.Load() {
		<-k.gone
		return false
	}
	if thaw == nil {
		return true
	}
	select {
	case <-thaw:
		return !k.dead.Load() || p.wait(k)
	case <-k.gone:
		return false
	}
}

// end closes both sides, without a goodbye.
func (k *pair) end() {
	k.once.Do(func() {
		close(k.gone)
		for _, c := range []net.Conn{k.front, k.back} {
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			_ = c.Close()
		}
	})
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.pairs {
		k.end()
	}
}

// freeze holds all bytes back, or lets them pass.
func (p *proxy) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.thaw == nil:
		p.thaw = make(chan struct{})
	case !on && p.thaw != nil:
		close(p.thaw)
		p.thaw = nil
	}
}

// drop has the connections that are there pass nothing ever more, without a word.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.pairs {
		k.dead.Store(true)
	}
}

// setRefuse ends each new connection at once, or takes them again.
func (p *proxy) setRefuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cut()
}
