package shadow

import (
	"reflect"
	"testing"
)

// FuzzShadowProtocol holds that what decodes encodes to something that decodes
// to the same.
func FuzzShadowProtocol(f *testing.F) {
	f.Add(EncodeReply(&Reply{Status: OK, Name: "anna", UID: 1000, GID: 1000, Home: "/home/anna"}))
	f.Add(EncodeReply(&Reply{Status: Trouble, Detail: "x"}))
	f.Add(EncodeQuery(&Query{"anna", "secret"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeReply(b); err == nil {
			if again, err := DecodeReply(EncodeReply(r)); err != nil || !reflect.DeepEqual(r, again) {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
		if q, err := DecodeQuery(b); err == nil {
			if again, err := DecodeQuery(EncodeQuery(q)); err != nil || *again != *q {
				t.Fatalf("%+v became %+v, %v", q, again, err)
			}
		}
	})
}

// Every verdict but OK, Trouble and Stale has its error.
func TestVerdicts(t *testing.T) {
	for s := Unknown; s < Trouble; s++ {
		if errs[s] == nil {
			t.Errorf("status %d has no error", s)
		}
	}
}
