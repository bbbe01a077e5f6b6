package resolver

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// maxPending is how many questions of one connection are worked on at a time;
// further ones wait in the socket.
const maxPending = 256

// helloTimeout bounds the opening of a connection.
const helloTimeout = 10 * time.Second

// Serve answers the questions of one connection until the peer leaves, ctx
// ends, or draining is closed and no question is under way (the peer then asks
// the successor). answer may be called by many goroutines at a time. waiting is
// called when the connection falls idle, and its result when it no longer is.
func Serve(ctx context.Context, nc net.Conn, draining <-chan struct{}, waiting func() (busy func()), answer func(context.Context, *Query) *Reply) error {
	c, err := ipc.Accept(nc, Protocol, helloTimeout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	load := idleness{waiting: waiting}
	load.add(0)
	defer func() { load.busy() }()
	var wg sync.WaitGroup
	defer wg.Wait()
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		select {
		case <-quit:
			return
		case <-ctx.Done():
		case <-draining:
			for !load.idle() && ctx.Err() == nil {
				select {
				case <-quit:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
		c.SetReadDeadline(time.Unix(1, 0)) // ends ReadFrame below
	}()
	slots := make(chan struct{}, maxPending)
	for {
		t, p, err := c.ReadFrame()
		if err == io.EOF || err != nil && stopping(ctx, draining) {
			return nil
		}
		if err != nil {
			return err
		}
		if t != TypeQuery {
			return fmt.Errorf("%w: frame type %d", ipc.ErrProtocol, t)
		}
		q, err := DecodeQuery(p)
		if err != nil {
			return err
		}
		slots <- struct{}{}
		load.add(1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { load.add(-1); <-slots }()
			r := answer(ctx, q)
			r.Seq = q.Seq
			var e wire.Encoder
			r.Encode(&e)
			c.SetWriteDeadline(time.Now().Add(helloTimeout))
			if c.WriteFrame(TypeReply, e.B) != nil {
				c.Close()
			}
		}()
	}
}

// idleness counts the questions under way on a connection and tells when there
// are none.
type idleness struct {
	waiting func() (busy func())

	mu   sync.Mutex
	n    int
	busy func()
}

func (l *idleness) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == 0 && n > 0 {
		l.busy()
		l.busy = func() {}
	}
	if l.n += n; l.n == 0 {
		l.busy = l.waiting()
	}
}

func (l *idleness) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n == 0
}

func stopping(ctx context.Context, draining <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return true
	case <-draining:
		return true
	default:
		return false
	}
}
