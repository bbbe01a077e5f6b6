package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

// fetching is a FETCH command at work (RFC 9051, section 6.4.5).
type fetching struct {
	*fetchArgs
	s      *session
	l      *loader
	uid    bool
	seen   []mailbox.UID // those that it made \Seen, ascending
	r      []imapwire.Range
	ahead  ahead
	gone   bool  // some message was expunged meanwhile
	failed error // some message could not be read
	sep    bool
}

// fetch is FETCH.
func (s *session) fetch(p *imapwire.Parser, uid bool) error {
	p.SP()
	set := p.Set(true)
	p.SP()
	args := parseFetch(p)
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if uid || s.qresync && args.setsSeen { // changed flags come with the UID: RFC 7162, section 3.2.4
		args.withUID()
	}
	if args.vanished && (!uid || !s.qresync || !args.hasSince) {
		return &imapwire.SyntaxError{What: "VANISHED needs UID FETCH, CHANGEDSINCE and QRESYNC"}
	}
	r, err := s.ranges(set, uid)
	if err != nil {
		return err
	}
	if args.modSeq || args.hasSince {
		s.enableCondstore()
	}
	f := &fetching{fetchArgs: args, s: s, l: s.loader(), uid: uid, r: r}
	defer f.l.close()
	defer f.ahead.stop()
	if args.vanished {
		s.tellVanished(args.since, r)
	}
	if err := f.markSeen(r); err != nil {
		return err
	}
	each(s.box.View(), r, uid, func(seq uint32, m *mailbox.Message) bool {
		if f.hasSince && m.ModSeq <= f.since {
			return true
		}
		f.message(seq, m)
		return s.out.err == nil && s.ctx.Err() == nil && !s.ended
	})
	switch {
	case s.ended || s.out.err != nil:
		return errGone
	case f.failed != nil:
		return f.failed
	case f.gone:
		s.okCode, s.okText = "[EXPUNGEISSUED] ", "some messages are gone"
	}
	return nil
}

// markSeen sets \Seen on what is about to be read.
func (f *fetching) markSeen(r []imapwire.Range) error {
	if !f.setsSeen || f.s.box.ReadOnly() {
		return nil
	}
	each(f.s.box.View(), r, f.uid, func(_ uint32, m *mailbox.Message) bool {
		if m.Flags&mailbox.Seen == 0 && !(f.hasSince && m.ModSeq <= f.since) {
			f.seen = append(f.seen, m.UID)
		}
		return true
	})
	if len(f.seen) == 0 {
		return nil
	}
	_, err := f.s.box.Store(f.seen, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	return err
}

// message sends one message's response, or nothing if the message is gone.
func (f *fetching) message(seq uint32, m *mailbox.Message) {
	o := &f.s.out
	o.get()
	mark, sent := len(o.b), o.sent
	f.l.set(m)
	if f.derives && !f.needsContent {
		f.readAhead(seq)
	}
	var err error
	if f.needsContent {
		err = f.l.open()
	}
	if err == nil {
		o.b = append(o.b, "* "...)
		o.b = appendUint(o.b, seq)
		o.b = append(o.b, " FETCH ("...)
		f.sep = false
		for i := range f.items {
			if err = f.item(&f.items[i], m); err != nil {
				break
			}
		}
	}
	if err == nil {
		if _, ok := slices.BinarySearch(f.seen, m.UID); ok && !f.flags {
			f.name("FLAGS ")
			o.b = f.s.appendFlags(o.b, m)
			if f.s.condstore && !f.modSeq {
				f.name("MODSEQ (")
				o.b = append(appendUint(o.b, m.ModSeq), ')')
			}
		}
		o.b = append(o.b, ")\r\n"...)
		return
	}
	switch {
	case o.err != nil: // the client is gone
	case o.sent != sent || errors.As(err, new(*streamError)):
		// Part of a literal is out: there is no way back.
		f.s.opt.log.Errorf("user %s: FETCH of UID %d: %v", f.s.user, m.UID, err)
		f.s.bye("[SERVERBUG] message could not be read")
		return
	case errors.Is(err, mailbox.ErrExpunged):
		f.gone = true
	default:
		if f.failed == nil {
			f.failed = fmt.Errorf("UID %d: %w", m.UID, err)
		}
	}
	o.b = o.b[:mark]
}

// name begins an item.
func (f *fetching) name(n string) {
	o := &f.s.out
	if f.sep {
		o.b = append(o.b, ' ')
	}
	f.sep = true
	o.b = append(o.b, n...)
}

// item sends one item of a message. Before anything was written beyond the
// buffer, errors are ordinary; afterwards they are *streamError.
func (f *fetching) item(it *fetchItem, m *mailbox.Message) error {
	o := &f.s.out
	switch it.kind {
	case fetchSection:
		return f.section(it)
	case fetchBinary, fetchBinarySize:
		return f.binary(it)
	case fetchEnvelope, fetchStructure, fetchBody, fetchPreview:
		return f.structured(it)
	}
	f.name(it.label)
	switch it.kind {
	case fetchUID:
		o.b = appendUint(o.b, uint32(m.UID))
	case fetchFlags:
		o.b = f.s.appendFlags(o.b, m)
	case fetchModSeq:
		o.b = append(o.b, '(')
		o.b = append(appendUint(o.b, m.ModSeq), ')')
	case fetchInternalDate:
		date, err := f.s.box.Date(m)
		if err != nil {
			return err
		}
		o.b = imapwire.AppendInternalDate(o.b, time.Unix(date, 0).UTC())
	case fetchSaveDate:
		if m.SaveDate == 0 {
			o.b = append(o.b, "NIL"...)
		} else {
			o.b = imapwire.AppendInternalDate(o.b, time.Unix(m.SaveDate, 0).UTC())
		}
	case fetchEmailID:
		o.b = append(o.b, '(')
		o.b = append(o.b, emailID(m, f.s.box.View().UIDValidity)...)
		o.b = append(o.b, ')')
	case fetchThreadID:
		o.b = append(o.b, "NIL"...)
	case fetchSize:
		n := m.Size
		if n < 0 && f.l.content != nil {
			n = f.l.size
		}
		if n < 0 {
			var err error
			if n, err = f.s.box.Size(m); err != nil {
				return err
			}
		}
		o.b = appendUint(o.b, uint64(n))
	}
	return nil
}

// structured sends what is derived from a message's structure.
func (f *fetching) structured(it *fetchItem) error {
	o := &f.s.out
	var b []byte
	var err error
	switch it.kind {
	case fetchEnvelope:
		b, err = f.l.envelope()
	case fetchStructure:
		b, err = f.l.structure()
	case fetchBody:
		var root *mimepart.Part
		if root, err = f.l.parts(); err == nil {
			f.s.scratch = mimepart.AppendStructure(f.s.scratch[:0], root, false)
			b = f.s.scratch
		}
	case fetchPreview:
		b, err = f.l.preview(it.lazy)
	}
	if err != nil {
		return err
	}
	f.name(it.label)
	o.b = append(o.b, b...)
	if cap(f.s.scratch) > maxBlob {
		f.s.scratch = nil
	}
	return nil
}

// streamError is an error after part of a literal was sent.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }

// literal sends octets from a message's place as an item.
func (f *fetching) literal(it *fetchItem, off, n int64) error {
	off, n = it.clip(off, n)
	f.literalStart(it, n, false)
	o := &f.s.out
	switch {
	case f.l.whole != nil:
		o.Write(f.l.whole[off : off+n])
		return nil
	case off == 0 && n == f.l.size:
		if k, err := f.l.content.WriteTo(o); err != nil || k != n {
			return &streamError{shortOf(err)}
		}
		return nil
	}
	return f.copyOut(io.NewSectionReader(f.l.content, off, n), n)
}

func shortOf(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// copyOut sends n octets of r.
func (f *fetching) copyOut(r io.Reader, n int64) error {
	buf := outBufs.Get().(*[]byte)
	defer outBufs.Put(buf)
	b := (*buf)[:outSize]
	for n > 0 && f.s.out.err == nil {
		k, err := r.Read(b[:min(n, outSize)])
		n -= int64(k)
		f.s.out.Write(b[:k])
		if err != nil && n > 0 {
			return &streamError{shortOf(err)}
		}
	}
	return nil
}

// literalStart announces an item's literal.
func (f *fetching) literalStart(it *fetchItem, n int64, binary bool) {
	f.name(it.label)
	o := &f.s.out
	if binary {
		o.b = append(o.b, '~')
	}
	o.b = append(o.b, '{')
	o.b = appendUint(o.b, uint64(n))
	o.b = append(o.b, "}\r\n"...)
}

// clip applies the item's partial range to n octets from off.
func (it *fetchItem) clip(off, n int64) (int64, int64) {
	if !it.partial {
		return off, n
	}
	skip := int64(min(it.from, uint64(n)))
	return off + skip, int64(min(it.count, uint64(n-skip)))
}

// emailID is EMAILID (RFC 8474). A message must have one: where the store has
// none, its place is as good as any.
func emailID(m *mailbox.Message, validity uint32) string {
	if m.EmailID == 0 {
		return fmt.Sprintf("U%d-%d", validity, m.UID)
	}
	return fmt.Sprintf("M%016x", m.EmailID)
}
