package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"posthaste/pkg/ipc"
)

// ErrUnavailable is in the chain of errors that mean that master could not be
// asked; other errors of a Client are master's refusals.
var ErrUnavailable = errors.New("session service is not available")

// callTimeout bounds one request. master answers from its own state and does
// not wait for the session program.
const callTimeout = 10 * time.Second

// Client asks master. It keeps one connection for all requests of the process
// and makes it anew when it breaks. Requests do not wait for each other's
// answers, which come in order. It is safe for concurrent use.
type Client struct {
	path string

	mu   sync.Mutex
	conn *kept
}

// kept is one connection.
type kept struct {
	c *ipc.Conn

	mu      sync.Mutex
	waiting []chan answer // in the order of the requests
	err     error
}

type answer struct {
	res *Result
	err error
}

// NewClient returns a client of the socket at path, normally Service. It
// connects when first asked.
func NewClient(path string) *Client { return &Client{path: path} }

// Close closes the connection; requests under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.c.Close()
		c.conn = nil
	}
	return nil
}

// Grant announces a cookie. For auth.
func (c *Client) Grant(ctx context.Context, g *Grant) error {
	if err := g.Validate(); err != nil {
		return err
	}
	return c.call(ctx, TypeGrant, EncodeGrant(g))
}

// Open hands the connection behind descriptor fd to the session program of the
// cookie's user, with the lease, should o have one. Descriptors stay the caller's,
// who closes them: with success the session program has its own. For login.
func (c *Client) Open(ctx context.Context, o *Open, fd int) error {
	if err := o.Validate(); err != nil {
		return err
	}
	fds := []int{fd}
	if o.Lease {
		fds = append(fds, o.LeaseFD)
	}
	return c.call(ctx, TypeOpen, EncodeOpen(o), fds...)
}

func (c *Client) call(ctx context.Context, typ byte, payload []byte, fds ...int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for try := 0; ; try++ {
		k, fresh, err := c.get(ctx)
		if err != nil {
			return err
		}
		res, err := k.call(ctx, typ, payload, fds)
		switch {
		case err == nil && res.OK:
			return nil
		case err == nil:
			return fmt.Errorf("master: %.200s", res.Text)
		case try > 0 || fresh || ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		// The kept connection had died. If master did take the request, the cookie
		// is used up and the second try is refused: nothing happens twice.
	}
}

// get returns the connection; fresh tells that it was made for this call.
func (c *Client) get(ctx context.Context) (k *kept, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.alive() {
		return c.conn, false, nil
	}
	deadline, _ := ctx.Deadline()
	conn, err := ipc.Dial(c.path, Protocol, time.Until(deadline))
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.conn = &kept{c: conn}
	go c.conn.read()
	return c.conn, true, nil
}

func (k *kept) alive() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err == nil
}

func (k *kept) call(ctx context.Context, typ byte, payload []byte, fds []int) (*Result, error) {
	ch := make(chan answer, 1)
	k.mu.Lock()
	if k.err != nil {
		k.mu.Unlock()
		return nil, k.err
	}
	// Under the lock, so that places in the queue are in the order of the frames.
	k.waiting = append(k.waiting, ch)
	deadline, _ := ctx.Deadline()
	k.c.SetWriteDeadline(deadline)
	err := k.c.WriteFrame(typ, payload, fds...)
	k.mu.Unlock()
	if err != nil {
		k.fail(err) // half a frame may be out: the connection is of no more use
		return nil, err
	}
	select {
	case a := <-ch:
		return a.res, a.err
	case <-ctx.Done():
		return nil, ctx.Err() // the place in the queue stays, for the late answer
	}
}

// read hands answers to those who wait for them, in order.
func (k *kept) read() {
	for {
		typ, p, err := k.c.ReadFrame()
		if err != nil {
			k.fail(err)
			return
		}
		res, err := DecodeResult(p)
		if err != nil || typ != TypeResult {
			k.fail(ipc.ErrProtocol)
			return
		}
		k.mu.Lock()
		if len(k.waiting) == 0 {
			k.mu.Unlock()
			k.fail(ipc.ErrProtocol)
			return
		}
		ch := k.waiting[0]
		k.waiting = k.waiting[1:]
		k.mu.Unlock()
		ch <- answer{res: res}
	}
}

// fail ends the connection and tells all who wait.
func (k *kept) fail(err error) {
	k.c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.err = err
	}
	for _, ch := range k.waiting {
		ch <- answer{err: k.err}
	}
	k.waiting = nil
}

// Serve answers the requests of one client in order, until it leaves or breaks
// the protocol. A nil grant or open means that the client may not ask for it.
// With an error the descriptors that open was given are closed here; otherwise
// they are open's.
func Serve(c *ipc.Conn, grant func(*Grant) error, open func(*Open, int) error) error {
	for {
		typ, p, err := c.ReadFrame()
		if err != nil {
			return err
		}
		switch {
		case typ == TypeGrant && grant != nil:
			var g *Grant
			if g, err = DecodeGrant(p); err == nil {
				err = grant(g)
			}
		case typ == TypeOpen && open != nil:
			o, derr := DecodeOpen(p)
			if derr != nil {
				return derr
			}
			fd, ferr := o.Descriptors(c)
			if ferr != nil {
				return ferr
			}
			if err = open(o, fd); err != nil {
				syscall.Close(fd)
				o.CloseLease()
			}
		default:
			return fmt.Errorf("%w: request of type %d", ipc.ErrProtocol, typ)
		}
		res := Result{OK: err == nil}
		if err != nil {
			res.Text = err.Error()
		}
		c.SetWriteDeadline(time.Now().Add(callTimeout))
		if err := c.WriteFrame(TypeResult, EncodeResult(&res)); err != nil {
			return err
		}
	}
}
