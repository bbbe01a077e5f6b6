package delivery

import (
	"reflect"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

func sample() *Request {
	return &Request{Seq: 9, Message: envelope.Message{ID: "4XkP1Q2n3RzcJh4", Sender: "a@b", Arrival: time.Unix(1e9, 1)}, Transport: "smtp", Nexthop: "x.example",
		ContentOffset: 100, ContentLength: 5, DotLines: true, Activated: time.Unix(1e9, 2), Started: time.Unix(1e9, 3), Attempt: 1,
		Recipients: []envelope.Recipient{{Num: 3, Address: "c@d", Orig: "e@f", Notify: envelope.NotifyDelay}}}
}

func TestRequestRoundTrip(t *testing.T) {
	r := sample()
	var e wire.Encoder
	r.Encode(&e)
	got, err := DecodeRequest(e.B)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("DecodeRequest = %+v, %v, want %+v", got, err, r)
	}
	for n := range e.B {
		if _, err := DecodeRequest(e.B[:n]); err == nil {
			t.Errorf("a request cut to %d bytes was accepted", n)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	for name, spoil := range map[string]func(r *Request){
		"no recipients":          func(r *Request) { r.Recipients = nil },
		"negative offset":        func(r *Request) { r.ContentOffset = -1 },
		"line break in a sender": func(r *Request) { r.Message.Sender = "a\nb" },
		"NUL in a recipient":     func(r *Request) { r.Recipients[0].Address = "a\x00" },
		"contradictory notify":   func(r *Request) { r.Recipients[0].Notify = 3 },
	} {
		r := sample()
		spoil(r)
		var e wire.Encoder
		r.Encode(&e)
		if _, err := DecodeRequest(e.B); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzDelivery(f *testing.F) {
	var e wire.Encoder
	sample().Encode(&e)
	f.Add(e.B)
	e.B = nil
	EncodeOutcome(&e, 4, &envelope.Outcome{Num: 1, DSN: "2.0.0", Reason: "ok"})
	f.Add(e.B)
	e.B = nil
	(&Done{Seq: 1, SiteProblem: "x"}).Encode(&e)
	f.Add(e.B)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeRequest(b); err == nil {
			var e wire.Encoder
			r.Encode(&e)
			if r2, err := DecodeRequest(e.B); err != nil || !reflect.DeepEqual(r, r2) {
				t.Errorf("%+v became %+v, %v", r, r2, err)
			}
		}
		if seq, o, err := DecodeOutcome(b); err == nil {
			var e wire.Encoder
			EncodeOutcome(&e, seq, o)
			if _, o2, err := DecodeOutcome(e.B); err != nil || !reflect.DeepEqual(o, o2) {
				t.Errorf("%+v became %+v, %v", o, o2, err)
			}
		}
		if d, err := DecodeDone(b); err == nil {
			var e wire.Encoder
			d.Encode(&e)
			if d2, err := DecodeDone(e.B); err != nil || *d2 != *d {
				t.Errorf("%+v became %+v, %v", d, d2, err)
			}
		}
	})
}
