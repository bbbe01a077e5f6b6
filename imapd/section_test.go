package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/maildir/store"
	"posthaste/pkg/maillog"
)

// TestSections asks for each kind of section of a message with parts.
func TestSections(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", whole)
	c.ok("SELECT INBOX")
	text := strings.ReplaceAll(whole, "\n", "\r\n")
	for _, s := range []struct{ section, want string }{
		{"BODY.PEEK[2.MIME]", "Content-Type: message/rfc822; name=\"forwarded\"\r\nContent-Disposition: attachment; filename=\"forwarded.eml\"\r\n\r\n"},
		{"BODY.PEEK[2.HEADER]", "From: Bob <bob@example.test>\r\nSubject: inside\r\nContent-Type: multipart/digest; boundary=deep\r\n\r\n"},
		{"BODY.PEEK[2.HEADER.FIELDS (SUBJECT)]", "Subject: inside\r\n\r\n"},
		{"BODY.PEEK[2.HEADER.FIELDS.NOT (SUBJECT FROM)]", "Content-Type: multipart/digest; boundary=deep\r\n\r\n"},
		{"BODY.PEEK[2.1.HEADER]", "Subject: first\r\n\r\n"}, {"BODY.PEEK[2.1.1]", "one"}, {"BODY.PEEK[2.1.TEXT]", "one"}, {"BODY.PEEK[2.2]", "AAEC"},
		{"BODY.PEEK[1.2]<3.4>", "=E4="}, {"BODY.PEEK[3]", "last"}, {"BODY.PEEK[3]<99.1>", ""},
		{"BODY.PEEK[HEADER]<0.5>", "From:"}, {"BODY.PEEK[]<0.5>", "From:"}, {"BODY.PEEK[]", text},
		{"RFC822.HEADER", text[:strings.Index(text, "\r\n\r\n")+4]}, {"RFC822.TEXT", text[strings.Index(text, "\r\n\r\n")+4:]}, {"RFC822", text},
	} {
		label := strings.Replace(s.section, ".PEEK", "", 1)
		if i := strings.IndexByte(label, '<'); i >= 0 {
			label = label[:strings.IndexByte(label, '.')] + ">"
			if i := strings.LastIndexByte(s.section, '<'); i >= 0 {
				part, _, _ := strings.Cut(s.section[i:], ".")
				label = strings.Replace(s.section[:i], ".PEEK", "", 1) + part + ">"
			}
		}
		out := c.ok("FETCH 1 %s", s.section)
		want := fmt.Sprintf("* 1 FETCH (%s {%d}\r\n%s", label, len(s.want), s.want)
		if !strings.HasPrefix(out[0], want) {
			t.Errorf("%s: %.300q, want %.300q", s.section, out[0], want)
		}
	}
	for _, none := range []string{"3.HEADER", "3.TEXT", "1.HEADER", "4", "1.1.1", "2.3"} {
		has(t, c.ok("FETCH 1 BODY.PEEK[%s]", none), "* 1 FETCH (BODY["+none+"] NIL)")
	}
	for _, bad := range []string{"BODY[MIME]", "BODY[1.]", "BODY[0]", "BODY[1.X]", "BODY[TEXT", "BODY[]<1>", "BODY[]<1.0>", "(ALL UID)", "BODY.PEEK", "BINARY[TEXT]", "()"} {
		hasPrefix(t, c.do("FETCH 1 %s", bad), "T BAD")
	}
	for macro, want := range map[string]string{
		"FAST": "* 1 FETCH (FLAGS (", "ALL": "* 1 FETCH (FLAGS (", "FULL": "* 1 FETCH (FLAGS (",
	} {
		hasPrefix(t, c.ok("FETCH 1 %s", macro), want)
	}
	has(t, c.ok("FETCH 1 (BINARY.PEEK[1.2] BINARY.SIZE[9])"), "* 1 FETCH (BINARY[1.2] {13}\r\n<p>会议</p> BINARY.SIZE[9] 0)")
	hasPrefix(t, c.ok("SEARCH RETURN (SAVE MIN) ALL"), "T OK")
	has(t, c.ok("SEARCH $"), "* SEARCH 1")
	has(t, c.ok("SEARCH $ MODSEQ \"/flags/\\\\draft\" all 999999"), "* SEARCH")
	has(t, c.ok("SEARCH SUBJECT \"\" TEXT \"\""), "* SEARCH 1")
}

// TestEarlyInput: what the client sent behind its login counts.
func TestEarlyInput(t *testing.T) {
	ts := newTestStore(t)
	st, err := ts.m.Open(ts.root, store.UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	opt := &options{timeout: time.Minute, log: maillog.New("imapd", failing{t})}
	conn := deaf{in: bytes.NewReader([]byte("OP\r\nc LOGOUT\r\n")), out: &bytes.Buffer{}}
	s := newSession(context.Background(), opt, conn, []byte("a CAPABILITY\r\nb NO"), "anna", st)
	s.run()
	out := strings.Split(conn.out.String(), "\r\n")
	for _, want := range []string{"a OK CAPABILITY completed", "b OK NOOP completed", "* BYE logging out", "c OK LOGOUT completed"} {
		has(t, out, want)
	}
	if got := s.end().Text(); got != "imap(anna): Disconnected: Logged out in=14 out="+fmt.Sprint(conn.out.Len())+" capability=1 noop=1 logout=1" {
		t.Error(got)
	}
}
