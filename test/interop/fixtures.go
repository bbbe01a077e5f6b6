package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
)

// fixture is a difficult message.
type fixture struct {
	name string
	file string
	data []byte // as sent: CRLF form, dots not stuffed, perhaps without the last CRLF
	long bool   // has lines that not everyone takes
	nul  bool   // has NUL bytes, which not everyone takes
	big  bool
}

const header = "From: Sender <sender@client.test>\r\nTo: Somebody <user0@local.test>\r\nSubject: %s\r\n" +
	"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@client.test>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"

func fixtures() []fixture {
	make := func(file, name, body string) fixture {
		return fixture{name: name, file: file, data: []byte(fmt.Sprintf(header, name, file) + body)}
	}
	line := func(n int) string { return strings.Repeat("0123456789", n/10+1)[:n] + "\r\n" }

	plain := make("plain", "a plain message", "Hello.\r\n")
	dots := make("dots", "dots at line starts", ".\r\n..\r\n...\r\n.x\r\n. \r\nx\r\n.\r\n\r\n.\r\n..end\r\n.\r\n")
	noEnd := make("noend", "no final newline", "first line\r\nlast line without an end")
	l998 := make("l998", "lines of 998 bytes", strings.Repeat(line(998), 5)+"."+line(997)+line(999)+line(1000))
	l100k := make("l100k", "lines of 100,000 bytes", line(100_000)+"."+line(99_999)+"short\r\n"+line(100_000))
	l100k.long = true
	// Raw 8-bit text in header fields: UTF-8 and Latin-1, folded and not.
	eight := fixture{name: "8-bit headers", file: "eight", data: []byte("From: J\xc3\xb6rg <sender@client.test>\r\nTo: user0@local.test\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\tund \xe4\xf6\xfc in Latin-1\r\n" +
		"X-Bytes: " + highBytes() + "\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <eight@client.test>\r\n\r\nK\xc3\xb6rper\r\n")}
	every := make("every", "20 MB with every byte value", everyByte(20<<20))
	every.nul, every.big = true, true
	text := make("big", "20 MB of text with every byte value but NUL", strings.ReplaceAll(everyByte(20<<20), "\x00", "0"))
	text.big = true
	return []fixture{plain, dots, noEnd, l998, l100k, eight, every, text}
}

func highBytes() string {
	var b []byte
	for c := 0x80; c <= 0xff; c++ {
		b = append(b, byte(c))
	}
	return string(b)
}

// everyByte gives lines of random bytes, in which CR and LF only end lines.
func everyByte(size int) string {
	rng := rand.New(rand.NewSource(20))
	b := make([]byte, 0, size+1000)
	for len(b) < size {
		for n := rng.Intn(900); n >= 0; n-- {
			c := byte(rng.Intn(256))
			if c == '\r' || c == '\n' {
				c = 0xff
			}
			b = append(b, c)
		}
		b = append(b, "\r\n"...)
	}
	return string(b)
}

// wire is the fixture as SMTP's DATA carries it, without the final dot.
func (f fixture) wire() []byte {
	var b bytes.Buffer
	for _, l := range bytes.SplitAfter(f.data, []byte("\r\n")) {
		if len(l) > 0 && l[0] == '.' {
			b.WriteByte('.')
		}
		b.Write(l)
	}
	if !bytes.HasSuffix(f.data, []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// traceFields may stand in front of what was sent.
var traceFields = []string{"return-path", "delivered-to", "x-original-to", "received", "envelope-to", "delivery-date"}

// compare tells whether got is the fixture behind trace header fields.
func (f fixture) compare(got []byte) error {
	g := bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
	w := bytes.ReplaceAll(f.data, []byte("\r\n"), []byte("\n"))
	if !bytes.HasSuffix(w, []byte("\n")) {
		w = append(w, '\n') // SMTP cannot say otherwise
	}
	if !bytes.HasSuffix(g, w) {
		return fmt.Errorf("%d bytes differ from the %d sent: %s", len(g), len(w), difference(g, w))
	}
	trace := g[:len(g)-len(w)]
	for _, l := range strings.Split(strings.TrimSuffix(string(trace), "\n"), "\n") {
		if l == "" || l[0] == ' ' || l[0] == '\t' {
			continue
		}
		name, _, _ := strings.Cut(l, ":")
		known := false
		for _, t := range traceFields {
			known = known || strings.EqualFold(name, t)
		}
		if !known {
			return fmt.Errorf("an unexpected header field was added: %.60q", l)
		}
	}
	return nil
}

// difference shows where two texts differ, seen from the end, where the sent
// one should be.
func difference(got, want []byte) string {
	i, j := len(got), len(want)
	for i > 0 && j > 0 && got[i-1] == want[j-1] {
		i, j = i-1, j-1
	}
	return fmt.Sprintf("the last %d bytes agree; before them %q, want %q", len(want)-j, got[max(0, i-30):i], want[max(0, j-30):j])
}
