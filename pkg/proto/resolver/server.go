package resolver

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
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
// the successor). answer may be called by many goroutines at a time.
func Serve(ctx context.Context, nc net.Conn, draining <-chan struct{}, answer func(context.Context, *Query) *Reply) error {
	c, err := ipc.Accept(nc, Protocol, helloTimeout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var busy atomic.Int64
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		select {
		case <-quit:
			return
		case <-ctx.Done():
		case <-draining:
			for busy.Load() > 0 && ctx.Err() == nil {
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
		busy.Add(1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { busy.Add(-1); <-slots }()
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
