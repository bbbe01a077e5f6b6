package ipc

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// callServer serves on a socket, each connection with the server that next
// returns.
func callServer(t *testing.T, next func() (*CallServer, func(*Conn, byte, []byte) ([]byte, error))) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s, h := next()
			wg.Go(func() { s.Serve(ctx, nc, h); nc.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
	return path
}

func TestCalls(t *testing.T) {
	release := make(chan struct{})
	path := callServer(t, func() (*CallServer, func(*Conn, byte, []byte) ([]byte, error)) {
		return &CallServer{Protocol: "t/1"}, func(_ *Conn, typ byte, p []byte) ([]byte, error) {
			switch string(p) {
			case "slow":
				<-release
			case "bad":
				return nil, ErrProtocol
			}
			return append([]byte{typ}, p...), nil
		}
	})
	lost := make(chan struct{}, 10)
	c := &Caller{Path: path, Protocol: "t/1", Lost: func() { lost <- struct{}{} }}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	slow := make(chan string)
	go func() { b, _ := c.Call(ctx, 2, []byte("slow")); slow <- string(b) }()
	if b, err := c.Call(ctx, 1, []byte("x")); err != nil || string(b) != "\x01x" {
		t.Errorf("%q %v", b, err)
	}
	close(release)
	if b := <-slow; b != "\x02slow" {
		t.Errorf("%q", b)
	}
	if _, err := c.Call(ctx, 1, []byte("bad")); err == nil {
		t.Error("an error of the server went unnoticed")
	}
	<-lost
	if b, err := c.Call(ctx, 1, nil); err != nil || string(b) != "\x01" {
		t.Errorf("after a lost connection: %q %v", b, err)
	}
	short, cancel2 := context.WithCancel(ctx)
	cancel2()
	if _, err := c.Call(short, 1, nil); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("%v", err)
	}
	if err := (&Caller{Path: path + "x", Protocol: "t/1"}).Connect(ctx); err == nil {
		t.Error("nobody listens, and no error")
	}
}

// A server that drains answers what it has taken; the next call goes to the
// successor, which first hears what Opened says.
func TestCallsDrain(t *testing.T) {
	draining := make(chan struct{})
	n := 0
	started := make(chan struct{})
	begin := sync.OnceFunc(func() { close(started) })
	finish := make(chan struct{})
	var mu sync.Mutex
	var heard []string
	path := callServer(t, func() (*CallServer, func(*Conn, byte, []byte) ([]byte, error)) {
		n++
		s := &CallServer{Protocol: "t/1", InOrder: true}
		if n == 1 {
			s.Draining = draining
		}
		who := n
		return s, func(_ *Conn, typ byte, p []byte) ([]byte, error) {
			if typ == 9 {
				mu.Lock()
				heard = append(heard, string(p))
				mu.Unlock()
				return nil, nil
			}
			if who == 1 {
				begin()
				<-finish
			}
			return []byte{byte(who)}, nil
		}
	})
	c := &Caller{Path: path, Protocol: "t/1", Opened: func(c *Conn) error { return c.WriteFrame(9, []byte("\x00again")) }}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	first := make(chan []byte)
	go func() {
		b, err := c.Call(ctx, 1, nil)
		if err != nil {
			t.Error(err)
		}
		first <- b
	}()
	<-started
	close(draining)
	close(finish)
	if b := <-first; string(b) != "\x01" {
		t.Errorf("%q", b)
	}
	for {
		b, err := c.Call(ctx, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) == "\x02" {
			break
		} // else the first connection has not heard of the drain yet
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) != 2 || heard[1] != "again" {
		t.Errorf("%q", heard)
	}
}

// A connection that ends without an answer, because its server drains, is made
// again, once: if that ends too, it is not for draining.
func TestCallsLostAtFirst(t *testing.T) {
	for lost, want := range map[int]bool{0: true, 1: true, 2: false} {
		n := 0
		path := callServer(t, func() (*CallServer, func(*Conn, byte, []byte) ([]byte, error)) {
			n++
			who := n
			return &CallServer{Protocol: "t/1"}, func(*Conn, byte, []byte) ([]byte, error) {
				if who <= lost {
					return nil, ErrProtocol
				}
				return []byte("y"), nil
			}
		})
		c := &Caller{Path: path, Protocol: "t/1"}
		b, err := c.Call(t.Context(), 1, nil)
		if (err == nil) != want || want && string(b) != "y" {
			t.Errorf("%d lost connections: %q, %v", lost, b, err)
		}
		c.Close()
	}
}
