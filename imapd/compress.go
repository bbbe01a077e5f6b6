package main

import (
	"compress/flate"
	"io"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/inflate"
)

// compress is COMPRESS DEFLATE (RFC 4978). A stream that unpacks to much more
// than it is costs no memory: commands keep their limits.
func (s *session) compress(p *imapwire.Parser, _ bool) error {
	p.SP()
	mech := p.Keyword()
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if mech != "DEFLATE" {
		return no("", "unknown compression mechanism")
	}
	if s.compressed {
		return no("COMPRESSIONACTIVE", "DEFLATE is active already")
	}
	s.out.str(s.tag, " OK DEFLATE active\r\n")
	if err := s.out.flush(); err != nil {
		return errGone
	}
	fw, err := flate.NewWriter(s.conn, flate.BestSpeed)
	if err != nil {
		return err
	}
	s.compressed = true
	s.out.flate, s.out.w = fw, fw
	// What has been received beyond the command is compressed already.
	rest, _ := s.br.Peek(s.br.Buffered())
	s.input.pre = append(append([]byte(nil), rest...), s.input.pre...)
	s.br.Discard(len(rest))
	raw := &packed{r: s.input.r, pre: s.input.pre}
	s.input.pre = nil
	s.input.r = inflate.NewReader(raw)
	return errReplied
}

// packed gives what was received early and then the connection.
type packed struct {
	r   io.Reader
	pre []byte
}

func (k *packed) Read(p []byte) (int, error) {
	if len(k.pre) == 0 {
		return k.r.Read(p)
	}
	n := copy(p, k.pre)
	k.pre = k.pre[n:]
	return n, nil
}
