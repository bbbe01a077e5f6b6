package esmtp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestReadReply(t *testing.T) {
	tests := []struct {
		in   string
		want Reply
		err  error
	}{
		{"250 ok\r\n", Reply{250, "", "ok"}, nil},
		{"250\r\n", Reply{250, "", ""}, nil},
		{"250-\r\n250 \r\n", Reply{250, "", "\n"}, nil},
		{"250 2.1.0 ok\n", Reply{250, "2.1.0", "ok"}, nil},
		{"550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n", Reply{550, "5.1.1", "a\nb\nc"}, nil},
		{"550 2.1.1 odd\r\n", Reply{550, "", "2.1.1 odd"}, nil},
		{"250-a\r\n550 b\r\n", Reply{550, "", "a\nb"}, nil},
		{"25 ok\r\n", Reply{}, ErrReplySyntax},
		{"2500 ok\r\n", Reply{}, ErrReplySyntax},
		{"050 ok\r\n", Reply{}, ErrReplySyntax},
		{"\r\n", Reply{}, ErrReplySyntax},
		{"250 ok", Reply{}, io.ErrUnexpectedEOF},
		{"250-ok\r\n", Reply{}, io.ErrUnexpectedEOF},
		{"250 " + strings.Repeat("x", maxClientLine) + "\r\n", Reply{}, ErrReplyTooLong},
		{strings.Repeat("250-xxxxxxxx\r\n", maxClientReply/10), Reply{}, ErrReplyTooLong},
	}
	for _, tt := range tests {
		for _, src := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
			var buf []byte
			got, err := readReply(NewReader(src, 64), &buf, nil)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%.60q: got %+v, %v", tt.in, got, err)
			}
		}
	}
}

// FuzzReply holds that the limits hold and that the answer does not depend on
// how the input is split.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-2.1.0 a\r\n250 2.1.0 b\r\n", "220\n", "999 \r\n250", "550-5.1.1\r\n550 5.1.1\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var buf []byte
		got, err := readReply(NewReader(bytes.NewReader(in), 64), &buf, nil)
		again, err2 := readReply(NewReader(iotest.OneByteReader(bytes.NewReader(in)), 16), &buf, nil)
		if got != again || (err == nil) != (err2 == nil) {
			t.Fatalf("%+v, %v in one piece, %+v, %v byte by byte", got, err, again, err2)
		}
		if err == nil && (got.Code < 100 || got.Code > 999 || len(got.Text) > maxClientText+1 || got.Enh != "" && !ValidEnhanced(got.Enh)) {
			t.Fatalf("%+v", got)
		}
	})
}

func TestExtensions(t *testing.T) {
	var e Extensions
	for _, l := range []string{"PIPELINING", "size 1000", "8bitmime", "AUTH PLAIN login", "AUTH=CRAM-MD5", "DSN", "SMTPUTF8", "STARTTLS", "ENHANCEDSTATUSCODES", "X-ODD a b", ""} {
		e.note(l, func(k string) bool { return k == "DSN" })
	}
	if !e.Pipelining || e.SizeLimit != 1000 || !e.EightBit || e.DSN || !e.UTF8 || !e.StartTLS || strings.Join(e.Auth, " ") != "PLAIN LOGIN CRAM-MD5" {
		t.Errorf("got %+v", e)
	}
	for _, l := range []string{"SIZE", "SIZE x", "SIZE -1", "SIZE 99999999999999999999"} {
		var e Extensions
		if e.note(l, nil); !e.Size || e.SizeLimit != 0 {
			t.Errorf("%q: %+v", l, e)
		}
	}
}

// An envelope with more recipients than are sent ahead goes out without a
// deadlock, though neither side's buffer holds all of it.
func TestManyRecipients(t *testing.T) {
	const n = 5000
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		out := make(chan string, n) // a server that reads while it writes
		go func() {
			for s := range out {
				io.WriteString(server, s)
			}
		}()
		r := NewReader(server, 4096)
		for data := false; ; {
			l, _, err := r.ReadLine(1000)
			if err != nil {
				close(out)
				return
			}
			switch s := string(l); {
			case s == "DATA":
				data = true
				out <- "354 go\r\n"
			case s == ".":
				data = false
				out <- "250 2.0.0 done\r\n"
			case !data:
				out <- "250 2.1.5 " + strings.Repeat("x", 100) + "\r\n"
			}
		}
	}()
	c := NewClient(client, false, ClientTimeouts{Mail: time.Minute, Rcpt: time.Minute, DataInit: time.Minute, DataXfer: time.Minute, DataDone: time.Minute})
	c.Ext.Pipelining = true
	got := map[ClientStage]int{}
	tx := &Transaction{Mail: "MAIL FROM:<>", Content: strings.NewReader("x\r\n"), Reply: func(s ClientStage, _ int, _ Reply) { got[s]++ }}
	for range n {
		tx.Rcpt = append(tx.Rcpt, "RCPT TO:<"+strings.Repeat("u", 50)+"@x.example>")
	}
	if err := c.Send(tx); err != nil || got[StageRcpt] != n || got[StageDot] != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// Content is never a line end that a peer could take for another.
func TestOutboundSmuggling(t *testing.T) {
	for _, evil := range []string{"a\n.\nMAIL", "a\n.\r\nMAIL", "a\r\n.\nMAIL", "a\r\n.\r\nMAIL", "a\r.\rMAIL", ".\r\n", "a\r\n.\r"} {
		client, server := net.Pipe()
		sent := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(server)
			sent <- string(b)
		}()
		c := NewClient(client, false, ClientTimeouts{DataXfer: time.Minute})
		x := &sending{c: c, t: &Transaction{Content: strings.NewReader(evil)}}
		if err := x.content(); err != nil {
			t.Fatal(err)
		}
		client.Close()
		got := <-sent
		if !strings.HasSuffix(got, "\r\n.\r\n") || strings.Contains(strings.TrimSuffix(got, ".\r\n"), "\r\n.\r\n") ||
			strings.Contains(strings.ReplaceAll(got, "\r\n", ""), "\n") {
			t.Errorf("%q went out as %q", evil, got)
		}
	}
}
