package session

import "testing"

func TestQuota(t *testing.T) {
	for _, tt := range []struct {
		extra           string
		bytes, messages int64
		bad             bool
	}{
		{"other=1", 0, 0, false},
		{"quota_rule=*:bytes=1G:messages=1000", 1 << 30, 1000, false},
		{"quota_rule=*:storage=10", 10240, 0, false},
		{"quota_rule=*:storage=10M", 10 << 20, 0, false},
		{"quota_rule=Trash:storage=+10M", 0, 0, false},
		{"quota_rule=*:bytes=-1", 0, 0, true},
		{"quota_rule=*:bytes=9999999999T", 0, 0, true},
		{"quota_rule=*:sizes=1", 0, 0, true},
		{"quota_rule=*:bytes=", 0, 0, true},
	} {
		b, m, err := (&Grant{Extra: []string{tt.extra}}).Quota()
		if (err != nil) != tt.bad || err == nil && (b != tt.bytes || m != tt.messages) {
			t.Errorf("%q: %d %d %v", tt.extra, b, m, err)
		}
	}
}
