package location

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthaste/pkg/userdb"
)

func TestParseMaildir(t *testing.T) {
	for _, tt := range []struct{ user, home, mail, want string }{
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
		{"anna", "/h", "maildir:/v/%q", ""},
		{"anna", "/h", "maildir:/v/%", ""},
	} {
		got, err := Parse(tt.mail, tt.user, tt.home)
		if got.Root != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
	}
}

func TestParseMbox(t *testing.T) {
	for spec, want := range map[string]string{
		"mbox:~/mail:INBOX=/var/mail/%u": "mbox:/h/mail:INBOX=/var/mail/anna", "mbox:~/mail": "mbox:/h/mail:INBOX=/h/mail/inbox", "mbox:~/mail:LAYOUT=fs:INBOX=~/mbox:INDEX=/x": "mbox:/h/mail:INBOX=/h/mbox",
		"mbox:~/mail:INBOX=mbox": "", "mbox:~/mail:DIRNAME=x": "", "maildir:~/m:INBOX=/x": "", "mdbox:~/m": "", "": "", "mbox:": "",
	} {
		got, err := Parse(spec, "anna", "/h")
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%s: %v, %v", spec, got, err)
		}
	}
}

// TestFind: users of the system find their mail where local delivers it.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/passwd", fmt.Appendf(nil, "anna:x:1000:1000::%s/anna:/bin/sh\nbert:x:1001:1001::%s/bert:/bin/sh\n", dir, dir), 0o600)
	os.WriteFile(dir+"/group", nil, 0o600)
	os.MkdirAll(dir+"/bert/Maildir/cur", 0o700)
	os.MkdirAll(dir+"/bert/Mail", 0o700)
	for i, tt := range []struct {
		user, mail, def, home, spool string
		uid                          uint32
		want                         string
	}{
		{"anna", "", "", "", "/var/mail", 1000, "mbox:D/anna/mail:INBOX=/var/mail/anna"},
		{"anna", "", "", "", "/var/mail", 999, "maildir:D/anna/Maildir"}, // of that name, but another
		{"anna@x", "", "", "", "/var/mail", 1000, "maildir:D/anna@x/Maildir"},
		{"anna", "", "", "Mailbox", "/var/mail", 1000, "mbox:D/anna/mail:INBOX=D/anna/Mailbox"},
		{"anna", "", "", "Mail%/", "/var/mail", 1000, "maildir:D/anna/Mail%"},
		{"anna", "", "", "", "/var/mail/", 1000, "maildir:/var/mail/anna"},
		{"anna", "", "maildir:/v/%u", "Mailbox", "/var/mail/", 1000, "maildir:/v/anna"},
		{"anna", "mbox:~/m", "maildir:/v/%u", "", "/var/mail/", 1000, "mbox:D/anna/m:INBOX=D/anna/m/inbox"},
		{"bert", "", "", "", "/var/mail", 1001, "maildir:D/bert/Maildir"},
		{"bert", "", "", "mbox", "/var/mail", 1001, "mbox:D/bert/Mail:INBOX=D/bert/mbox"},
	} {
		f := &Finder{Default: tt.def, HomeMailbox: tt.home, Spool: tt.spool, Users: userdb.New(dir+"/passwd", dir+"/group")}
		got, err := f.Find(tt.user, filepath.Join(dir, tt.user), tt.mail, tt.uid)
		if s := strings.ReplaceAll(got.String(), dir, "D"); err != nil || s != tt.want {
			t.Errorf("%d: %s, %v, want %s", i, s, err, tt.want)
		}
	}
}
