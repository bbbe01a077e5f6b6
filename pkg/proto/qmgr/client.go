package qmgr

import (
	"fmt"
	"sync"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// dialTimeout bounds connecting and the hello; qmgr may have to be started.
const dialTimeout = 10 * time.Second

// pace is how soon after another message qmgr hears of one. Those of that time it
// hears of together: then it wakes up once, and so do those that it wakes.
const pace = 3 * time.Millisecond

// maxPending is the most ids that a Notifier remembers; beyond it, one Scan
// takes their place.
const maxPending = 4096

// Notifier tells qmgr of new messages. It never blocks the caller; ids are sent
// many at a time when mail arrives fast. When qmgr cannot be reached, they are
// dropped and a Scan is sent once it can; qmgr also scans by itself, so that
// nothing depends on this.
type Notifier struct {
	path string

	mu      sync.Mutex
	pending []string
	lost    bool
	running bool
	armed   bool      // due will be called
	sent    time.Time // when something was sent last
	closed  bool

	conn    *ipc.Conn // owned by the sending goroutine
	retryAt time.Time
}

// NewNotifier returns a Notifier for the socket at path (Service); it connects
// with the first Notify.
func NewNotifier(path string) *Notifier { return &Notifier{path: path} }

// Notify says that incoming/id is complete and durable.
func (n *Notifier) Notify(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if len(n.pending) >= maxPending {
		n.lost = true
	} else {
		n.pending = append(n.pending, id)
	}
	if n.running || n.armed {
		return
	}
	now := time.Now()
	if wait := pace - now.Sub(n.sent); wait > 0 {
		n.armed = true
		time.AfterFunc(wait, n.due)
		return
	}
	n.begin(now)
}

// due ends the wait for more to be sent.
func (n *Notifier) due() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.armed = false
	if !n.running && !n.closed {
		n.begin(time.Now())
	}
}

// begin sends what is pending; the caller holds mu.
func (n *Notifier) begin(now time.Time) {
	n.sent = now
	if n.sendNow() {
		return
	}
	n.running = true
	go n.send()
}

// sendNow writes what is pending if that takes no waiting, which saves a switch
// of goroutines for each message; the caller holds mu. What it cannot send at
// all is left to send.
func (n *Notifier) sendNow() bool {
	if n.conn == nil || n.lost {
		return false
	}
	var space [64]byte
	e := wire.Encoder{B: space[:0]}
	e.Strings(n.pending)
	sent, err := n.conn.TryWrite(ipc.AppendFrame(nil, TypeNotify, e.B, 0))
	if err != nil {
		// send finds out what is wrong; a part of a frame may be on its way.
		n.conn.Close()
		n.conn = nil
		return false
	}
	if sent {
		n.pending = n.pending[:0]
	}
	return sent
}

// send writes what is pending and ends when there is nothing more.
func (n *Notifier) send() {
	var e wire.Encoder
	var frames []byte
	var ids []string
	for {
		n.mu.Lock()
		ids, n.pending = n.pending, ids[:0]
		lost := n.lost
		n.lost = false
		if len(ids) == 0 && !lost {
			n.running = false
			if n.closed && n.conn != nil {
				n.conn.Close()
				n.conn = nil
			}
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()

		e.B = e.B[:0]
		e.Strings(ids)
		frames = ipc.AppendFrame(frames[:0], TypeNotify, e.B, 0)
		if lost {
			frames = ipc.AppendFrame(frames, TypeScan, nil, 0)
		}
		if !n.write(frames) {
			n.mu.Lock()
			n.lost = true
			n.pending = n.pending[:0]
			n.running = false
			n.mu.Unlock()
			return
		}
	}
}

// write sends frames on the kept connection, or on a new one if that fails.
func (n *Notifier) write(frames []byte) bool {
	if n.conn != nil {
		n.conn.WriteWithin(dialTimeout)
		if n.conn.WriteRaw(frames) == nil {
			return true
		}
		n.conn.Close()
		n.conn = nil
	}
	if time.Now().Before(n.retryAt) {
		return false
	}
	c, err := ipc.Dial(n.path, Protocol, dialTimeout)
	if err != nil {
		n.retryAt = time.Now().Add(time.Second)
		return false
	}
	n.conn = c
	// What the old connection swallowed without an error is unknown.
	frames = ipc.AppendFrame(frames, TypeScan, nil, 0)
	c.WriteWithin(dialTimeout)
	if c.WriteRaw(frames) != nil {
		c.Close()
		n.conn = nil
		return false
	}
	return true
}

// Close sends what is pending if that takes no waiting, and closes the
// connection.
func (n *Notifier) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if !n.running && len(n.pending) > 0 {
		n.sendNow()
	}
	n.pending = nil
	if !n.running && n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}

// Client asks qmgr; it is not safe for concurrent use.
type Client struct{ c *ipc.Conn }

// Dial connects to the socket at path.
func Dial(path string) (*Client, error) {
	c, err := ipc.Dial(path, Protocol, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.c.Close() }

// ask sends one frame and returns the payload of its answer.
func (c *Client) ask(typ, want byte, arg string) ([]byte, error) {
	var e wire.Encoder
	e.String(arg)
	return c.exchange(typ, want, e.B)
}

func (c *Client) exchange(typ, want byte, payload []byte) ([]byte, error) {
	c.c.SetDeadline(time.Now().Add(5 * time.Minute))
	if err := c.c.WriteFrame(typ, payload); err != nil {
		return nil, err
	}
	t, p, err := c.c.ReadFrame()
	if err != nil {
		return nil, err
	}
	if t != want {
		return nil, fmt.Errorf("%w: frame type %d, want %d", ipc.ErrProtocol, t, want)
	}
	return p, nil
}

func (c *Client) result(typ byte, arg string) error {
	p, err := c.ask(typ, TypeResult, arg)
	if err != nil {
		return err
	}
	return refused(p)
}

func refused(p []byte) error {
	r, err := DecodeResult(p)
	if err != nil {
		return err
	}
	if !r.OK {
		return &Refused{r.Text}
	}
	return nil
}

// Refused is qmgr's no.
type Refused struct{ Text string }

func (e *Refused) Error() string { return e.Text }

// Flush has all deferred mail tried now; suspended destinations are revived.
func (c *Client) Flush() error { return c.result(TypeFlush, "") }

// FlushSite has all deferred mail for a domain tried now. The error is a
// *Refused if the domain is not in fast_flush_domains.
func (c *Client) FlushSite(domain string) error { return c.result(TypeFlushSite, domain) }

// FlushID has one message tried now; an unknown id is no error.
func (c *Client) FlushID(id string) error { return c.result(TypeFlushID, id) }

// LetGo has qmgr give up an active message. The error is a *Refused with
// NotActive if qmgr does not have it, with UnderWay if that takes longer than a
// second.
func (c *Client) LetGo(a Action, id string) error {
	var e wire.Encoder
	(&LetGo{a, id}).Encode(&e)
	p, err := c.exchange(TypeLetGo, TypeResult, e.B)
	if err != nil {
		return err
	}
	return refused(p)
}

// Status returns the ledger.
func (c *Client) Status() (*Status, error) {
	p, err := c.ask(TypeStatus, TypeStatusAns, "")
	if err != nil {
		return nil, err
	}
	return DecodeStatus(p)
}
