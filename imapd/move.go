package main

import "posthaste/pkg/imapwire"

// move is MOVE (RFC 6851). COPYUID comes before the messages leave.
func (s *session) move(p *imapwire.Parser, uid bool) error {
	uids, name, err := s.copyArgs(p, uid)
	if err != nil {
		return err
	}
	if len(uids) == 0 {
		s.okText = "no messages to move"
		return nil
	}
	done, err := s.box.Move(uids, name)
	if err != nil {
		return tryCreate(err)
	}
	if code := copyUID(&done); code != "" {
		s.out.str("* OK ", code, "moved\r\n")
	}
	return nil
}
