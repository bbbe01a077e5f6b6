package main

import (
	"strings"
	"time"

	"posthaste/pkg/imapwire"
)

// idle is IDLE (RFC 2177). While a goroutine waits for the client's DONE, this
// one tells what happens in the mailbox.
func (s *session) idle(p *imapwire.Parser, _ bool) error {
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	var changed <-chan struct{}
	if s.box != nil {
		changed = s.box.Changed()
		// What happened before the watch began.
		if err := s.sync(true); err != nil {
			return err
		}
	}
	s.out.str("+ idling\r\n")
	if s.out.flush() != nil {
		return errGone
	}
	type input struct {
		line string
		err  error
	}
	done := make(chan input, 1)
	s.input.idle = true
	s.inCommand.Store(false)
	go func() {
		b, err := s.br.ReadSlice('\n')
		done <- input{string(b), err}
	}()
	var in input
	var trouble error
	var tick <-chan time.Time
	if s.opt.keepalive > 0 {
		t := time.NewTicker(s.opt.keepalive)
		defer t.Stop()
		tick = t.C
	}
	for waiting := true; waiting; {
		select {
		case in = <-done:
			waiting = false
		case <-tick: // keeps the path open, and finds out that the client is gone
			s.out.str("* OK still here\r\n")
			if s.out.flush() != nil {
				tick = nil
				s.conn.Close()
			}
		case <-changed:
			if trouble = s.sync(true); trouble == nil {
				trouble = s.out.flush()
			}
			if trouble != nil { // tell it when the client is done, or let it notice
				changed = nil
				if s.out.err != nil {
					s.conn.Close()
				}
			}
		}
	}
	s.input.idle = false
	s.inCommand.Store(true)
	if in.err != nil {
		s.lost(in.err)
		return errGone
	}
	if trouble != nil {
		return trouble
	}
	if !strings.EqualFold(strings.TrimRight(in.line, "\r\n"), "DONE") {
		return &imapwire.SyntaxError{What: "DONE expected"}
	}
	return nil
}
