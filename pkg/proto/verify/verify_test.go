package verify

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"posthaste/pkg/wire"
)

type fake struct{ told []Update }

func (f *fake) Query(_ context.Context, q *Query) *Reply {
	return &Reply{Undeliverable, q.Address + " " + q.Wait.String()}
}
func (f *fake) Update(u *Update) { f.told = append(f.told, *u) }

func TestAskAndTell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := &fake{}
	served := make(chan error)
	go func() {
		for range 2 {
			c, err := ln.Accept()
			if err == nil {
				err = Serve(context.Background(), c, f)
				c.Close()
			}
			served <- err
		}
	}()
	r, err := Ask(context.Background(), path, &Query{"a@b.example", time.Second})
	if err != nil || r.Status != Undeliverable || r.Text != "a@b.example 1s" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	u := Update{"a@b.example", Deliverable, "250 ok"}
	if err := Tell(context.Background(), path, &u); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil || len(f.told) != 1 || f.told[0] != u {
		t.Errorf("%+v, %v", f.told, err)
	}
}

// FuzzVerifyProtocol holds that what decodes encodes to something that decodes
// to the same.
func FuzzVerifyProtocol(f *testing.F) {
	for _, m := range []interface{ Encode(*wire.Encoder) }{&Query{"a@b", 1}, &Update{"a@b", Deliverable, "x"}, &Reply{Unreachable, "x"}} {
		var e wire.Encoder
		m.Encode(&e)
		f.Add(e.B)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e wire.Encoder
		if q, err := DecodeQuery(b); err == nil {
			q.Encode(&e)
			if again, err := DecodeQuery(e.B); err != nil || *again != *q {
				t.Fatalf("%+v became %+v, %v", q, again, err)
			}
		}
		e.B = nil
		if u, err := DecodeUpdate(b); err == nil {
			u.Encode(&e)
			if again, err := DecodeUpdate(e.B); err != nil || *again != *u {
				t.Fatalf("%+v became %+v, %v", u, again, err)
			}
		}
		e.B = nil
		if r, err := DecodeReply(b); err == nil {
			r.Encode(&e)
			if again, err := DecodeReply(e.B); err != nil || *again != *r {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
	})
}
