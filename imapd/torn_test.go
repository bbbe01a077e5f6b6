package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

const whole = `From: Anna <anna@example.test>
Subject: torn
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary="inner"

--inner
Content-Type: text/plain; charset="gb2312"
Content-Transfer-Encoding: base64

w/fM7LXEu+HS6bjExtoNCg==
--inner
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>=E4=BC=9A=
=E8=AE=AE</p>
--inner--
--outer
Content-Type: message/rfc822; name="forwarded"
Content-Disposition: attachment; filename="forwarded.eml"

From: Bob <bob@example.test>
Subject: inside
Content-Type: multipart/digest; boundary=deep

--deep

Subject: first

one
--deep
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

AAEC
--deep--
--outer
Content-Type: text/plain

last
--outer--
epilogue
`

// tornMessages are what is left of a message when it is cut anywhere, when a
// line of it is lost, and when a line comes twice.
func tornMessages() (list []string) {
	text := strings.ReplaceAll(whole, "\n", "\r\n")
	for n := 3; n < len(text); n += 11 {
		list = append(list, text[:n])
	}
	lines := strings.SplitAfter(text, "\r\n")
	for i := range lines {
		rest := strings.Join(lines[i+1:], "")
		before := strings.Join(lines[:i], "")
		if m := before + rest; m != "" {
			list = append(list, m)
		}
		list = append(list, before+lines[i]+lines[i]+rest, before+strings.TrimRight(lines[i], "\r\n")+rest)
	}
	for _, odd := range []string{
		"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\nx\r\n----\r\n", "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\n\r\nx\r\n--b\r\n\r\ny\r\n",
		"Content-Type: message/rfc822\r\n\r\n", "Content-Type: message/rfc822", "Content-Type: text/\r\n\r\nx", "Content-Type: /plain\r\n\r\nx", "Content-Type: multipart/\r\n\r\nx",
		"Content-Type: multipart/mixed; boundary=a\r\n--a\r\n\r\nx\r\n--a--", "Content-Type: multipart/mixed;\r\n boundary=a\r\n\r\n--a\r\n--a\r\n--a--\r\n",
		"Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\n\r\nx\r\n", "\x00\x01\x02", "Subject\r\n: x\r\n\r\n", " folded: first\r\n\r\nx",
		"Content-Type: text/plain; name=\"\r\n \\\"a\\\\\"\r\nSubject: =?x?b?a?= \xff\r\nTo: <<<>>>@@@,,,;;;:::\r\n\r\nx",
		"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQo=\r\n", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a--\r\n",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n--a--\r\n",
	} {
		list = append(list, odd)
	}
	return list
}

// TestTornMIME: BODYSTRUCTURE, as another implementation reads it, and each
// BODY[part] agree, however broken the message is.
func TestTornMIME(t *testing.T) {
	list := tornMessages()
	if parts := checkAgreement(t, list); parts < 2*len(list) {
		t.Errorf("only %d parts in %d messages", parts, len(list))
	}
}

// TestOddPeer is the same for odd messages.
func TestOddPeer(t *testing.T) {
	var list []string
	for _, m := range oddMessages() {
		list = append(list, m.text)
	}
	if parts := checkAgreement(t, list); parts < len(list) {
		t.Errorf("only %d parts in %d messages", parts, len(list))
	}
}

// checkAgreement returns how many parts it has looked at.
func checkAgreement(t *testing.T, list []string) (parts int) {
	ts := newTestStore(t)

	w := ts.client()
	for _, m := range list {
		w.ok("APPEND INBOX {%d+}\r\n%s", len(m), m)
	}
	c := imapclient.New(ts.dialWith("* PREAUTH ready\r\n"), nil)
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	all, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
		Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, RFC822Size: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}, {Specifier: imap.PartSpecifierHeader, Peek: true}, {Specifier: imap.PartSpecifierText, Peek: true}},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(list) {
		t.Fatalf("%d messages of %d", len(all), len(list))
	}
	for i, m := range all {
		if got := string(m.BodySection[0].Bytes); got != list[i] {
			t.Errorf("message %d is not what it was: %q", i+1, got)
		}
		if h, b := string(m.BodySection[1].Bytes), string(m.BodySection[2].Bytes); h+b != list[i] {
			t.Errorf("message %d: header %q and text %q", i+1, h, b)
		}
		var want []int64
		var sections []*imap.FetchItemBodySection
		m.BodyStructure.Walk(func(path []int, s imap.BodyStructure) bool {
			if p, ok := s.(*imap.BodyStructureSinglePart); ok {
				want = append(want, int64(p.Size))
				sections = append(sections, &imap.FetchItemBodySection{Part: append([]int(nil), path...), Peek: true})
			}
			return true
		})
		got, err := c.Fetch(imap.SeqSetNum(uint32(i+1)), &imap.FetchOptions{BodySection: sections}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for k, s := range sections {
			parts++
			b := got[0].FindBodySection(s)
			if int64(len(b)) != want[k] || !strings.Contains(list[i], string(b)) {
				t.Errorf("message %d, part %v: %d octets, %d by BODYSTRUCTURE\n%s", i+1, s.Part, len(b), want[k], list[i])
			}
		}
	}
	return parts
}

// TestLargeMessage: what is not kept in memory is the same to the client.
func TestLargeMessage(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	var b strings.Builder
	b.WriteString("Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nfirst\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	start := b.Len()
	for i := 0; b.Len() < 6<<20; i++ {
		fmt.Fprintf(&b, "%076d\r\n", i)
	}
	end := b.Len() - 2
	b.WriteString("--b\r\n\r\nneedle at the end\r\n--b--\r\n")
	msg := b.String()
	c.ok("APPEND INBOX {%d+}\r\n%s", len(msg), msg)
	c.ok("SELECT INBOX")
	has(t, c.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"), fmt.Sprintf("* 1 FETCH (RFC822.SIZE %d BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: large\r\n\r\n)", len(msg)))
	has(t, c.ok("FETCH 1 ENVELOPE"), `* 1 FETCH (ENVELOPE (NIL "large" NIL NIL NIL NIL NIL NIL NIL NIL))`)
	hasPrefix(t, c.ok("FETCH 1 BODYSTRUCTURE"), fmt.Sprintf(`* 1 FETCH (BODYSTRUCTURE (("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 0 NIL NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "base64" %d `, end-start))
	for _, at := range []int{0, 1000, 3 << 20, end - start - 10} {
		n := min(1000, end-start-at)
		has(t, c.ok("FETCH 1 BODY.PEEK[2]<%d.1000>", at), fmt.Sprintf("* 1 FETCH (BODY[2]<%d> {%d}\r\n%s)", at, n, msg[start+at:start+at+n]))
	}
	has(t, c.ok("FETCH 1 BODY.PEEK[]"), fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s)", len(msg), msg))
	has(t, c.ok("SEARCH BODY \"NEEDLE at\""), "* SEARCH 1")
	has(t, c.ok("SEARCH BODY missing"), "* SEARCH")
}
