package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// BenchmarkEnvelopes fetches FLAGS, UID, RFC822.SIZE and ENVELOPE of 10,000
// messages that another program put into a Maildir, for the first time.
func BenchmarkEnvelopes(b *testing.B) {
	ts := newTestStore(b)
	c := ts.client()
	body := strings.Repeat(strings.Repeat("x", 70)+"\n", 50)
	for n := range b.N {
		b.StopTimer()
		box := fmt.Sprintf("b%d", n)
		c.ok("CREATE %s", box)
		for i := range 10000 {
			text := fmt.Sprintf("From: Sender %d <sender%d@client.test>\nTo: Some User <u@example.test>\nCc: Other Person <other@client.test>\n"+
				"Subject: subject number %d\nDate: Fri, 22 Feb 2008 17:06:23 +0200\nMessage-ID: <%d@client.test>\nMIME-Version: 1.0\n"+
				"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n", i, i, i, i)
			if err := os.WriteFile(fmt.Sprintf("%s/.%s/cur/%d.M%dP1.host:2,S", ts.root, box, 1700000000+i, i), []byte(text+body), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		c.ok("SELECT %s", box)
		b.StartTimer()
		c.send("T FETCH 1:* (FLAGS UID RFC822.SIZE ENVELOPE)\r\n")
		var last []byte
		buf := make([]byte, 1<<20)
		for !bytes.Contains(last, []byte("\r\nT OK")) {
			k, err := c.r.Read(buf)
			if err != nil && err != io.EOF {
				b.Fatal(err)
			}
			last = append(last[max(0, len(last)-100):], buf[max(0, k-200):k]...)
		}
	}
}
