package resolver

import (
	"context"
	"errors"
	"sync"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// ErrUnavailable means that resolver(8) could not be reached at all: there is
// no socket, or nothing listens on it.
var ErrUnavailable = errors.New("resolver service unavailable")

const dialTimeout = 5 * time.Second

// Client asks resolver(8) over one kept connection. It is safe for concurrent
// use.
type Client struct {
	path string

	mu   sync.Mutex
	link *link
}

// link is one connection and the questions under way on it.
type link struct {
	c       *ipc.Conn
	mu      sync.Mutex
	seq     uint64
	pending map[uint64]chan *Reply // nil once the connection is gone
}

// NewClient returns a Client of the socket at path. It dials when first asked.
func NewClient(path string) *Client { return &Client{path: path} }

// Ask sends one question and waits for its answer. A connection that breaks
// (resolver(8) was replaced) is made anew once. The error is ErrUnavailable, an
// ipc error, or that of ctx.
func (c *Client) Ask(ctx context.Context, name string, qtype uint16) (*Reply, error) {
	var err error
	for try := 0; try < 2; try++ {
		var l *link
		if l, err = c.get(); err != nil {
			return nil, err
		}
		var r *Reply
		if r, err = l.ask(ctx, name, qtype); err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.drop(l)
	}
	return nil, err
}

// Close closes the connection; questions under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	l := c.link
	c.link = nil
	c.mu.Unlock()
	if l != nil {
		return l.c.Close()
	}
	return nil
}

func (c *Client) get() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		return c.link, nil
	}
	conn, err := ipc.Dial(c.path, Protocol, dialTimeout)
	if err != nil {
		return nil, errors.Join(ErrUnavailable, err)
	}
	l := &link{c: conn, pending: map[uint64]chan *Reply{}}
	c.link = l
	go func() {
		l.read()
		c.drop(l)
	}()
	return l, nil
}

func (c *Client) drop(l *link) {
	c.mu.Lock()
	if c.link == l {
		c.link = nil
	}
	c.mu.Unlock()
	l.c.Close()
}

func (l *link) read() {
	for {
		t, p, err := l.c.ReadFrame()
		if err != nil {
			break
		}
		if t != TypeReply {
			break
		}
		r, err := DecodeReply(p)
		if err != nil {
			break
		}
		l.mu.Lock()
		ch := l.pending[r.Seq]
		delete(l.pending, r.Seq)
		l.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
	l.mu.Lock()
	for _, ch := range l.pending {
		close(ch)
	}
	l.pending = nil
	l.mu.Unlock()
}

var errLost = errors.New("lost connection with the resolver service")

func (l *link) ask(ctx context.Context, name string, qtype uint16) (*Reply, error) {
	ch := make(chan *Reply, 1)
	l.mu.Lock()
	if l.pending == nil {
		l.mu.Unlock()
		return nil, errLost
	}
	l.seq++
	q := Query{Seq: l.seq, Name: name, Type: qtype}
	l.pending[q.Seq] = ch
	l.mu.Unlock()
	var e wire.Encoder
	q.Encode(&e)
	l.c.SetWriteDeadline(time.Now().Add(dialTimeout))
	if err := l.c.WriteFrame(TypeQuery, e.B); err != nil {
		return nil, err
	}
	select {
	case r, ok := <-ch:
		if !ok {
			return nil, errLost
		}
		return r, nil
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.pending, q.Seq)
		l.mu.Unlock()
		return nil, ctx.Err()
	}
}
