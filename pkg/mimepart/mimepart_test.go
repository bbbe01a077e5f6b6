package mimepart

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	"posthaste/pkg/imapwire"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const mixed = `Subject: mixed
Content-Type: multipart/mixed; boundary="b 1"

preamble
--b 1

one
--b 1
Content-Type: multipart/alternative; boundary=b2
Content-Disposition: inline

--b2
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: 8bit

<p>
two
--b2
Content-Type: image/png; name="a.png"
Content-Transfer-Encoding: base64
Content-ID: <c@d>
Content-Disposition: attachment; filename="a.png"

AAAA
--b2--
epilogue
--b 1
Content-Type: message/rfc822

Subject: inner
From: x@y

body
of it
--b 1--
end
`

func TestStructure(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)`},
		{"no header", "\nbody\n", `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)`},
		{"no body", "Subject: x\n", `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)`},
		{"mixed", mixed, `(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL)` +
			`(("text" "html" ("charset" "utf-8") NIL NIL "8bit" 8 1 NIL NIL NIL NIL)` +
			`("image" "png" ("name" "a.png") "<c@d>" NIL "base64" 4 NIL ("attachment" ("filename" "a.png")) NIL NIL)` +
			` "alternative" ("boundary" "b2") ("inline" NIL) NIL NIL)` +
			`("message" "rfc822" NIL NIL NIL "7bit" 40 (NIL "inner" ((NIL NIL "x" "y")) ((NIL NIL "x" "y")) ((NIL NIL "x" "y")) NIL NIL NIL NIL NIL)` +
			` ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 11 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)` +
			` "mixed" ("boundary" "b 1") NIL NIL NIL)`},
		{"boundary that never comes", "Content-Type: multipart/mixed; boundary=x\n\ntext\n", `(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "x") NIL NIL NIL)`},
		{"no boundary", "Content-Type: multipart/mixed\n\ntext\n", `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)`},
		{"torn in a part's header", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n--x--\n",
			`(("message" "rfc822" NIL NIL NIL "7bit" 0 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) 0 NIL NIL NIL NIL) "mixed" ("boundary" "x") NIL NIL NIL)`},
		{"digest", "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\nb\n--x--\n",
			`(("message" "rfc822" NIL NIL NIL "7bit" 15 (NIL "a" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) "digest" ("boundary" "x") NIL NIL NIL)`},
		{"language and location", "Content-Language: en, de\nContent-Location: http://a/ b\nContent-MD5: q\n\nx\n", `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 "q" NIL ("en" "de") "http://a/b")`},
		{"strange type", "Content-Type: nonsense\n\nx\n", `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := ParseBytes([]byte(crlf(c.in)))
			got := string(AppendStructure(nil, p, true))
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	msg := crlf(mixed)
	root := ParseBytes([]byte(msg))
	for _, c := range []struct {
		path []uint32
		want string
	}{
		{[]uint32{1}, "one"}, {[]uint32{2, 1}, "<p>\r\ntwo"}, {[]uint32{2, 2}, "AAAA"}, {[]uint32{3, 1}, "body\r\nof it"},
		{[]uint32{3}, "Subject: inner\r\nFrom: x@y\r\n\r\nbody\r\nof it"},
		{[]uint32{4}, "NIL"}, {[]uint32{1, 1}, "NIL"}, {[]uint32{3, 2}, "NIL"}, {[]uint32{0}, "NIL"},
	} {
		p := root.Find(c.path)
		got := "NIL"
		if p != nil {
			got = msg[p.Body:p.End]
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.path, got, c.want)
		}
	}
	if p := ParseBytes([]byte("\r\nx")).Find([]uint32{1}); p == nil || p.Body != 2 {
		t.Errorf("part 1 of a message without parts: %+v", p)
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a@b", `((NIL NIL "a" "b"))`},
		{`"Doe, Jane" <j@d.test>, k@e (Kay)`, `(("Doe, Jane" NIL "j" "d.test")("Kay" NIL "k" "e"))`},
		{"Team: a@b, c@d;, e@f", `((NIL NIL "Team" NIL)(NIL NIL "a" "b")(NIL NIL "c" "d")(NIL NIL NIL NIL)(NIL NIL "e" "f"))`},
		{"undisclosed-recipients:;", `((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))`},
		{"<@r1,@r2:x@y>", `((NIL "@r1,@r2" "x" "y"))`},
		{"root", `((NIL NIL "root" ""))`},
		{`"a b"@c`, `((NIL NIL "ab" "c"))`},
		{"x@y <z@w>", `(("x@y" NIL "z" "w"))`},
		{"=?utf-8?q?=C3=BC?= <u@v>", `(("=?utf-8?q?=C3=BC?=" NIL "u" "v"))`},
		{",,<>,;", "NIL"},
		{strings.Repeat("(", 10000) + "a@b", "NIL"},
	} {
		if got := string(appendAddresses(nil, ParseAddresses(c.in))); got != c.want {
			t.Errorf("%.60q: %s, want %s", c.in, got, c.want)
		}
	}
}

func TestTextInCharsets(t *testing.T) {
	for _, c := range []struct {
		name string
		enc  encoding.Encoding
		text string
	}{
		{"gb2312", simplifiedchinese.GBK, "明天的会议改期"}, {"GBK", simplifiedchinese.GBK, "明天的会议改期镕"}, {"gb18030", simplifiedchinese.GB18030, "明天的会议改期㐀"},
		{"big5", traditionalchinese.Big5, "明天的會議改期"}, {"hz-gb-2312", simplifiedchinese.HZGB2312, "明天的会议改期"},
		{"iso-2022-jp", japanese.ISO2022JP, "会議の予定"}, {"shift_jis", japanese.ShiftJIS, "会議の予定"}, {"euc-kr", korean.EUCKR, "회의 일정"},
		{"utf-8", encoding.Nop, "明天的会议"}, {"x-unknown-thing", simplifiedchinese.GBK, "明天的会议改期"},
	} {
		raw, err := c.enc.NewEncoder().Bytes([]byte("Dear all: " + c.text + " End\r\n"))
		if err != nil {
			t.Fatal(c.name, err)
		}
		for _, cte := range []string{"8bit", "base64", "quoted-printable"} {
			body := raw
			switch cte {
			case "base64":
				body = []byte(b64(raw))
			case "quoted-printable":
				body = nil
				for _, b := range raw {
					body = fmt.Appendf(body, "=%02X", b)
				}
			}
			msg := fmt.Appendf(nil, "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s", c.name, cte, body)
			p := ParseBytes(msg)
			for _, part := range []string{c.text, "dear ALL", "end"} {
				if !Contains(p.Text(bytes.NewReader(msg)), Fold(nil, []byte(part))) {
					t.Errorf("%s, %s: %q not found", c.name, cte, part)
				}
			}
			if Contains(p.Text(bytes.NewReader(msg)), []byte("nothing")) {
				t.Errorf("%s, %s: found what is not there", c.name, cte)
			}
		}
	}
}

func b64(b []byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var out strings.Builder
	for i := 0; i < len(b); i += 3 {
		var v uint32
		n := min(3, len(b)-i)
		for k := range 3 {
			v <<= 8
			if k < n {
				v |= uint32(b[i+k])
			}
		}
		for k := range 4 {
			if k <= n {
				out.WriteByte(digits[v>>(18-6*k)&63])
			} else {
				out.WriteByte('=')
			}
		}
		if i%57 == 54 {
			out.WriteString("\r\n")
		}
	}
	return out.String()
}

func TestDecodeHeader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"}, {"=?gb2312?B?u+HS6Q==?=", "会议"}, {"a =?utf-8?Q?=E4=BC?= =?utf-8?Q?=9A?= b", "a 会 b"},
		{"=?gb2312?B?u+HS?=\r\n =?gb2312?B?6Q==?=", "会议"}, {"=?iso-8859-1?q?caf=E9_x?=", "café x"}, {"a\r\n b", "a b"},
		{"=?utf-8?x?no?=", "=?utf-8?x?no?="}, {"=?utf-8?q?open", "=?utf-8?q?open"}, {"\xbb\xe1\xd2\xe9", "会议"}, {"=?", "=?"},
		{"=?utf-7?q?+ToBm9A-?=", "亀曐"},
	} {
		got := string(DecodeHeader([]byte(c.in)))
		if strings.Contains(c.in, "utf-7") {
			if strings.Contains(got, "?") {
				t.Errorf("%q: %q", c.in, got)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParseDate(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Mon, 7 Feb 1994 21:52:25 -0800", "1994-02-08T05:52:25Z"}, {"7 Feb 94 21:52 GMT", "1994-02-07T21:52:00Z"},
		{"Mon Feb  7 21:52:25 1994", "1994-02-07T21:52:25Z"}, {"Mon, 07 Feb 1994 21:52:25 +0100 (CET)", "1994-02-07T20:52:25Z"},
		{"7-Feb-1994", "1994-02-07T00:00:00Z"}, {"nonsense", ""}, {"", ""}, {"99 Feb 1994", ""},
	} {
		d, ok := ParseDate(c.in)
		got := ""
		if ok {
			got = d.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
}

func TestPreview(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"\nHello\n\n  there\tyou\n", "Hello there you"},
		{"Content-Type: text/html\n\n<html><head><title>x</title></head><style>p {}</style><p>Hi&nbsp;&amp; <b>you</b></p>", "Hi & you"},
		{"\n" + strings.Repeat("会", 300), strings.Repeat("会", 200)},
		{"Content-Type: image/png\n\nx", ""},
	} {
		msg := []byte(crlf(c.in))
		if got := string(ParseBytes(msg).Preview(bytes.NewReader(msg))); got != c.want {
			t.Errorf("%.40q: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestBombs holds the bounds of depth, number and size.
func TestBombs(t *testing.T) {
	var deep strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	var nested strings.Builder
	for range 10000 {
		nested.WriteString("Content-Type: message/rfc822\r\n\r\n")
	}
	for name, msg := range map[string]string{
		"nested multiparts": deep.String(),
		"nested messages":   nested.String(),
		"many parts":        "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n", 100000),
		"long boundary":     "Content-Type: multipart/mixed; boundary=" + strings.Repeat("x", 64<<10) + "\r\n\r\n--" + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"many addresses":    strings.Repeat("To: "+strings.Repeat("a@b,", 100)+"\r\n", 5000),
		"long line":         "Subject: " + strings.Repeat("x", 10<<20) + "\r\n\r\n",
		"many fields":       strings.Repeat("X: y\r\n", 500000),
		"parameters":        "Content-Type: text/plain" + strings.Repeat("; a=b", 10000) + "\r\n\r\n",
		"dashes":            "Content-Type: multipart/mixed; boundary=-\r\n\r\n" + strings.Repeat("--\r\n", 500000),
	} {
		t.Run(name, func(t *testing.T) {
			p := ParseBytes([]byte(msg))
			check(t, p, int64(len(msg)))
			if n := len(AppendStructure(nil, p, true)); n > 10<<20 {
				t.Errorf("structure of %d octets", n)
			}
		})
	}
}

// check holds a structure to its own rules.
func check(t *testing.T, root *Part, size int64) {
	t.Helper()
	count := 0
	var walk func(p *Part, from, to int64, depth int)
	walk = func(p *Part, from, to int64, depth int) {
		count++
		if p.Header < from || p.Header > p.Body || p.Body > p.End || p.End > to || p.Lines < 0 {
			t.Fatalf("part at %d..%d..%d within %d..%d, %d lines", p.Header, p.Body, p.End, from, to, p.Lines)
		}
		if p.IsMultipart() && len(p.Parts) == 0 {
			t.Fatal("multipart without parts")
		}
		if depth > MaxDepth+1 {
			t.Fatal("too deep")
		}
		at := p.Body
		for _, c := range p.Parts {
			walk(c, at, p.End, depth+1)
			at = c.End
		}
	}
	walk(root, 0, size, 0)
	if count > 2*MaxParts+2 {
		t.Fatalf("%d parts", count)
	}
	env := AppendEnvelope(nil, root.Envelope)
	back, err := ParseEnvelope(env)
	if err != nil {
		t.Fatalf("envelope %q: %v", env, err)
	}
	if again := AppendEnvelope(nil, back); !bytes.Equal(env, again) {
		t.Fatalf("envelope %q came back as %q", env, again)
	}
	p := imapwire.NewParser(AppendStructure(nil, root, true))
	skipValue(p, 0)
	if p.End(); p.Err() != nil {
		t.Fatalf("structure is no list: %v: %.300q", p.Err(), AppendStructure(nil, root, true))
	}
}

// skipValue takes a value of nested lists, which may be deeper than commands are.
func skipValue(p *imapwire.Parser, depth int) {
	if depth > 2*MaxDepth+5 {
		p.Fail("structure is too deep")
	}
	switch p.Peek() {
	case '(':
		p.Expect('(')
		for p.Err() == nil && p.Peek() != ')' {
			skipValue(p, depth+1)
			p.Try(' ')
		}
		p.Expect(')')
	case '"', '{':
		p.String()
	default:
		p.Atom()
	}
}

// FuzzParse: any octets give a structure that keeps the rules, the same one
// whether they come at once or one by one.
func FuzzParse(f *testing.F) {
	f.Add([]byte(crlf(mixed)))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n--x--\r\n"))
	f.Add([]byte("From: a:b@c,;\r\n\r\n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		p := ParseBytes(msg)
		check(t, p, int64(len(msg)))
		q, err := Parse(iotest.OneByteReader(bytes.NewReader(msg)))
		if err != nil {
			t.Fatal(err)
		}
		a, b := AppendStructure(AppendEnvelope(nil, p.Envelope), p, true), AppendStructure(AppendEnvelope(nil, q.Envelope), q, true)
		if !bytes.Equal(a, b) {
			t.Fatalf("split input differs: %q, %q", a, b)
		}
		var again Parser
		for _, m := range [][]byte{[]byte(crlf(mixed)), msg, []byte(crlf(mixed)), msg} {
			p = again.Parse(m)
		}
		if b = AppendStructure(AppendEnvelope(nil, p.Envelope), p, true); !bytes.Equal(a, b) {
			t.Fatalf("memory used again: %q, %q", a, b)
		}
		src := bytes.NewReader(msg)
		p.Walk(func(c *Part) bool {
			if r := c.Text(src); r != nil {
				io.Copy(io.Discard, r)
			}
			return true
		})
		p.Preview(src)
	})
}

// FuzzHeader: decoding never fails and gives no line end.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("=?gb2312?B?u+HS6Q==?= x"))
	f.Fuzz(func(t *testing.T, v []byte) {
		if out := DecodeHeader(v); bytes.ContainsAny(v, "\r\n") && !bytes.Contains(v, []byte("=?")) && bytes.ContainsAny(out, "\r\n") {
			t.Errorf("%q: %q", v, out)
		}
	})
}

func TestParameters(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"; a=b; c=\"d e\"", "a=b c=d e"}, {"; A*0*=utf-8''x%20; a*1=y", "A*=utf-8''x%20y"}, {"; a*0=x; a*1=\"y z\"; b=c", "a=xy z b=c"},
		{"; a*1=x", "a*1=x"}, {"; a*x=y; a**=z", "a*x=y a**=z"}, {"; =x; a; b=(c) d", "b=d"}, {" junk; a=b", "a=b"},
	} {
		p := ParseBytes([]byte("Content-Type: text/plain" + c.in + "\r\n\r\n"))
		var got []string
		for _, x := range p.Params {
			got = append(got, x.Name+"="+x.Value)
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%q: %q, want %q", c.in, g, c.want)
		}
	}
	msg := crlf("Content-Type: multipart/mixed; boundary*0*=us-ascii''a%3D; boundary*1=b\n\n--a=b\n\nx\n--a=b--\n")
	if p := ParseBytes([]byte(msg)); len(p.Parts) != 1 || msg[p.Parts[0].Body:p.Parts[0].End] != "x" {
		t.Errorf("encoded boundary: %+v", p)
	}
}
