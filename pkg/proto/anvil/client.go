package anvil

import (
	"context"
	"sync"
	"time"

	"posthaste/pkg/ipc"
)

const (
	// patience is how long a client's request may wait for anvil: it is better not
	// counted than not served.
	patience = 2 * time.Second
	// pause is how long nobody is asked after that.
	pause = 10 * time.Second
)

// Client counts for one process. While anvil(8) cannot be asked, all counts are
// 0: nobody is refused. It is safe for concurrent use.
type Client struct {
	// Trouble, if set, is told why anvil cannot be asked, each minute at most.
	Trouble func(error)

	caller ipc.Caller

	mu     sync.Mutex
	open   map[string]int // connections that anvil knows of
	until  time.Time      // when to ask again
	warned time.Time
}

// NewClient returns a client of the socket at path, normally Service. It
// connects when first asked.
func NewClient(path string) *Client {
	c := &Client{open: map[string]int{}}
	c.caller = ipc.Caller{Path: path, Protocol: Protocol, Opened: c.resume, Lost: c.again}
	return c
}

// Close closes the connection: all counted connections are over.
func (c *Client) Close() error {
	c.mu.Lock()
	clear(c.open)
	c.mu.Unlock()
	return c.caller.Close()
}

// resume tells a new process of anvil what the former one knew.
func (c *Client) resume(conn *ipc.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b []byte
	for ident, n := range c.open {
		r := Request{Type: TypeResume, Ident: ident, Count: n}
		b = ipc.AppendFrame(b, TypeResume, append([]byte{0}, r.Encode()...), 0)
	}
	if b == nil {
		return nil
	}
	conn.SetWriteDeadline(time.Now().Add(patience))
	return conn.WriteRaw(b)
}

// again connects after the connection was lost, if there is something to resume.
func (c *Client) again() {
	for wait := time.Duration(0); ; wait = min(2*wait+100*time.Millisecond, pause) {
		time.Sleep(wait)
		c.mu.Lock()
		n := len(c.open)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := c.caller.Connect(ctx)
		cancel()
		if err == nil {
			return
		}
	}
}

func (c *Client) call(ctx context.Context, r *Request, fds ...int) Reply {
	now := time.Now()
	c.mu.Lock()
	resting := now.Before(c.until)
	c.mu.Unlock()
	if resting {
		return Reply{}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := c.caller.Call(ctx, r.Type, r.Encode(), fds...)
	var out *Reply
	if err == nil {
		out, err = DecodeReply(b)
	}
	if err == nil {
		return *out
	}
	if ctx.Err() == context.Canceled {
		return Reply{} // the client's session has ended
	}
	c.mu.Lock()
	c.until = now.Add(pause)
	warn := c.Trouble != nil && now.Sub(c.warned) >= time.Minute
	if warn {
		c.warned = now
	}
	c.mu.Unlock()
	if warn {
		c.Trouble(err)
	}
	return Reply{}
}

// Connect counts a new connection. It returns how many there are, and how many
// were made in this time unit; counted tells that there was an answer. Each
// counted connection needs a Disconnect.
func (c *Client) Connect(ctx context.Context, ident string) (count, rate int, counted bool) {
	r := c.call(ctx, &Request{Type: TypeConnect, Ident: trim(ident)})
	if r.Count == 0 {
		return 0, 0, false
	}
	c.mu.Lock()
	c.open[trim(ident)]++
	c.mu.Unlock()
	return r.Count, r.Rate, true
}

// ConnectUntil is Connect for a connection that is over when the peer of the
// stream socket fd has closed it. fd stays the caller's. Such a connection is
// forgotten when anvil is replaced.
func (c *Client) ConnectUntil(ctx context.Context, ident string, fd int) (count int, counted bool) {
	r := c.call(ctx, &Request{Type: TypeConnect, Ident: trim(ident)}, fd)
	return r.Count, r.Count > 0
}

// Disconnect ends what Connect began.
func (c *Client) Disconnect(ident string) {
	ident = trim(ident)
	c.mu.Lock()
	n := c.open[ident]
	if n > 1 {
		c.open[ident] = n - 1
	} else {
		delete(c.open, ident)
	}
	c.mu.Unlock()
	if n > 0 {
		c.caller.Notify(TypeDisconnect, (&Request{Type: TypeDisconnect, Ident: ident}).Encode())
	}
}

// Count counts an event and returns how often it has happened in this time unit.
func (c *Client) Count(ctx context.Context, ident string, e Event) int {
	return c.call(ctx, &Request{Type: TypeCount, Ident: trim(ident), Event: e}).Rate
}

// Rate returns how often an event has happened in this time unit.
func (c *Client) Rate(ctx context.Context, ident string, e Event) int {
	return c.call(ctx, &Request{Type: TypeRate, Ident: trim(ident), Event: e}).Rate
}

func trim(ident string) string {
	if len(ident) > MaxIdent {
		ident = ident[:MaxIdent]
	}
	return ident
}
