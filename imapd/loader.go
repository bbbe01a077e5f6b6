package main

import (
	"bytes"
	"encoding/binary"
	"io"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

const (
	memWhole    = 1 << 20   // messages up to this size are read into memory
	parseWhole  = 256 << 10 // and up to this size parsed when only their header is asked for
	maxBlob     = 64 << 10  // of cached values
	maxTopLines = 1 << 20   // of a header that is read
	blobVersion = 2
)

// partCache remembers the structure of the message that was looked into last:
// clients fetch large parts piece by piece.
type partCache struct {
	uid  mailbox.UID
	root *mimepart.Part
}

// loader reads one message after the other for FETCH, SEARCH, SORT and THREAD,
// as little of each as is needed.
type loader struct {
	s       *session
	kept    *partCache
	m       *mailbox.Message
	content mailbox.Content
	size    int64
	whole   []byte // the message if it is in memory
	root    *mimepart.Part
	header  []byte
	buf     bytes.Buffer
	parser  mimepart.Parser
	d       derived
	str     []byte               // d.str, or memory for it
	values  []mailbox.CacheValue // to be cached
	holds   bool                 // together with those of other messages: the caller flushes
	held    []byte               // their octets
}

func (s *session) loader() *loader { return &loader{s: s, kept: &s.parts} }

// set turns to another message.
func (l *loader) set(m *mailbox.Message) {
	if l.m == m {
		return
	}
	l.close()
	l.m = m
}

// close lets go of the current message.
func (l *loader) close() {
	if l.content != nil {
		l.content.Close()
		l.content = nil
	}
	l.m, l.root, l.whole, l.header = nil, nil, nil, nil
	if l.buf.Cap() > 4*memWhole {
		l.buf = bytes.Buffer{}
	}
}

// open opens the message.
func (l *loader) open() error {
	if l.content != nil {
		return nil
	}
	c, err := l.s.box.Content(l.m)
	if err != nil {
		return err
	}
	l.content, l.size = c, c.Size()
	return nil
}

// read reads the message into memory if it is not too large.
func (l *loader) read() error {
	if err := l.open(); err != nil || l.whole != nil || l.size > memWhole {
		return err
	}
	if l.whole = l.content.Bytes(); l.whole != nil {
		return nil
	}
	l.buf.Reset()
	if _, err := l.content.WriteTo(&l.buf); err != nil {
		return err
	}
	l.whole = l.buf.Bytes()
	if l.whole == nil {
		l.whole = []byte{}
	}
	return nil
}

// src is the message to read from.
func (l *loader) src() io.ReaderAt {
	if l.whole != nil {
		return bytes.NewReader(l.whole)
	}
	return l.content
}

// parts finds the message's structure.
func (l *loader) parts() (*mimepart.Part, error) {
	if l.root != nil {
		return l.root, nil
	}
	if err := l.read(); err != nil {
		return nil, err
	}
	if l.kept.root != nil && l.kept.uid == l.m.UID {
		l.root = l.kept.root
		return l.root, nil
	}
	if l.whole != nil {
		l.root = l.parser.Parse(l.whole)
		return l.root, nil
	}
	root, err := mimepart.Parse(io.NewSectionReader(l.content, 0, l.size))
	if err != nil {
		return nil, err
	}
	l.root = root
	*l.kept = partCache{l.m.UID, root} // only of large messages: the others are parsed in no time
	return root, nil
}

// top returns the message's header with its empty line.
func (l *loader) top() ([]byte, error) {
	if l.header != nil {
		return l.header, nil
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	if l.size <= parseWhole {
		if err := l.read(); err != nil {
			return nil, err
		}
	}
	if l.whole != nil {
		l.header = l.whole[:headerEnd(l.whole)]
		return l.header, nil
	}
	for n := int64(16 << 10); ; n *= 4 {
		n = min(n, l.size, maxTopLines)
		b := make([]byte, n)
		k, err := l.content.ReadAt(b, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		b = b[:k]
		if end := headerEnd(b); end < len(b) || int64(k) < n || n == l.size || n == maxTopLines {
			l.header = b[:end]
			return l.header, nil
		}
	}
}

// headerEnd finds where the header ends, its empty line included.
func headerEnd(b []byte) int {
	for at := 0; at < len(b); {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return len(b)
		}
		if n == 0 || n == 1 && b[at] == '\r' {
			return at + n + 1
		}
		at += n + 1
	}
	return len(b)
}

// derived is what is cached of a message as one value: ENVELOPE and BODYSTRUCTURE
// in wire form, and the header fields that keptField knows, as they are. What is
// not known, or too large to be kept, is nil.
type derived struct{ env, str, hdr []byte }

// append writes d: the version, for each part its length plus 1, or 0 for what is
// nil, then the parts.
func (d *derived) append(b []byte) []byte {
	b = append(b, blobVersion)
	parts := [...][]byte{d.env, d.str, d.hdr}
	for _, p := range parts {
		if p == nil || len(p) > maxBlob {
			b = append(b, 0)
		} else {
			b = binary.AppendUvarint(b, uint64(len(p))+1)
		}
	}
	for _, p := range parts {
		if len(p) <= maxBlob {
			b = append(b, p...)
		}
	}
	return b
}

// parse reads what append wrote.
func (d *derived) parse(b []byte) bool {
	*d = derived{}
	if len(b) == 0 || b[0] != blobVersion {
		return false
	}
	b = b[1:]
	var lens [3]uint64
	for i := range lens {
		var n int
		if lens[i], n = binary.Uvarint(b); n <= 0 {
			return false
		}
		b = b[n:]
	}
	for i, p := range [...]*[]byte{&d.env, &d.str, &d.hdr} {
		if lens[i] == 0 {
			continue
		}
		n := lens[i] - 1
		if n > uint64(len(b)) {
			return false
		}
		*p, b = b[:n:n], b[n:]
	}
	return len(b) == 0
}

// cached returns what is cached of the message.
func (l *loader) cached() (d derived, ok bool) {
	b, ok := l.s.box.Cached(l.m.UID, mailbox.CacheDerived)
	return d, ok && d.parse(b)
}

// envelope returns ENVELOPE in wire form.
func (l *loader) envelope() ([]byte, error) {
	if d, ok := l.cached(); ok && d.env != nil {
		return d.env, nil
	}
	if err := l.fill(false); err != nil {
		return nil, err
	}
	return l.d.env, nil
}

// structure returns BODYSTRUCTURE in wire form.
func (l *loader) structure() ([]byte, error) {
	if d, ok := l.cached(); ok && d.str != nil {
		return d.str, nil
	}
	if err := l.fill(true); err != nil {
		return nil, err
	}
	return l.d.str, nil
}

// fields returns the message's fields that keptField knows, as they are. ok is
// false if they are too many to be kept: then the caller takes top.
func (l *loader) fields() (b []byte, ok bool, err error) {
	if d, ok := l.cached(); ok && d.hdr != nil {
		return d.hdr, true, nil
	}
	if err := l.fill(false); err != nil {
		return nil, false, err
	}
	return l.d.hdr, len(l.d.hdr) <= maxBlob, nil
}

// fill reads what the caches want of a message and puts it there: all of it at
// once, but nothing of a large message's body unless structure asks for it.
func (l *loader) fill(structure bool) error {
	if err := l.open(); err != nil {
		return err
	}
	top, err := l.top()
	if err != nil {
		return err
	}
	root := l.root
	if structure || l.size <= parseWhole {
		if root, err = l.parts(); err != nil {
			return err
		}
	} else if root == nil {
		root = l.parser.Parse(top)
	}
	l.d.env = mimepart.AppendEnvelope(l.d.env[:0], root.Envelope)
	if l.root != nil {
		l.str = mimepart.AppendStructure(l.str[:0], l.root, true)
		l.d.str = l.str
	} else {
		l.d.str = nil
	}
	l.d.hdr = l.d.hdr[:0]
	for rest := top; ; {
		name, _, field, more, ok := mimepart.NextField(rest)
		if !ok {
			break
		}
		if keptField(name) {
			l.d.hdr = append(l.d.hdr, field...)
		}
		rest = more
	}
	if l.d.hdr == nil {
		l.d.hdr = []byte{} // known: none
	}
	n := len(l.held)
	l.held = l.d.append(l.held)
	l.put(mailbox.CacheDerived, l.held[n:len(l.held):len(l.held)])
	if !l.holds {
		l.flush()
	}
	return nil
}

// put remembers a value until flush. b must not be changed until then.
func (l *loader) put(k mailbox.CacheKind, b []byte) {
	l.values = append(l.values, mailbox.CacheValue{UID: l.m.UID, Kind: k, Value: b})
}

// flush has the store cache what was put.
func (l *loader) flush() {
	l.s.box.SetCached(l.values...)
	l.forget()
}

func (l *loader) forget() {
	clear(l.values)
	l.values, l.held = l.values[:0], l.held[:0]
}

// keptField tells which header fields are cached: those that clients list
// messages by.
func keptField(name []byte) bool {
	if len(name) > 24 {
		return false
	}
	var low [24]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	switch string(low[:len(name)]) {
	case "date", "from", "sender", "reply-to", "to", "cc", "bcc", "subject", "message-id", "in-reply-to", "references",
		"content-type", "priority", "x-priority", "importance", "x-msmail-priority", "newsgroups", "list-id", "list-post",
		"list-unsubscribe", "return-receipt-to", "mime-version", "x-spam-status", "x-spam-flag", "delivered-to",
		"auto-submitted", "precedence":
		return true
	}
	return false
}
