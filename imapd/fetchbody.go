package main

import (
	"bytes"
	"io"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

// section sends BODY[…].
func (f *fetching) section(it *fetchItem) error {
	if it.kept {
		b, ok, err := f.l.fields()
		if err != nil {
			return err
		}
		if ok {
			f.octets(it, f.filter(b, it))
			return nil
		}
		if err := f.l.open(); err != nil {
			return err
		}
	}
	if len(it.path) > 0 {
		root, err := f.l.parts()
		if err != nil {
			return err
		}
		return f.partSection(it, root.Find(it.path))
	}
	if it.what == sectionBody {
		return f.literal(it, 0, f.l.size)
	}
	top, err := f.l.top()
	if err != nil {
		return err
	}
	switch it.what {
	case sectionHeader:
		f.octets(it, top)
	case sectionText:
		return f.literal(it, int64(len(top)), f.l.size-int64(len(top)))
	default:
		f.octets(it, f.filter(top, it))
	}
	return nil
}

// partSection sends a section of a part; of none, NIL.
func (f *fetching) partSection(it *fetchItem, part *mimepart.Part) error {
	if part != nil {
		inner := part
		switch it.what {
		case sectionBody:
			return f.literal(it, part.Body, part.End-part.Body)
		case sectionMIME:
			return f.literal(it, part.Header, part.Body-part.Header)
		case sectionText, sectionHeader, sectionFields, sectionFieldsNot:
			if !part.IsMessage() {
				break
			}
			inner = part.Parts[0]
			if it.what == sectionText {
				return f.literal(it, inner.Body, inner.End-inner.Body)
			}
			if it.what == sectionHeader {
				return f.literal(it, inner.Header, inner.Body-inner.Header)
			}
			h := make([]byte, min(inner.Body-inner.Header, maxTopLines))
			if _, err := f.l.src().ReadAt(h, inner.Header); err != nil && err != io.EOF {
				return err
			}
			f.octets(it, f.filter(h, it))
			return nil
		}
	}
	f.name(it.label)
	f.s.out.b = append(f.s.out.b, "NIL"...)
	return nil
}

// octets sends what is in memory.
func (f *fetching) octets(it *fetchItem, b []byte) {
	off, n := it.clip(0, int64(len(b)))
	f.literalStart(it, n, false)
	f.s.out.Write(b[off : off+n])
}

// filter returns a header's fields that are asked for, and the empty line.
func (f *fetching) filter(h []byte, it *fetchItem) []byte {
	out := f.s.scratch[:0]
	for {
		name, _, field, rest, ok := mimepart.NextField(h)
		if !ok {
			break
		}
		h = rest
		found := false
		for _, n := range it.fields {
			if len(n) == len(name) && equalUpper(name, n) {
				found = true
				break
			}
		}
		if found == (it.what == sectionFields) {
			out = append(out, field...)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	f.s.scratch = out
	return out
}

// equalUpper compares with a name in capitals.
func equalUpper(b []byte, upper string) bool {
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// binary sends BINARY[…] or BINARY.SIZE[…]: a part without its transfer
// encoding. It is decoded twice, since its size comes first.
func (f *fetching) binary(it *fetchItem) error {
	root, err := f.l.parts()
	if err != nil {
		return err
	}
	part := root
	if len(it.path) > 0 {
		part = root.Find(it.path)
	}
	if part == nil {
		f.name(it.label)
		if it.kind == fetchBinarySize {
			f.s.out.b = append(f.s.out.b, '0')
		} else {
			f.s.out.b = append(f.s.out.b, "NIL"...)
		}
		return nil
	}
	open := func() (io.Reader, bool) {
		switch {
		case len(it.path) == 0:
			return io.NewSectionReader(f.l.src(), 0, f.l.size), true
		case part.IsMultipart() || part.IsMessage():
			return io.NewSectionReader(f.l.src(), part.Body, part.End-part.Body), true
		}
		return part.Decoded(f.l.src())
	}
	r, ok := open()
	if !ok {
		f.failed = no("UNKNOWN-CTE", "part has an unknown transfer encoding")
		f.name(it.label)
		f.s.out.b = append(f.s.out.b, "NIL"...)
		return nil
	}
	size, nul, err := measure(r)
	if err != nil {
		return err
	}
	if it.kind == fetchBinarySize {
		f.name(it.label)
		f.s.out.b = appendUint(f.s.out.b, uint64(size))
		return nil
	}
	skip, n := it.clip(0, size)
	f.literalStart(it, n, nul)
	r, _ = open()
	if _, err := io.CopyN(io.Discard, r, skip); err != nil && skip > 0 {
		return &streamError{err}
	}
	return f.copyOut(r, n)
}

// measure counts the octets of r and tells whether NUL is among them.
func measure(r io.Reader) (n int64, nul bool, err error) {
	buf := outBufs.Get().(*[]byte)
	defer outBufs.Put(buf)
	b := (*buf)[:outSize]
	for {
		k, err := r.Read(b)
		n += int64(k)
		nul = nul || bytes.IndexByte(b[:k], 0) >= 0
		if err == io.EOF {
			return n, nul, nil
		}
		if err != nil {
			return n, nul, err
		}
	}
}

// preview returns PREVIEW's value (RFC 8970) in wire form; with lazy, NIL
// unless it is known.
func (l *loader) preview(lazy bool) ([]byte, error) {
	text, ok := l.s.box.Cached(l.m.UID, mailbox.CachePreview)
	if ok = ok && len(text) > 0 && text[0] == blobVersion; ok {
		text = text[1:]
	} else {
		if lazy {
			return []byte("NIL"), nil
		}
		root, err := l.parts()
		if err != nil {
			return nil, err
		}
		text = root.Preview(l.src())
		l.put(mailbox.CachePreview, append([]byte{blobVersion}, text...))
		l.flush()
	}
	if len(text) == 0 {
		return []byte(`""`), nil
	}
	return imapwire.AppendString(nil, text), nil
}
