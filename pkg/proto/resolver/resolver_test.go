package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

var sample = Reply{Seq: 7, Status: OK, Detail: "d", Name: "x.example", TTL: 60, Secure: true, Records: []Record{
	{Pref: 10, Host: "mx.example"}, {Text: "v=spf1"}, {Addr: netip.MustParseAddr("192.0.2.1")}, {Addr: netip.MustParseAddr("2001:db8::1")}}}

func TestRoundTrip(t *testing.T) {
	var e wire.Encoder
	sample.Encode(&e)
	got, err := DecodeReply(e.B)
	if err != nil || !reflect.DeepEqual(*got, sample) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// FuzzResolverProtocol holds that what decodes encodes to something that
// decodes to the same.
func FuzzResolverProtocol(f *testing.F) {
	var e wire.Encoder
	sample.Encode(&e)
	f.Add(e.B)
	e.B = nil
	(&Query{Seq: 1, Name: "x.example", Type: 15}).Encode(&e)
	f.Add(e.B)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeReply(b); err == nil {
			var e wire.Encoder
			r.Encode(&e)
			if again, err := DecodeReply(e.B); err != nil || !reflect.DeepEqual(r, again) {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
		if q, err := DecodeQuery(b); err == nil {
			var e wire.Encoder
			q.Encode(&e)
			if again, err := DecodeQuery(e.B); err != nil || *again != *q {
				t.Fatalf("%+v became %+v, %v", q, again, err)
			}
		}
	})
}

func listen(t *testing.T) (net.Listener, string) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, path
}

func idle() func() { return func() {} }

// A service that drains answers what it has taken; the next question goes to
// its successor.
func TestDrain(t *testing.T) {
	ln, path := listen(t)
	draining := make(chan struct{})
	taken, finish := make(chan struct{}), make(chan struct{})
	served := make(chan error, 2)
	go func() {
		c, _ := ln.Accept()
		served <- Serve(context.Background(), c, draining, idle, func(context.Context, *Query) *Reply {
			close(taken)
			<-finish
			return &Reply{Name: "first"}
		})
		c.Close()
		c, _ = ln.Accept()
		served <- Serve(context.Background(), c, nil, idle, func(context.Context, *Query) *Reply { return &Reply{Name: "second"} })
		c.Close()
	}()
	client := NewClient(path)
	first := make(chan *Reply)
	go func() {
		r, err := client.Ask(context.Background(), "x.example", 1)
		if err != nil {
			t.Error(err)
		}
		first <- r
	}()
	<-taken
	close(draining)
	close(finish)
	if r := <-first; r == nil || r.Name != "first" {
		t.Errorf("got %+v", r)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	r, err := client.Ask(context.Background(), "x.example", 1)
	if err != nil || r.Name != "second" {
		t.Errorf("got %+v, %v", r, err)
	}
	client.Close()
	<-served
}

func TestUnavailable(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Ask(context.Background(), "x", 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// A service that talks nonsense, or not at all, does not hang who asks.
func TestBadServices(t *testing.T) {
	for name, behave := range map[string]func(c *ipc.Conn){
		"nonsense":   func(c *ipc.Conn) { c.ReadFrame(); c.WriteFrame(TypeReply, []byte("\xff")) },
		"wrong type": func(c *ipc.Conn) { c.ReadFrame(); c.WriteFrame(9, nil) },
		"silence":    func(c *ipc.Conn) { c.ReadFrame(); c.ReadFrame() },
	} {
		t.Run(name, func(t *testing.T) {
			ln, path := listen(t)
			go func() {
				for {
					nc, err := ln.Accept()
					if err != nil {
						return
					}
					if c, err := ipc.Accept(nc, Protocol, time.Second); err == nil {
						behave(c)
					}
					nc.Close()
				}
			}()
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			c := NewClient(path)
			defer c.Close()
			if _, err := c.Ask(ctx, "x.example", 1); err == nil {
				t.Error("no error")
			}
		})
	}
}
