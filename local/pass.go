package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/wire"
)

// passer asks other delivery agents to take recipients over, as qmgr would
// (mailbox_transport, fallback_transport). It keeps one connection per
// transport and is safe for concurrent use.
type passer struct {
	dir   string
	log   *maillog.Logger
	mu    sync.Mutex
	conns map[string]*passConn
}

type passConn struct {
	conn    *ipc.Conn
	mu      sync.Mutex
	seq     uint64
	waiting map[uint64]*passCall
	gone    bool // dead, or asked not to be sent more
}

type passCall struct {
	outcome *envelope.Outcome
	done    chan error
}

// passTimeout bounds connecting to an agent.
const passTimeout = 30 * time.Second

var (
	errAgain = errors.New("the delivery agent is leaving")
	errLost  = errors.New("lost connection with the delivery agent")
)

func newPasser(dir string, log *maillog.Logger) *passer {
	return &passer{dir: dir, log: log, conns: map[string]*passConn{}}
}

func (p *passer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.conn.Close()
	}
}

// deliver asks transport to deliver j's message to r.
func (p *passer) deliver(ctx context.Context, j *delivery.Job, transport, nexthop string, r envelope.Recipient) (*envelope.Outcome, error) {
	if transport == "" || strings.ContainsAny(transport, "/") || transport == "." || transport == ".." {
		return nil, fmt.Errorf("%q is not a transport", transport)
	}
	req := *j.Request
	req.Transport, req.Nexthop, req.Recipients = transport, nexthop, []envelope.Recipient{r}
	for try := 0; ; try++ {
		c, err := p.get(transport)
		if err != nil {
			return nil, err
		}
		o, err := c.call(ctx, &req, int(j.ContentFile().Fd()))
		// Again and a dead connection before anything was sent are safe to repeat.
		if !errors.Is(err, errAgain) || try == 3 {
			return o, err
		}
		p.forget(transport, c)
	}
}

func (p *passer) get(transport string) (*passConn, error) {
	p.mu.Lock()
	c := p.conns[transport]
	p.mu.Unlock()
	if c != nil && !c.isGone() {
		return c, nil
	}
	conn, err := ipc.Dial(filepath.Join(p.dir, transport), proto.Protocol, passTimeout)
	if err != nil {
		return nil, err
	}
	c = &passConn{conn: conn, waiting: map[uint64]*passCall{}}
	go c.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.conns[transport]; other != nil && !other.isGone() {
		conn.Close()
		return other, nil
	}
	p.conns[transport] = c
	return c, nil
}

func (p *passer) forget(transport string, c *passConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[transport] == c {
		delete(p.conns, transport)
	}
}

func (c *passConn) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func (c *passConn) call(ctx context.Context, req *proto.Request, fd int) (*envelope.Outcome, error) {
	call := &passCall{done: make(chan error, 1)}
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return nil, errAgain
	}
	c.seq++
	r := *req
	r.Seq = c.seq
	c.waiting[r.Seq] = call
	c.mu.Unlock()
	var e wire.Encoder
	r.Encode(&e)
	c.conn.SetWriteDeadline(time.Now().Add(passTimeout))
	if err := c.conn.WriteFrame(proto.TypeRequest, e.B, fd); err != nil {
		c.conn.Close()
		return nil, errAgain
	}
	select {
	case err := <-call.done:
		return call.outcome, err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, r.Seq)
		c.mu.Unlock()
		return nil, ctx.Err()
	}
}

// read takes answers until the agent hangs up. Requests without an answer are
// lost: the agent may have delivered them.
func (c *passConn) read() {
	for c.frame() == nil {
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, call := range c.waiting {
		call.done <- errLost
	}
	c.waiting = nil
}

func (c *passConn) frame() error {
	typ, p, err := c.conn.ReadFrame()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch typ {
	case proto.TypeOutcome:
		seq, o, err := proto.DecodeOutcome(p)
		if err != nil {
			return err
		}
		if call := c.waiting[seq]; call != nil {
			call.outcome = o
		}
	case proto.TypeDone:
		d, err := proto.DecodeDone(p)
		if err != nil {
			return err
		}
		call := c.waiting[d.Seq]
		if call == nil {
			return nil
		}
		delete(c.waiting, d.Seq)
		switch {
		case d.Again:
			c.gone = true
			call.done <- errAgain
		case call.outcome == nil:
			call.done <- errLost
		default:
			call.done <- nil
		}
		if c.gone && len(c.waiting) == 0 {
			c.conn.Close() // the leaving agent waits for that
		}
	case proto.TypeDrain:
		c.gone = true
		if len(c.waiting) == 0 {
			c.conn.Close()
		}
	default:
		return ipc.ErrProtocol
	}
	return nil
}
