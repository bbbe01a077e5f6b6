package main

import (
	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// expunge is EXPUNGE (RFC 9051, section 6.4.3) and UID EXPUNGE (RFC 4315). The
// end of the command tells of the messages.
func (s *session) expunge(p *imapwire.Parser, uid bool) error {
	var uids []mailbox.UID
	if uid {
		p.SP()
		set := p.Set(true)
		if p.End(); p.Err() != nil {
			return p.Err()
		}
		list, err := s.uids(set, true)
		if err != nil {
			return err
		}
		uids = list
		if len(uids) == 0 {
			return nil // nil would mean all
		}
	} else if p.End(); p.Err() != nil {
		return p.Err()
	}
	if err := s.box.Expunge(uids); err != nil {
		return err
	}
	if s.condstore {
		if err := s.sync(true); err != nil {
			return err
		}
		s.okCode = "[HIGHESTMODSEQ " + string(appendUint(nil, s.box.View().HighestModSeq)) + "] "
	}
	return nil
}
