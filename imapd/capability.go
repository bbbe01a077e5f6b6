package main

import (
	"strconv"

	"posthaste/pkg/imapwire"
)

// capabilities are announced after authentication. APPENDLIMIT and COMPRESS
// depend on the session.
const capabilities = "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UIDPLUS MOVE UNSELECT " +
	"LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE MULTIAPPEND ESEARCH SEARCHRES WITHIN CONDSTORE QRESYNC " +
	"SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES BINARY STATUS=SIZE OBJECTID PREVIEW SAVEDATE " +
	"UTF8=ACCEPT QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE SASL-IR"

func (s *session) capabilityText() string {
	t := capabilities + " APPENDLIMIT"
	if s.opt.appendLimit > 0 {
		t += "=" + strconv.FormatInt(s.opt.appendLimit, 10)
	}
	if !s.compressed {
		t += " COMPRESS=DEFLATE"
	}
	return t
}

// capability is CAPABILITY (RFC 9051, section 6.1.1).
func (s *session) capability(p *imapwire.Parser, _ bool) error {
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	s.out.str("* CAPABILITY ", s.capabilityText(), "\r\n")
	return nil
}
