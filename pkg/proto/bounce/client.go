package bounce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

const dialTimeout = 10 * time.Second

// errLost is the end of a connection before the answer.
var errLost = errors.New("connection to the bounce service was lost")

// Client asks the bounce service over one kept connection; it is safe for
// concurrent use.
type Client struct {
	path string
	idle time.Duration

	mu    sync.Mutex
	conn  *ipc.Conn
	seq   uint64
	wait  map[uint64]chan *Result
	timer *time.Timer
}

// NewClient returns a Client for the socket at path, which it dials when it has
// something to ask and leaves when it had nothing for idle.
func NewClient(path string, idle time.Duration) *Client {
	return &Client{path: path, idle: idle, wait: map[uint64]chan *Result{}}
}

// Report has a report made; fd is a descriptor of the queue file, which stays
// the caller's. It sets r.Seq. On an error no report may have been queued, or
// one whose confirmation was lost.
func (c *Client) Report(ctx context.Context, r *Request, fd int) error {
	return c.ask(ctx, TypeRequest, func(seq uint64, e *wire.Encoder) {
		r.Seq = seq
		r.Encode(e)
	}, fd)
}

// ask sends one frame and waits for its answer. A connection that ends before
// the answer is tried once more on another: a server that leaves does not
// answer what it has not read, and one that died may have had the report
// queued, which makes it come twice rather than never.
func (c *Client) ask(ctx context.Context, typ byte, encode func(uint64, *wire.Encoder), fds ...int) error {
	err := c.try(ctx, typ, encode, fds)
	if errors.Is(err, errLost) {
		err = c.try(ctx, typ, encode, fds)
	}
	return err
}

func (c *Client) try(ctx context.Context, typ byte, encode func(uint64, *wire.Encoder), fds []int) error {
	ch := make(chan *Result, 1)
	c.mu.Lock()
	if c.conn == nil {
		conn, err := ipc.Dial(c.path, Protocol, dialTimeout)
		if err != nil {
			c.mu.Unlock()
			return err
		}
		c.conn = conn
		go c.read(conn)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	conn := c.conn
	c.seq++
	seq := c.seq
	c.wait[seq] = ch
	c.mu.Unlock()

	var e wire.Encoder
	encode(seq, &e)
	conn.SetWriteDeadline(time.Now().Add(time.Minute))
	if err := conn.WriteFrame(typ, e.B, fds...); err != nil {
		c.drop(conn)
		return fmt.Errorf("%w: %v", errLost, err)
	}
	select {
	case r := <-ch:
		if r == nil {
			return errLost
		}
		if !r.OK {
			return errors.New(r.Text)
		}
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.wait, seq)
		c.mu.Unlock()
		return ctx.Err()
	}
}

// read hands results to those who wait.
func (c *Client) read(conn *ipc.Conn) {
	defer c.drop(conn)
	for {
		t, p, err := conn.ReadFrame()
		if err != nil || t != TypeResult {
			return
		}
		r, err := DecodeResult(p)
		if err != nil {
			return
		}
		c.mu.Lock()
		if ch := c.wait[r.Seq]; ch != nil {
			delete(c.wait, r.Seq)
			ch <- r
		}
		if len(c.wait) == 0 && c.conn == conn {
			c.timer = time.AfterFunc(c.idle, func() { c.leave(conn) })
		}
		c.mu.Unlock()
	}
}

// leave closes an idle connection.
func (c *Client) leave(conn *ipc.Conn) {
	c.mu.Lock()
	busy := len(c.wait) > 0
	c.mu.Unlock()
	if !busy {
		c.drop(conn)
	}
}

// drop closes conn and fails those who wait for it.
func (c *Client) drop(conn *ipc.Conn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return
	}
	c.conn = nil
	for seq, ch := range c.wait {
		delete(c.wait, seq)
		ch <- nil
	}
}

// Close closes the connection.
func (c *Client) Close() {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		c.drop(conn)
	}
}
