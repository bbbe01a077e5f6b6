package main

import (
	"strings"
	"testing"
)

const hello = `From: Anna <anna@example.test>
To: bob@example.test
Subject: hello
Date: Mon, 7 Feb 1994 21:52:25 -0800
Message-ID: <1@example.test>

Hello Bob.
`

// TestDialogue runs commands one after the other in one session.
func TestDialogue(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", `\Seen`, hello)
	for _, step := range []struct {
		cmd  string
		want []string // each must be among the responses; the last must be the last
	}{
		{"CAPABILITY", []string{"T OK CAPABILITY completed"}},
		{"NAMESPACE", []string{`* NAMESPACE (("" "/")) NIL NIL`, "T OK NAMESPACE completed"}},
		{"SELECT nothing", []string{"T NO [NONEXISTENT] no such mailbox"}},
		{"FETCH 1 FLAGS", []string{"T BAD no mailbox is selected"}},
		{"CREATE foo/bar", []string{"T OK"}},
		{`LIST "" *`, []string{`* LIST (\HasNoChildren) "/" foo/bar`, `* LIST (\HasNoChildren \Sent) "/" Sent`, "T OK LIST completed"}},
		{`LIST "" %`, []string{`* LIST (\Noselect \HasChildren) "/" foo`, "T OK LIST completed"}},
		{`LIST "" ""`, []string{`* LIST (\Noselect) "/" ""`, "T OK LIST completed"}},
		{`LIST (SUBSCRIBED) "" *`, []string{`* LIST (\Subscribed \HasNoChildren \Sent) "/" Sent`, "T OK LIST completed"}},
		{`LIST "" % RETURN (STATUS (MESSAGES UNSEEN))`, []string{`* STATUS INBOX (MESSAGES 1 UNSEEN 0)`, "T OK LIST completed"}},
		{"SUBSCRIBE foo/bar", []string{"T OK"}},
		{`LSUB "" %`, []string{`* LSUB (\Noselect \HasChildren) "/" foo`, "T OK LSUB completed"}},
		{"STATUS INBOX (MESSAGES UIDNEXT SIZE)", []string{`* STATUS INBOX (MESSAGES 1 UIDNEXT 2 SIZE 152)`, "T OK STATUS completed"}},
		{"SELECT INBOX", []string{"* 1 EXISTS", `* FLAGS (\Answered \Flagged \Deleted \Seen \Draft)`, "T OK [READ-WRITE] SELECT completed"}},
		{"FETCH 1 (FLAGS UID RFC822.SIZE)", []string{`* 1 FETCH (FLAGS (\Seen \Recent) UID 1 RFC822.SIZE 152)`, "T OK FETCH completed"}},
		{"FETCH 1 ENVELOPE", []string{`* 1 FETCH (ENVELOPE ("Mon, 7 Feb 1994 21:52:25 -0800" "hello" (("Anna" NIL "anna" "example.test")) (("Anna" NIL "anna" "example.test")) (("Anna" NIL "anna" "example.test")) ((NIL NIL "bob" "example.test")) NIL NIL NIL "<1@example.test>"))`, "T OK FETCH completed"}},
		{"FETCH 1 (BODY BODYSTRUCTURE)", []string{`* 1 FETCH (BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 12 1) BODYSTRUCTURE ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 12 1 NIL NIL NIL NIL))`, "T OK FETCH completed"}},
		{"FETCH 1 BODY.PEEK[TEXT]", []string{"* 1 FETCH (BODY[TEXT] {12}\r\nHello Bob.\r\n)", "T OK FETCH completed"}},
		{"FETCH 1 BODY.PEEK[1]<2.3>", []string{"* 1 FETCH (BODY[1]<2> {3}\r\nllo)", "T OK FETCH completed"}},
		{"FETCH 1 BODY.PEEK[2]", []string{"* 1 FETCH (BODY[2] NIL)", "T OK FETCH completed"}},
		{"FETCH 1 BODY.PEEK[HEADER.FIELDS (subject X-None)]", []string{"* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT X-NONE)] {18}\r\nSubject: hello\r\n\r\n)", "T OK FETCH completed"}},
		{"FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (from to date message-id)]", []string{"* 1 FETCH (BODY[HEADER.FIELDS.NOT (FROM TO DATE MESSAGE-ID)] {18}\r\nSubject: hello\r\n\r\n)", "T OK FETCH completed"}},
		{"FETCH 1 PREVIEW", []string{`* 1 FETCH (PREVIEW "Hello Bob.")`, "T OK FETCH completed"}},
		{"FETCH 1 BINARY.SIZE[1]", []string{`* 1 FETCH (BINARY.SIZE[1] 12)`, "T OK FETCH completed"}},
		{"FETCH 2 FLAGS", []string{"T BAD no message has that sequence number"}},
		{"UID FETCH 7 FLAGS", []string{"T OK UID FETCH completed"}},
		{"FETCH 1 (FLAGS", []string{"T BAD command ends where ')' is expected"}},
		{"FETCH 1 FROBNICATE", []string{"T BAD unknown FETCH item FROBNICATE"}},
		{"XYZZY", []string{"T BAD unknown command XYZZY"}},
		{"STORE 1 +FLAGS (\\Flagged Work)", []string{`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft Work)`, `* 1 FETCH (FLAGS (\Flagged \Seen Work \Recent))`, "T OK STORE completed"}},
		{"STORE 1 -FLAGS.SILENT \\Seen", []string{"T OK STORE completed"}},
		{"FETCH 1 BODY[1]", []string{"* 1 FETCH (BODY[1] {12}\r\nHello Bob.\r\n FLAGS (\\Flagged \\Seen Work \\Recent))", "T OK FETCH completed"}},
		{"STORE 1 FLAGS (\\Bogus)", []string{`T BAD unknown flag \Bogus`}},
		{"SEARCH SUBJECT HELL", []string{"* SEARCH 1", "T OK SEARCH completed"}},
		{"SEARCH KEYWORD work UNSEEN", []string{"* SEARCH", "T OK SEARCH completed"}},
		{"SEARCH OR FROM bob BODY \"o b\"", []string{"* SEARCH 1", "T OK SEARCH completed"}},
		{"SEARCH SENTON 7-Feb-1994 NOT SENTBEFORE 7-Feb-1994", []string{"* SEARCH 1", "T OK SEARCH completed"}},
		{"UID SEARCH RETURN (MIN MAX COUNT ALL) ALL", []string{`* ESEARCH (TAG "T") UID MIN 1 MAX 1 ALL 1 COUNT 1`, "T OK UID SEARCH completed"}},
		{"SEARCH RETURN (SAVE) ALL", []string{"T OK SEARCH completed"}},
		{"FETCH $ UID", []string{"* 1 FETCH (UID 1)", "T OK FETCH completed"}},
		{"SEARCH CHARSET x-none TEXT a", []string{"T NO [BADCHARSET (US-ASCII UTF-8 GB18030 GBK GB2312 BIG5)] unknown charset"}},
		{"SORT (REVERSE DATE SUBJECT) UTF-8 ALL", []string{"* SORT 1", "T OK SORT completed"}},
		{"THREAD REFERENCES UTF-8 ALL", []string{"* THREAD (1)", "T OK THREAD completed"}},
		{"THREAD ORDEREDSUBJECT UTF-8 ALL", []string{"* THREAD (1)", "T OK THREAD completed"}},
		{"COPY 1 nowhere", []string{"T NO [TRYCREATE] no such mailbox"}},
		{"GETQUOTAROOT INBOX", []string{`* QUOTAROOT INBOX "User quota"`, "T OK GETQUOTAROOT completed"}},
		{"SETQUOTA \"User quota\" (STORAGE 1)", []string{"T NO [NOPERM] quota is set by the administrator"}},
		{"ID (\"name\" \"test\")", []string{`* ID ("name" "Posthaste")`, "T OK ID completed"}},
		{"MOVE 1 foo/bar", []string{"* 1 EXPUNGE", "T OK MOVE completed"}},
		{"NOOP", []string{"T OK NOOP completed"}},
		{"UNSELECT", []string{"T OK UNSELECT completed"}},
		{"EXAMINE foo/bar", []string{"* 1 EXISTS", "T OK [READ-ONLY] EXAMINE completed"}},
		{"STORE 1 +FLAGS (\\Deleted)", []string{"T NO [READ-ONLY] mailbox is read-only"}},
		{"SELECT foo/bar", []string{"T OK [READ-WRITE] SELECT completed"}},
		{"STORE 1 +FLAGS (\\Deleted)", []string{"T OK STORE completed"}},
		{"UID EXPUNGE 5", []string{"T OK UID EXPUNGE completed"}},
		{"EXPUNGE", []string{"* 1 EXPUNGE", "T OK EXPUNGE completed"}},
		{"CLOSE", []string{"T OK CLOSE completed"}},
		{"RENAME foo/bar foo/baz", []string{"T OK RENAME completed"}},
		{"DELETE foo/baz", []string{"T OK DELETE completed"}},
		{"DELETE INBOX", []string{"T NO [CANNOT] not possible with INBOX"}},
		{"CREATE &TxqLrg-", []string{"T OK"}},
		{`LIST "" "&TxqLrg-"`, []string{`* LIST (\HasNoChildren) "/" &TxqLrg-`, "T OK LIST completed"}},
		{"ENABLE UTF8=ACCEPT XNONE", []string{"* ENABLED UTF8=ACCEPT", "T OK ENABLE completed"}},
		{`LIST "" "*议"`, []string{`* LIST (\HasNoChildren) "/" "会议"`, "T OK LIST completed"}},
		{"LOGOUT", []string{"* BYE logging out", "T OK LOGOUT completed"}},
	} {
		out := c.do("%s", step.cmd)
		for _, w := range step.want[:len(step.want)-1] {
			has(t, out, w)
		}
		if last, w := out[len(out)-1], step.want[len(step.want)-1]; !strings.HasPrefix(last, w) {
			t.Errorf("%s: got %q, want %q", step.cmd, out, w)
		}
		if t.Failed() {
			t.Fatalf("after %s", step.cmd)
		}
	}
}

// TestUIDFetchHasUID: every response to UID FETCH has the UID, asked for or not;
// mbsync takes a message without one for garbage.
func TestUIDFetchHasUID(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", hello)
	c.ok("SELECT INBOX")
	for _, f := range []struct {
		cmd, want string
		uids      int
	}{
		{"UID FETCH 1 (FLAGS)", `* 1 FETCH (UID 1 FLAGS (`, 1},
		{"UID FETCH 1 BODY.PEEK[TEXT]", `* 1 FETCH (UID 1 BODY[TEXT] {12}`, 1},
		{"UID FETCH 1 (RFC822.SIZE UID)", `* 1 FETCH (RFC822.SIZE 152 UID 1)`, 1},
		{"FETCH 1 (FLAGS)", `* 1 FETCH (FLAGS (`, 0},
	} {
		out := strings.Join(c.ok("%s", f.cmd), "\n")
		if n := strings.Count(out, "UID 1"); n != f.uids || !strings.HasPrefix(out, f.want) {
			t.Errorf("%s: %q, want %s…", f.cmd, out, f.want)
		}
	}
}
