package main

import (
	"io"
	"testing"
)

// BenchmarkProxy downloads through TLS and the pair of sockets; the client runs
// in the same process.
func BenchmarkProxy(b *testing.B) {
	f, cfg := start(b, "protocol=imap tls=wrapper", "")
	p := f.dial()
	p.startTLS(cfg)
	p.line()
	p.send("a LOGIN anna \"secret word\"\r\n")
	p.line()
	b.SetBytes(1 << 20)
	buf := make([]byte, 64<<10)
	for b.Loop() {
		p.send("BULK\r\n")
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{io.LimitReader(p.r, 1<<20)}, buf); err != nil {
			b.Fatal(err)
		}
	}
}
