package main

import "posthaste/pkg/imapwire"

// quotaRoot is the name of the one quota root, that of the whole store.
const quotaRoot = `"User quota"`

// getQuota is GETQUOTA (RFC 9208, section 4.1.1).
func (s *session) getQuota(p *imapwire.Parser, _ bool) error {
	p.SP()
	root := p.AString()
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if string(root) != quotaRoot[1:len(quotaRoot)-1] {
		return no("NONEXISTENT", "no such quota root")
	}
	return s.tellQuota()
}

// getQuotaRoot is GETQUOTAROOT (RFC 9208, section 4.1.2).
func (s *session) getQuotaRoot(p *imapwire.Parser, _ bool) error {
	p.SP()
	name, err := s.mailboxArg(p)
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if err != nil {
		return err
	}
	s.out.str("* QUOTAROOT ")
	s.appendMailbox(name)
	s.out.str(" ", quotaRoot, "\r\n")
	return s.tellQuota()
}

func (s *session) tellQuota() error {
	q, err := s.store.Quota()
	if err != nil {
		return err
	}
	s.out.str("* QUOTA ", quotaRoot, " (")
	if q.BytesLimit > 0 { // in units of 1024 octets
		s.out.str("STORAGE ")
		s.out.num(uint64((q.Bytes + 1023) / 1024))
		s.out.str(" ")
		s.out.num(uint64(q.BytesLimit / 1024))
	}
	if q.MessagesLimit > 0 {
		if q.BytesLimit > 0 {
			s.out.str(" ")
		}
		s.out.str("MESSAGE ")
		s.out.num(uint64(q.Messages))
		s.out.str(" ")
		s.out.num(uint64(q.MessagesLimit))
	}
	s.out.str(")\r\n")
	return nil
}

// setQuota is SETQUOTA: quota is the administrator's.
func (s *session) setQuota(p *imapwire.Parser, _ bool) error {
	p.SP()
	p.AString()
	p.SP()
	p.Open()
	for p.Err() == nil && p.Peek() != ')' {
		p.Atom()
		p.SP()
		p.Number64()
		if !p.Try(' ') {
			break
		}
	}
	p.Close()
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	return no("NOPERM", "quota is set by the administrator")
}
