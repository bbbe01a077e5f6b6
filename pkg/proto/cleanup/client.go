package cleanup

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// Client hands messages to cleanup(8) over kept connections. It is safe for
// concurrent use.
type Client struct {
	path string

	mu     sync.Mutex
	idle   []*ipc.Conn
	closed bool
}

const (
	dialTimeout = 30 * time.Second
	maxIdle     = 64
)

// callTimeout bounds the wait for the answer to End, which may stand behind a
// slow disk or a slow table.
const callTimeout = time.Hour

// batchSize is how much of a transaction is collected before it is sent. A
// message that fits goes out in one write.
const batchSize = 64 << 10

// NewClient returns a Client of the socket at path, which is Service below the
// queue directory. It dials when it has something to send.
func NewClient(path string) *Client { return &Client{path: path} }

// Close closes the connections that are not in use.
func (c *Client) Close() {
	c.mu.Lock()
	l := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	for _, conn := range l {
		conn.Close()
	}
}

// get returns a kept connection that the server has not announced to close, or
// a new one.
func (c *Client) get() (*ipc.Conn, error) {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			return ipc.Dial(c.path, Protocol, dialTimeout)
		}
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if conn.Quiet() {
			return conn, nil
		}
		conn.Close()
	}
}

func (c *Client) put(conn *ipc.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= maxIdle {
		conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

// Transaction is one message on its way to cleanup. It is used by one goroutine
// at a time and ends with End or Abort.
type Transaction struct {
	c     *Client
	conn  *ipc.Conn
	buf   []byte
	data  int // offset of an open data frame in buf, -1 if none
	sent  bool
	ended bool
	err   error
}

// ErrTransaction is the error of a call after End or Abort.
var ErrTransaction = errors.New("cleanup transaction is over")

var txPool = sync.Pool{New: func() any { b := make([]byte, 0, batchSize+4096); return &b }}

// Begin opens a transaction: b.Message.ID is the queue id to use. Nothing is
// sent, and no connection made, before there is much to send or End is called;
// the error is then that call's.
func (c *Client) Begin(b *Begin) (*Transaction, error) {
	if err := b.Message.Validate(); err != nil {
		return nil, err
	}
	t := &Transaction{c: c, data: -1, buf: (*txPool.Get().(*[]byte))[:0]}
	var e wire.Encoder
	b.Encode(&e)
	if len(e.B) > ipc.MaxFrame {
		return nil, fmt.Errorf("%w: envelope of %d bytes", ipc.ErrProtocol, len(e.B))
	}
	t.buf = ipc.AppendFrame(t.buf, TypeBegin, e.B, 0)
	return t, nil
}

// Connect dials at once if that has not been done, for a caller that wants to
// know early whether cleanup is there.
func (t *Transaction) Connect() error {
	if t.err != nil || t.conn != nil {
		return t.err
	}
	conn, err := t.c.get()
	if err != nil {
		return t.fail(err)
	}
	conn.Within(callTimeout)
	t.conn = conn
	return nil
}

func (t *Transaction) fail(err error) error {
	if t.err == nil {
		t.err = err
		if t.conn != nil {
			t.conn.Close()
			t.conn = nil
		}
	}
	return t.err
}

func (t *Transaction) send() error {
	if err := t.Connect(); err != nil {
		return err
	}
	t.closeData()
	if err := t.conn.WriteRaw(t.buf); err != nil {
		return t.fail(fmt.Errorf("cleanup: %w", err))
	}
	t.sent = true
	t.buf = t.buf[:0]
	return nil
}

// closeData fills in the length of the open data frame.
func (t *Transaction) closeData() {
	if t.data < 0 {
		return
	}
	n := len(t.buf) - t.data - 6
	t.buf[t.data], t.buf[t.data+1], t.buf[t.data+2], t.buf[t.data+3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	t.data = -1
}

// Recipient adds a recipient.
func (t *Transaction) Recipient(r *envelope.Recipient) error {
	if t.err != nil {
		return t.err
	}
	if err := r.Validate(); err != nil {
		return err
	}
	t.closeData()
	var tmp [512]byte
	e := wire.Encoder{B: tmp[:0]}
	r.Encode(&e)
	t.buf = ipc.AppendFrame(t.buf, TypeRecipient, e.B, 0)
	if len(t.buf) >= batchSize {
		return t.send()
	}
	return nil
}

// Write adds content: CRLF line ends, no dot-stuffing.
func (t *Transaction) Write(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	for done := 0; done < len(p); {
		if t.data < 0 {
			t.data = len(t.buf)
			t.buf = append(t.buf, 0, 0, 0, 0, TypeData, 0)
		}
		n := min(len(p)-done, max(batchSize-len(t.buf), 0))
		t.buf = append(t.buf, p[done:done+n]...)
		done += n
		if len(t.buf) >= batchSize {
			if err := t.send(); err != nil {
				return done, err
			}
		}
	}
	return len(p), nil
}

// End completes the message and waits for cleanup's answer. An error means that
// cleanup could not be asked, or that its answer did not come: a temporary
// failure, after which the message may nevertheless have been queued if the
// connection broke at the last moment.
func (t *Transaction) End() (*Result, error) {
	if t.ended {
		return nil, ErrTransaction
	}
	defer t.release()
	if t.err != nil {
		return nil, t.err
	}
	t.closeData()
	t.buf = ipc.AppendFrame(t.buf, TypeEnd, nil, 0)
	if err := t.send(); err != nil {
		return nil, err
	}
	drain := false
	for {
		typ, p, err := t.conn.ReadFrame()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, t.fail(fmt.Errorf("cleanup: %w", err))
		}
		if typ == TypeDrain {
			drain = true
			continue
		}
		if typ != TypeResult {
			return nil, t.fail(fmt.Errorf("cleanup: %w: frame type %d", ipc.ErrProtocol, typ))
		}
		r, err := DecodeResult(p)
		if err != nil {
			return nil, t.fail(fmt.Errorf("cleanup: %w", err))
		}
		if drain {
			t.conn.Close()
		} else {
			t.c.put(t.conn)
		}
		t.conn = nil
		return r, nil
	}
}

// Abort gives the message up. It does nothing after End.
func (t *Transaction) Abort() {
	if t.ended {
		return
	}
	if t.conn != nil && t.err == nil {
		if !t.sent {
			t.c.put(t.conn)
			t.conn = nil
		} else {
			t.closeData()
			t.buf = ipc.AppendFrame(t.buf[:0], TypeAbort, nil, 0)
			if t.conn.WriteRaw(t.buf) == nil {
				t.c.put(t.conn)
				t.conn = nil
			}
		}
	}
	t.fail(ErrTransaction)
	t.release()
}

func (t *Transaction) release() {
	t.ended = true
	if t.buf != nil && cap(t.buf) <= 2*batchSize {
		b := t.buf[:0]
		txPool.Put(&b)
	}
	t.buf = nil
	t.fail(ErrTransaction)
}
