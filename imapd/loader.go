package main

import (
	"bytes"
	"io"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

const (
	memWhole    = 1 << 20   // messages up to this size are read into memory
	parseWhole  = 256 << 10 // and up to this size parsed when only their header is asked for
	maxBlob     = 64 << 10  // of cached values
	maxTopLines = 1 << 20   // of a header that is read
	blobVersion = 1
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
	m       *mailbox.Message
	content mailbox.Content
	size    int64
	whole   []byte // the message if it is in memory
	root    *mimepart.Part
	header  []byte
	buf     bytes.Buffer
	env     []byte
	str     []byte
	hdr     []byte
}

func (s *session) loader() *loader { return &loader{s: s} }

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
	if c := &l.s.parts; c.root != nil && c.uid == l.m.UID {
		l.root = c.root
		return l.root, nil
	}
	if l.whole != nil {
		l.root = mimepart.ParseBytes(l.whole)
		return l.root, nil
	}
	root, err := mimepart.Parse(io.NewSectionReader(l.content, 0, l.size))
	if err != nil {
		return nil, err
	}
	l.root = root
	l.s.parts = partCache{l.m.UID, root} // only of large messages: the others are parsed in no time
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

// cached returns a cached value without its version.
func (l *loader) cached(k mailbox.CacheKind) ([]byte, bool) {
	b, ok := l.s.box.Cached(l.m.UID, k)
	if !ok || len(b) == 0 || b[0] != blobVersion {
		return nil, false
	}
	return b[1:], true
}

// envelope returns ENVELOPE in wire form.
func (l *loader) envelope() ([]byte, error) {
	if b, ok := l.cached(mailbox.CacheEnvelope); ok {
		return b, nil
	}
	if err := l.fill(false); err != nil {
		return nil, err
	}
	return l.env[1:], nil
}

// structure returns BODYSTRUCTURE in wire form.
func (l *loader) structure() ([]byte, error) {
	if b, ok := l.cached(mailbox.CacheStructure); ok {
		return b, nil
	}
	if err := l.fill(true); err != nil {
		return nil, err
	}
	return l.str[1:], nil
}

// fields returns the message's fields that keptField knows, as they are. ok is
// false if they are too many to be kept: then the caller takes top.
func (l *loader) fields() (b []byte, ok bool, err error) {
	if b, ok := l.cached(mailbox.CacheHeaders); ok {
		return b, true, nil
	}
	if err := l.fill(false); err != nil {
		return nil, false, err
	}
	if len(l.hdr) > maxBlob {
		return nil, false, nil
	}
	return l.hdr[1:], true, nil
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
		root = mimepart.ParseBytes(top)
	}
	l.env = mimepart.AppendEnvelope(append(l.env[:0], blobVersion), root.Envelope)
	l.put(mailbox.CacheEnvelope, l.env)
	if l.root != nil {
		l.str = mimepart.AppendStructure(append(l.str[:0], blobVersion), l.root, true)
		l.put(mailbox.CacheStructure, l.str)
	}
	l.hdr = append(l.hdr[:0], blobVersion)
	for rest := top; ; {
		name, _, field, more, ok := mimepart.NextField(rest)
		if !ok {
			break
		}
		if keptField(name) {
			l.hdr = append(l.hdr, field...)
		}
		rest = more
	}
	l.put(mailbox.CacheHeaders, l.hdr)
	return nil
}

func (l *loader) put(k mailbox.CacheKind, b []byte) {
	if len(b) <= maxBlob {
		l.s.box.SetCached(l.m.UID, k, b)
	}
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
