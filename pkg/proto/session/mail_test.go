package session

import "testing"

func TestMaildir(t *testing.T) {
	for _, tt := range []struct{ user, home, mail, want string }{
		{"anna", "/home/anna", "", "/home/anna/Maildir"},
		{"anna", "/home/anna/", "maildir:~/mail/./x", "/home/anna/mail/x"},
		{"anna", "/h", "maildir:~", "/h"},
		{"anna@b.example", "", "maildir:/var/vmail/%d/%n", "/var/vmail/b.example/anna"},
		{"anna@b.example", "/h", "maildir:/v/%u/%%/%h:INDEX=/x", "/v/anna@b.example/%/h"},
		{"..", "", "maildir:/v/%u", ""},
		{"a/b", "", "maildir:/v/%u", ""},
		{"anna", "", "maildir:/v/%d", ""},
		{"../x@b", "", "maildir:/v/%n", ""},
		{"anna", "", "", ""},
		{"anna", "rel", "", ""},
		{"anna", "/h", "mbox:~/mbox", ""},
		{"anna", "/h", "maildir:/v/%q", ""},
		{"anna", "/h", "maildir:/v/%", ""},
	} {
		got, err := (&Grant{User: tt.user, Home: tt.home, Mail: tt.mail}).Maildir()
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}

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
