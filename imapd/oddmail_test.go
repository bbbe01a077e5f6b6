package main

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// oddMessages are made up after the kinds of odd mail that real mailboxes and
// other programs' tests hold. Line ends are as written, "\n" standing for CRLF
// but in those that are about line ends.
func oddMessages() (list []odd) {
	add := func(name, text string) { list = append(list, odd{name, strings.ReplaceAll(text, "\n", "\r\n")}) }
	raw := func(name, text string) { list = append(list, odd{name, text}) }
	const head = "From: Anna <anna@example.test>\nTo: bob@example.test\nSubject: odd\nDate: Mon, 2 Nov 2026 10:00:00 +0100\nMessage-ID: <odd@example.test>\nMIME-Version: 1.0\n"
	multi := func(name, boundary, rest string) {
		add(name, head+"Content-Type: multipart/mixed; boundary="+boundary+"\n\n"+rest)
	}
	oddHeaders(add)
	oddAddresses(add)
	oddTypes(func(name, fields, body string) { add(name, head+fields+"\n"+body) })

	// Boundaries.
	multi("boundary in quotes with blanks", `"a b  c"`, "--a b  c\n\none\n--a b  c--\n")
	multi("boundary that is a prefix of another", `aa`, "--aab\n\nnot a part\n--aa\n\none\n--aaa\n\n--aa--\n")
	multi("nested boundary that begins with the outer one", `aa`, "--aa\nContent-Type: multipart/mixed; boundary=aab\n\n--aab\n\none\n--aab--\n--aa\n\ntwo\n--aa--\n")
	multi("boundary with blanks behind it", `a`, "--a  \t\n\none\n--a-- \t\nepilogue\n")
	multi("boundary of 70", strings.Repeat("0123456789", 7), "--"+strings.Repeat("0123456789", 7)+"\n\none\n--"+strings.Repeat("0123456789", 7)+"--\n")
	multi("boundary of 1000", strings.Repeat("b", 1000), "--"+strings.Repeat("b", 1000)+"\n\none\n--"+strings.Repeat("b", 1000)+"--\n")
	multi("boundary with special characters", `"=_'()+,-./:=?"`, "--=_'()+,-./:=?\n\none\n--=_'()+,-./:=?--\n")
	multi("boundary with 8 bits", "\"gr\xfcn\"", "--gr\xfcn\n\none\n--gr\xfcn--\n")
	multi("boundary never seen", `a`, "no part at all\n")
	multi("boundary never closed", `a`, "--a\n\none\n--a\nContent-Type: text/html\n\n<p>two")
	multi("boundary closed twice", `a`, "--a\n\none\n--a--\n--a\n\ntwo\n--a--\n")
	multi("boundary at once closed", `a`, "--a--\nepilogue\n")
	multi("parts without empty line", `a`, "--a\nContent-Type: text/plain\n--a\nSubject: x\n--a--\n")
	multi("parts of nothing", `a`, "--a\n--a\n\n--a\n\n\n--a--\n")
	multi("outer boundary ends inner parts", `a`, "--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\none\n--a\n\ntwo\n--a--\n")
	multi("inner boundary behind its end", `a`, "--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\none\n--b--\n--b\n\nin the epilogue\n--a--\n")
	multi("same boundary inside and outside", `a`, "--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\n\n--a--\n")
	multi("message whose multipart has the outer boundary", `a`, "--a\nContent-Type: message/rfc822\n\nSubject: in\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\n")
	multi("header of a part folds oddly", `a`, "--a\nContent-Type:\n text/plain;\n\tcharset\n =\n utf-8\n\none\n--a--\n")
	multi("preamble with a header", `a`, "Content-Type: text/plain\n\n--a\n\none\n--a--\n")
	multi("text that only looks like a boundary", `a`, "--a\n\n --a\n-- a\n-a\n--A\n--a-\n--a--\n")
	multi("many levels", `b0`, nested(40))
	add("boundary in pieces", head+"Content-Type: multipart/mixed; boundary*1=cd; boundary*0=ab\n\n--abcd\n\none\n--abcd--\n")
	add("boundary percent-encoded", head+"Content-Type: multipart/mixed; boundary*=us-ascii''%61b\n\n--ab\n\none\n--ab--\n")
	add("multipart in base64", head+"Content-Type: multipart/mixed; boundary=a\nContent-Transfer-Encoding: base64\n\n"+base64.StdEncoding.EncodeToString([]byte("--a\r\n\r\none\r\n--a--\r\n"))+"\n")
	add("digest", head+"Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: one\n\n1\n--a\nContent-Type: text/plain\n\n2\n--a\n\n--a--\n")
	add("report", head+"Content-Type: multipart/report; report-type=delivery-status; boundary=a\n\n--a\n\nfailed\n--a\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nAction: failed\n--a\nContent-Type: text/rfc822-headers\n\nSubject: x\n--a--\n")
	add("partial", head+"Content-Type: message/partial; id=\"x\"; number=1; total=2\n\nSubject: whole\n\nhalf")
	add("external body", head+"Content-Type: message/external-body; access-type=local-file; name=/etc/passwd\n\nContent-Type: text/plain\n\n")
	add("message in a message in a message", head+"Content-Type: message/rfc822\n\nSubject: 1\nContent-Type: message/rfc822\n\nSubject: 2\nContent-Type: message/rfc822\n\nSubject: 3\n\nthree\n")
	add("message in quoted-printable", head+"Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nSubject=3A in\n\none=\n")
	add("message of nothing but a header", head+"Content-Type: message/rfc822\n\nSubject: in\n")
	add("message that begins with an empty line", head+"Content-Type: message/rfc822\n\n\nSubject: not a header\n")
	add("message with From_", head+"Content-Type: message/rfc822\n\nFrom anna Mon Nov  2 10:00:00 2026\nSubject: in\n\none\n")

	// Line ends and octets.
	raw("LF alone", "Subject: lf\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\n\ntwo\n--a--\n")
	raw("CR alone", "Subject: cr\r\rnot a body\r")
	raw("mixed line ends", "Subject: mixed\nTo: a@b\r\nContent-Type: multipart/mixed; boundary=a\r\n\n--a\n\r\none\r\n--a\r\n\ntwo\n--a--")
	raw("CR CR LF", "Subject: crcrlf\r\r\n\r\r\none\r\r\n")
	raw("no line end", "Subject: none")
	raw("only a line end", "\r\n")
	raw("only LF", "\n")
	raw("one octet", "x")
	raw("NUL", "Subject: a\x00b\r\nFrom: \x00@\x00\r\nContent-Type: text/plain; name=\"\x00\"\r\n\r\n\x00\x00\r\n")
	raw("all octets", "Subject: all\r\n\r\n"+allOctets())
	raw("all octets in the header", "Subject: "+strings.NewReplacer("\r", "", "\n", "").Replace(allOctets())+"\r\nFrom: "+strings.NewReplacer("\r", "", "\n", "").Replace(allOctets())+"\r\n\r\nx\r\n")
	raw("UTF-8 with a mark", "\xef\xbb\xbfSubject: bom\r\n\r\nx\r\n")
	raw("UTF-16", "\xff\xfeS\x00u\x00b\x00\r\x00\n\x00")
	raw("line of 100000", "Subject: long\r\n\r\n"+strings.Repeat("x", 100000)+"\r\n")
	return list
}

func oddHeaders(add func(name, text string)) {
	add("no header", "\nonly a body\n")
	add("no body", "Subject: no body\n")
	add("no empty line", "Subject: x\nthis is no field\nTo: a@b\n")
	add("begins with From_", "From anna@example.test Mon Nov  2 10:00:00 2026\nSubject: x\n\none\n")
	add("begins folded", " folded\nSubject: x\n\none\n")
	add("fields twice", "Subject: one\nSubject: two\nFrom: a@b\nFrom: c@d\nMessage-ID: <1@x>\nMessage-ID: <2@x>\nDate: a\nDate: b\n\none\n")
	add("empty fields", "Subject:\nFrom:\nTo: \nDate:\t\nMessage-ID:\nContent-Type:\nContent-Transfer-Encoding:\nContent-Disposition:\n\none\n")
	add("blanks before the colon", "Subject : x\nFrom\t: a@b\nContent-Type : text/html\n\n<p>\n")
	add("no blanks behind the colon", "Subject:x\nFrom:a@b\nContent-Type:text/html\n\n<p>\n")
	add("folded to nothing", "Subject: x\n \n\t\n y\nTo: a@b\n\none\n")
	add("field of 100000", "Subject: "+strings.Repeat("long ", 20000)+"end\nFrom: a@b\n\none\n")
	add("folded 1000 times", "Subject: x"+strings.Repeat("\n y", 1000)+"\n\none\n")
	add("encoded words", "Subject: =?utf-8?q?=E4=BC=9A?= =?utf-8?b?6K6u?=\nFrom: =?gb2312?b?u+HS6Q==?= <a@b>\n\none\n")
	add("broken encoded words", "Subject: =?utf-8?q?=E4=B?= =?utf-8?b?6K6?= =?x?y?z?= =?utf-8?q?open =?=?=\nFrom: =?utf-8?q?a@b?=\n\none\n")
	add("8 bits", "Subject: gr\xfcn \xbb\xe1\xd2\xe9\nFrom: J\xf6rg <j@b>\nTo: \xe4\xbc\x9a\xe8\xae\xae <m@b>\n\n\xbb\xe1\n")
	add("quotes and backslashes", "Subject: \"a\\\"b\\\\c\nMessage-ID: \"<\\>\"\nIn-Reply-To: \\\n\none\n")
	add("braces like a literal", "Subject: {5}\nMessage-ID: ~{3+}\n\n{5}\n")
	add("NIL", "Subject: NIL\nFrom: NIL <NIL@NIL>\nMessage-ID: nil\n\nNIL\n")
	add("odd dates", "Date: 32 Foo 99999 25:61:61 +9999 (comment (nested\nSubject: x\n\none\n")
}

func oddAddresses(add func(name, text string)) {
	for i, a := range []string{
		"a@b", "<a@b>", "a@b, c@d", "a@b; c@d", "Group: a@b, c@d;", "undisclosed-recipients:;", "Group: a@b", ": a@b;", "A: B: c@d;;",
		`"a b" <"c d"@e>`, `"a\"b" <a@b>`, `"a@b" <c@d>`, `a@b (comment)`, `(a (b) c) a@b`, `(never closed a@b`, `a (x) . (y) b @ c (z) . d`,
		"@a,@b:c@d", "<@a,@b:c@d>", "a", "a@", "@b", "@", "<>", "<", ">", "a b c", "a@b@c", "a@[127.0.0.1]", "a@[IPv6:::1]", "a@b.", "a..b@c", ".a@b", `"open@b`, `a@"b"`,
		",,a@b,,", "a <b@c", "a <b@c> d", "a b@c <d@e>", "=?utf-8?q?a=2C_b?= <a@b>", "=?utf-8?q?a@b?=", "Müller <m@b>", "a@b\n\t, c@d", "a\\@b@c", "J. R. Tolkien <j@t>", "a@b c@d",
		strings.Repeat("a@b, ", 300) + "z@z", strings.Repeat("(", 200) + "a@b", strings.Repeat("g: ", 100) + "a@b;",
	} {
		add(fmt.Sprintf("address %d", i), "From: "+a+"\nTo: "+a+"\nCc: x@y, "+a+"\nReply-To: "+a+"\nSubject: address\n\none\n")
	}
}

func oddTypes(add func(name, fields, body string)) {
	for i, f := range []string{
		"Content-Type: text", "Content-Type: text/", "Content-Type: /plain", "Content-Type: text plain", "Content-Type: TEXT/HTML; CHARSET=UTF-8", "Content-Type: text/plain; charset",
		"Content-Type: text/plain;", "Content-Type: text/plain;;; charset=utf-8;;", "Content-Type: text/plain; charset=\"utf-8", "Content-Type: text/plain; charset=utf-8 (comment; x=y)",
		"Content-Type: (comment) text (x) / (y) plain ; (z) charset (q) = utf-8", "Content-Type: text/plain; charset=utf-8; charset=latin1", "Content-Type: text/plain charset=utf-8",
		"Content-Type: text/plain; name=a b c.txt", "Content-Type: text/plain; name*=utf-8''%E4%BC%9A; name=x", "Content-Type: text/plain; name*0*=utf-8''a%20; name*1=b; name*3=d",
		"Content-Type: text/plain; name==?utf-8?b?5Lya?=", "Content-Type: text/plain; =x; y=", "Content-Type: text/plain; charset=\"\"", "Content-Type: multipart/mixed", "Content-Type: multipart/mixed; boundary",
		"Content-Type: multipart/mixed; boundary=\"\"", "Content-Type: multipart", "Content-Type: text/plain\nContent-Type: text/html", "Content-Type: a/b/c; d=e", "Content-Type: \"text/plain\"", "Content-Type: text/plain; charset=none",
		"Content-Transfer-Encoding: base64\nContent-Type: text/plain", "Content-Transfer-Encoding: \"base64\"", "Content-Transfer-Encoding: BASE64 (comment)", "Content-Transfer-Encoding: x-uuencode", "Content-Transfer-Encoding: 8-bit", "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64",
		"Content-Transfer-Encoding: quoted-printable", "Content-Disposition: attachment; filename", "Content-Disposition: ; filename=x", "Content-Disposition: attachment; filename=\"a\\\"b\"; filename*=utf-8''c", "Content-Disposition: attachment;\n filename=\"a\n b\"",
		"Content-ID: a b <c@d> e", "Content-ID: <", "Content-Description: =?utf-8?q?x?=\n folded", "Content-Language: en, (x) de , ,fr", "Content-Location: http://x/\n y", "Content-MD5: \"\"\\",
	} {
		add(fmt.Sprintf("type %d", i), f+"\n", "b25l\nPGI+=\n==E4 \t\n=XY=\n=3D\n")
	}
	for name, body := range map[string]string{
		"base64 without padding": "YWJjZA", "base64 with too much of it": "YQ====\n", "base64 in pieces": "YWJj\nZA==\nZWZn\n", "base64 with other characters": "Y-W*J_j\n!ZA==\n", "base64 of nothing": "\n", "base64 with a footer": "YWJj\n-- \nlist footer\n",
	} {
		add(name, "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n", body)
	}
}

// nested is the body of a multipart that is n deep.
func nested(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i, i+1)
	}
	fmt.Fprintf(&b, "--b%d\n\nbottom\n--b%d--\n", n, n)
	for i := n - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d\n\nbehind\n--b%d--\n", i, i)
	}
	return b.String()
}

func allOctets() string {
	var b strings.Builder
	for c := range 256 {
		b.WriteByte(byte(c))
	}
	return b.String()
}
