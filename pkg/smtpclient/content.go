package smtpclient

import (
	"bytes"
	"io"
	"strings"

	"posthaste/pkg/address"
)

// maxHeader is the most header, in bytes, that is looked at; cleanup(8) lets
// no longer one pass by default (header_size_limit is for one field).
const maxHeader = 1 << 20

// splitHeader reads the header of a message, with the empty line that ends it.
// rest is all that follows. A header without an end within maxHeader is returned
// as far as it was read.
func splitHeader(r io.Reader) (header []byte, rest io.Reader, err error) {
	buf := make([]byte, 0, 4096)
	from := 0
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if bytes.HasPrefix(buf, []byte("\r\n")) {
			return buf[:2], io.MultiReader(bytes.NewReader(buf[2:]), r), nil
		}
		if i := bytes.Index(buf[from:], []byte("\r\n\r\n")); i >= 0 {
			end := from + i + 4
			return buf[:end], io.MultiReader(bytes.NewReader(buf[end:]), r), nil
		}
		from = max(0, len(buf)-3)
		if err == io.EOF {
			return buf, r, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if len(buf) > maxHeader {
			return buf, r, nil
		}
	}
}

// genericHeaders are the fields whose addresses smtp_generic_maps rewrites:
// those of senders and recipients.
const genericHeaders = " apparently-to bcc cc disposition-notification-to errors-to from mail-followup-to mail-reply-to reply-to resent-bcc resent-cc resent-from resent-reply-to resent-sender resent-to return-path return-receipt-to sender to "

// rewriteHeader returns content whose address fields are mapped by
// smtp_generic_maps. A field without a change passes as it is. Trouble with a
// table is told to trouble, and makes the content unreadable.
func (a *Agent) rewriteHeader(r io.Reader, trouble func(error)) io.Reader {
	return &lazyReader{open: func() (io.Reader, error) {
		header, rest, err := splitHeader(r)
		if err != nil {
			return nil, err
		}
		out, err := a.mapHeader(header)
		if err != nil {
			trouble(err)
			return nil, err
		}
		return io.MultiReader(bytes.NewReader(out), rest), nil
	}}
}

func (a *Agent) mapHeader(header []byte) ([]byte, error) {
	var out []byte
	var failed error
	for len(header) > 0 {
		field := header[:fieldLen(header)]
		header = header[len(field):]
		name, value, ok := bytes.Cut(field, []byte(":"))
		if ok && strings.Contains(genericHeaders, " "+strings.ToLower(string(bytes.TrimRight(name, " \t")))+" ") {
			body := bytes.TrimSuffix(value, []byte("\r\n"))
			v, changed := address.RewriteList(body, func(addr string) string {
				n, err := a.rewrite(addr)
				if err != nil {
					failed = err
				}
				return n
			})
			if failed != nil {
				return nil, failed
			}
			if changed {
				f := append(append(append([]byte(nil), name...), ':'), v...)
				out = append(out, address.FoldList(append(f, field[len(name)+1+len(body):]...))...)
				continue
			}
		}
		out = append(out, field...)
	}
	return out, nil
}

// fieldLen is the length of the first header field in h, with its
// continuation lines.
func fieldLen(h []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(h[n:], '\n')
		if i < 0 {
			return len(h)
		}
		n += i + 1
		if n >= len(h) || h[n] != ' ' && h[n] != '\t' {
			return n
		}
	}
}

// lazyReader opens its source at the first Read, so that nothing is read for a
// message that no recipient is accepted for.
type lazyReader struct {
	open func() (io.Reader, error)
	r    io.Reader
	err  error
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil && l.err == nil {
		l.r, l.err = l.open()
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.r.Read(p)
}
