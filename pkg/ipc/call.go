package ipc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// callTimeout bounds a dial, a hello and a write; servers of calls are local
// and read at once.
const callTimeout = 10 * time.Second

// maxCalls is how many calls of one connection a server works on at a time;
// further ones wait in the socket.
const maxCalls = 256

// typeAnswer is added to a call's type in the frame that answers it.
const typeAnswer = 0x80

// errLost ends calls whose connection is gone.
var errLost = errors.New("connection lost")

// Caller makes calls over one kept connection, many at a time, in the order in
// which they are made. A call's payload is preceded by a number that its answer
// repeats; 0 asks for none. The connection is made when it is needed, and anew
// when it breaks. It is safe for concurrent use.
type Caller struct {
	Path     string
	Protocol string
	// Opened, if set, is called on each new connection before the first call goes
	// over it.
	Opened func(*Conn) error
	// Lost, if set, is called in a goroutine of its own when a connection has
	// ended.
	Lost func()

	mu   sync.Mutex
	conn *callConn
}

type callConn struct {
	c       *Conn
	mu      sync.Mutex
	seq     uint64
	pending map[uint64]chan []byte // nil once the connection is gone
}

// Call sends a request and waits for its answer. Should the connection end
// without one, because it was kept for too long or because its server had just
// begun to drain when it was made, the request is sent again on a new one, twice
// at most: a server may see it more than once. Descriptors go along and stay the
// caller's.
func (c *Caller) Call(ctx context.Context, typ byte, payload []byte, fds ...int) ([]byte, error) {
	for made := 0; ; {
		k, fresh, err := c.get(ctx)
		if err != nil {
			return nil, err
		}
		if fresh {
			made++
		}
		b, err := k.call(ctx, typ, payload, fds)
		if err == nil || ctx.Err() != nil || made == 2 {
			return b, err
		}
		c.drop(k)
	}
}

// Notify sends a request that has no answer, if there is a connection.
func (c *Caller) Notify(typ byte, payload []byte) {
	c.mu.Lock()
	k := c.conn
	c.mu.Unlock()
	if k == nil {
		return
	}
	k.c.WriteWithin(callTimeout)
	if k.c.WriteFrame(typ, append([]byte{0}, payload...)) != nil {
		c.drop(k)
	}
}

// Connect makes the connection if there is none.
func (c *Caller) Connect(ctx context.Context) error {
	_, _, err := c.get(ctx)
	return err
}

// Close closes the connection; calls under way fail.
func (c *Caller) Close() error {
	c.mu.Lock()
	k := c.conn
	c.conn = nil
	c.mu.Unlock()
	if k != nil {
		return k.c.Close()
	}
	return nil
}

// get returns the connection; fresh tells that it was made for this call.
func (c *Caller) get(ctx context.Context) (k *callConn, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, false, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err // while others tried
	}
	timeout := callTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(d))
	}
	conn, err := Dial(c.Path, c.Protocol, timeout)
	if err != nil {
		return nil, false, err
	}
	if c.Opened != nil {
		if err := c.Opened(conn); err != nil {
			conn.Close()
			return nil, false, err
		}
	}
	k = &callConn{c: conn, pending: map[uint64]chan []byte{}}
	c.conn = k
	go func() {
		k.read()
		c.drop(k)
		if c.Lost != nil {
			c.Lost()
		}
	}()
	return k, true, nil
}

func (c *Caller) drop(k *callConn) {
	c.mu.Lock()
	if c.conn == k {
		c.conn = nil
	}
	c.mu.Unlock()
	k.c.Close()
}

func (k *callConn) read() {
	for {
		typ, p, err := k.c.ReadFrame()
		if err != nil || typ&typeAnswer == 0 {
			break
		}
		seq, n := binary.Uvarint(p)
		if n <= 0 {
			break
		}
		k.mu.Lock()
		ch := k.pending[seq]
		delete(k.pending, seq)
		k.mu.Unlock()
		if ch != nil {
			ch <- append([]byte(nil), p[n:]...)
		}
	}
	k.mu.Lock()
	for _, ch := range k.pending {
		close(ch)
	}
	k.pending = nil
	k.mu.Unlock()
}

func (k *callConn) call(ctx context.Context, typ byte, payload []byte, fds []int) ([]byte, error) {
	ch := make(chan []byte, 1)
	k.mu.Lock()
	if k.pending == nil {
		k.mu.Unlock()
		return nil, errLost
	}
	k.seq++
	seq := k.seq
	k.pending[seq] = ch
	k.mu.Unlock()
	k.c.WriteWithin(callTimeout)
	if err := k.c.WriteFrame(typ, append(binary.AppendUvarint(nil, seq), payload...), fds...); err != nil {
		return nil, err
	}
	select {
	case b, ok := <-ch:
		if !ok {
			return nil, errLost
		}
		return b, nil
	case <-ctx.Done():
		k.mu.Lock()
		delete(k.pending, seq)
		k.mu.Unlock()
		return nil, ctx.Err()
	}
}

// CallServer answers Callers.
type CallServer struct {
	Protocol string
	// Draining, once closed, ends connections that have no call under way.
	Draining <-chan struct{}
	// Waiting is called when a connection has nothing to do; its result when it
	// has again. nil: the caller of Serve keeps that account.
	Waiting func() (busy func())
	// InOrder: calls are handled one after the other, in Serve's own goroutine.
	InOrder bool
}

// Serve answers the calls of one connection until the peer leaves, ctx ends or
// the server drains. handle gets a call's type and payload and returns the
// answer's payload; a descriptor that came along is taken with c.TakeFD, InOrder
// only. An error of handle ends the connection.
func (s *CallServer) Serve(ctx context.Context, nc net.Conn, handle func(c *Conn, typ byte, payload []byte) ([]byte, error)) error {
	c, err := Accept(nc, s.Protocol, callTimeout)
	if err != nil {
		return err
	}
	l := &callLoad{c: c, waiting: s.Waiting}
	l.change(0)
	defer l.leave()
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		select {
		case <-quit:
		case <-ctx.Done():
			c.SetReadDeadline(time.Unix(1, 0))
		case <-s.Draining:
			l.stop()
		}
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxCalls)
	for {
		typ, p, err := c.ReadFrame()
		if err != nil {
			if errors.Is(err, io.EOF) || l.stopped() || ctx.Err() != nil {
				return nil
			}
			return err
		}
		seq, n := binary.Uvarint(p)
		if n <= 0 || typ&typeAnswer != 0 {
			return fmt.Errorf("%w: frame of type %d", ErrProtocol, typ)
		}
		l.change(1)
		if s.InOrder {
			err := answer(c, seq, typ, p[n:], handle)
			l.change(-1)
			if err != nil {
				return err
			}
			continue
		}
		p = append([]byte(nil), p[n:]...)
		slots <- struct{}{}
		wg.Go(func() {
			if answer(c, seq, typ, p, handle) != nil {
				c.Close()
			}
			l.change(-1)
			<-slots
		})
	}
}

func answer(c *Conn, seq uint64, typ byte, p []byte, handle func(*Conn, byte, []byte) ([]byte, error)) error {
	b, err := handle(c, typ, p)
	if err != nil || seq == 0 {
		return err
	}
	c.WriteWithin(callTimeout)
	return c.WriteFrame(typ|typeAnswer, append(binary.AppendUvarint(nil, seq), b...))
}

// callLoad counts the calls under way on a connection.
type callLoad struct {
	c       *Conn
	waiting func() (busy func())

	mu     sync.Mutex
	n      int
	ending bool
	busy   func() // set while the connection waits
}

func (l *callLoad) change(d int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n += d; l.n > 0 && l.busy != nil {
		l.busy()
		l.busy = nil
	}
	if l.n == 0 {
		if l.waiting != nil && l.busy == nil {
			l.busy = l.waiting()
		}
		if l.ending {
			l.c.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

func (l *callLoad) stop() {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	l.change(0)
}

func (l *callLoad) stopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ending
}

func (l *callLoad) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy != nil {
		l.busy()
		l.busy = nil
	}
}
