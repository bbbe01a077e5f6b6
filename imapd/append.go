package main

import (
	"bytes"
	"errors"
	"io"
	"time"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// streams tells which literals the Reader leaves to us: messages, which are all
// of APPEND's but one that is the mailbox's name.
func streams(cmd []byte, _ imapwire.Literal) bool {
	i := bytes.IndexByte(cmd, ' ')
	if i <= 0 {
		return false
	}
	rest := cmd[i+1:]
	const verb = "APPEND "
	return len(rest) > len(verb) && bytes.EqualFold(rest[:len(verb)], []byte(verb))
}

// append is APPEND (RFC 9051, section 6.3.12) with several messages (RFC 3502)
// and binary and UTF-8 ones (RFC 3516, RFC 6855).
func (s *session) append(p *imapwire.Parser, _ bool) error {
	p.SP()
	name, nameErr := s.mailboxArg(p)
	if p.Err() != nil {
		return p.Err()
	}
	if s.pending == nil {
		return &imapwire.SyntaxError{What: "APPEND needs a message literal"}
	}
	if nameErr != nil {
		return nameErr
	}
	a, err := s.store.Append(name)
	if err != nil {
		if errors.Is(err, mailbox.ErrNotFound) {
			return no("TRYCREATE", "no such mailbox")
		}
		return err
	}
	defer a.Abort()
	for s.pending != nil {
		p.SP()
		info, utf8, err := s.appendInfo(p)
		if err != nil {
			return err
		}
		if err := s.appendOne(a, info); err != nil {
			return err
		}
		more, lit, err := s.in.ReadMore()
		if err != nil {
			if errors.Is(err, imapwire.ErrLineTooLong) || errors.Is(err, imapwire.ErrCommandTooLong) {
				return no("LIMIT", "%v", err)
			}
			s.lost(err)
			return errGone
		}
		s.pending = lit
		p = imapwire.NewParser(more)
		if utf8 {
			p.Expect(')')
		}
	}
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	done, err := a.Commit()
	if err != nil {
		return err
	}
	s.okCode = "[APPENDUID " + string(appendUIDs(append(appendUint(nil, done.UIDValidity), ' '), done.UIDs)) + "] "
	return nil
}

// appendInfo takes what stands before a message's literal.
func (s *session) appendInfo(p *imapwire.Parser) (info mailbox.AppendInfo, utf8 bool, err error) {
	var flags []string
	if p.Peek() == '(' {
		flags = p.FlagList()
		p.SP()
	}
	if p.Peek() == '"' {
		info.Date = p.DateTime()
		p.SP()
	}
	if p.Err() == nil && p.More() {
		if p.Keyword() != "UTF8" {
			p.Fail("message literal expected")
		}
		p.SP()
		p.Expect('(')
		utf8 = true
	}
	if p.More() {
		p.Fail("message literal expected")
	}
	if p.Err() != nil {
		return info, utf8, p.Err()
	}
	if info.Flags, info.Keywords, err = parseFlags(flags); err != nil {
		return info, utf8, err
	}
	lit := s.pending
	switch {
	case lit.Size == 0:
		return info, utf8, no("", "message is empty")
	case s.opt.appendLimit > 0 && lit.Size > uint64(s.opt.appendLimit), lit.Size > 1<<40:
		return info, utf8, no("TOOBIG", "message of %d octets is larger than the limit of %d", lit.Size, s.opt.appendLimit)
	}
	info.Size = int64(lit.Size)
	return info, utf8, nil
}

// appendOne receives one message.
func (s *session) appendOne(a mailbox.Appender, info mailbox.AppendInfo) error {
	w, err := a.Begin(info)
	if err != nil {
		return err
	}
	lit := *s.pending
	if !lit.NonSync {
		s.out.str("+ OK\r\n")
	}
	s.pending = nil
	buf := outBufs.Get().(*[]byte)
	defer outBufs.Put(buf)
	b := (*buf)[:outSize]
	var failed error
	start := time.Now()
	for left := lit.Size; left > 0; {
		n, err := s.br.Read(b[:min(uint64(len(b)), left)])
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.lost(err)
			}
			return errGone
		}
		left -= uint64(n)
		if failed == nil {
			_, failed = w.Write(b[:n])
		}
		if t := time.Since(start); t > slowAppend && float64(lit.Size-left) < t.Seconds()*minAppendRate {
			s.bye("[LIMIT] message comes too slowly")
			return errGone
		}
	}
	if failed == nil {
		return nil
	}
	// All that follows belongs to the command that failed.
	next, more, err := s.in.SkipLine()
	if err == nil && more {
		err = s.in.Skip(next, nil)
	}
	if err != nil {
		s.lost(err)
		return errGone
	}
	return failed
}

// A message must come at minAppendRate octets a second once slowAppend has
// passed.
const (
	slowAppend    = 5 * time.Minute
	minAppendRate = 100
)
