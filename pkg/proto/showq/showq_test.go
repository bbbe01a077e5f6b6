package showq

import (
	"reflect"
	"testing"
	"time"

	"posthaste/pkg/wire"
)

func TestRoundTrip(t *testing.T) {
	m := &Message{Queue: "deferred", ID: "4XkP1Q2n3RzcJh4", Arrival: time.Unix(1e9, 5), Size: 77, Sender: "a@b", Expire: true, UTF8: true}
	var e wire.Encoder
	m.Encode(&e)
	got, err := DecodeMessage(e.B)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("DecodeMessage = %+v, %v, want %+v", got, err, m)
	}
	r := &Recipient{Address: "x@y", Orig: "z@y", Reason: "later"}
	e.B = nil
	r.Encode(&e)
	if got, err := DecodeRecipient(e.B); err != nil || *got != *r {
		t.Errorf("DecodeRecipient = %+v, %v, want %+v", got, err, r)
	}
	if _, err := DecodeRecipient(e.B[:len(e.B)-1]); err == nil {
		t.Error("a short recipient was accepted")
	}
}

func FuzzShowq(f *testing.F) {
	var e wire.Encoder
	(&Message{Queue: "hold", ID: "x", Arrival: time.Unix(1, 0)}).Encode(&e)
	f.Add(e.B)
	e.B = nil
	(&Recipient{Address: "a", Reason: "b"}).Encode(&e)
	f.Add(e.B)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeMessage(b); err == nil {
			var e wire.Encoder
			m.Encode(&e)
			if m2, err := DecodeMessage(e.B); err != nil || !reflect.DeepEqual(m, m2) {
				t.Errorf("%+v became %+v, %v", m, m2, err)
			}
		}
		if r, err := DecodeRecipient(b); err == nil {
			var e wire.Encoder
			r.Encode(&e)
			if len(e.B) > len(b) {
				t.Errorf("%d bytes decoded into what takes %d", len(b), len(e.B))
			}
		}
	})
}
