package main

import (
	"errors"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/envelope"
	"posthaste/pkg/lookup"
	"posthaste/pkg/proto/cleanup"
)

// canonicalDepth bounds how often a canonical mapping is applied to its own
// result.
const canonicalDepth = 10

// errExpansion is trouble with an address map: the message is not accepted for
// now (trap: never a bounce, the administrator may mend the table).
type mapError struct{ text string }

func (e *mapError) Error() string { return e.text }

var errExpansion = &mapError{"Alias expansion error"}

// mapFailed turns map trouble into the session's failure, with a warning.
func (s *session) mapFailed(err error) {
	var me *mapError
	if errors.As(err, &me) {
		s.fail(cleanup.TempFail, 451, "4.6.0", me.text)
		return
	}
	s.fail(cleanup.TempFail, 451, "4.3.0", "Temporary lookup failure")
}

// mapOnce looks addr up and returns the addresses that it stands for, in
// internal standard form.
func (s *settings) mapOnce(m *mapping, addr string) (list []string, ok bool, err error) {
	v, _, ext, ok, err := m.maps.AddressExt(addr, s.delims, s.addr)
	if err != nil || !ok {
		return nil, false, err
	}
	if strings.HasPrefix(v, "@") {
		// @domain keeps the user, extension and all.
		local, _ := address.Split(addr)
		v, ext = strings.TrimSuffix(address.Quote(local+"@x"), "@x")+v, ""
	}
	for _, a := range address.ExtractList([]byte(v)) {
		a = s.router.Rewrite(a, true)
		if ext != "" && m.ext {
			local, domain := address.Split(a)
			a = local + ext
			if domain != "" {
				a += "@" + domain
			}
		}
		list = append(list, a)
	}
	return list, len(list) > 0, nil
}

// canonize applies the canonical maps and masquerading for a class of address.
func (s *session) canonize(addr string, class classes) (string, error) {
	c := s.set
	for i := range c.canonical {
		m := &c.canonical[i]
		if m.on&class == 0 || addr == "" {
			continue
		}
		for n := 0; ; n++ {
			if n >= canonicalDepth {
				s.warnf("unreasonable %s map nesting for %s -- message not accepted, try again later", m.param, addr)
				return addr, errExpansion
			}
			list, ok, err := c.mapOnce(m, addr)
			if err != nil {
				s.warnf("%s map lookup problem for %s -- message not accepted, try again later: %v", m.param, addr, err)
				return addr, err
			}
			if !ok {
				break
			}
			if len(list) > 1 {
				s.warnf("multi-valued %s entry for %s -- message not accepted, try again later", m.param, addr)
				return addr, errExpansion
			}
			same := strings.EqualFold(list[0], addr)
			addr = list[0]
			if same {
				break
			}
		}
	}
	if class&c.masqOn != 0 && len(c.masquerade) > 0 {
		return s.masqueraded(addr)
	}
	return addr, nil
}

// masqueraded hides hosts below the masquerade domains.
func (s *session) masqueraded(addr string) (string, error) {
	local, domain := address.Split(addr)
	if domain == "" {
		return addr, nil
	}
	if hit, err := s.set.masqExcept.Match(local); err != nil {
		s.warnf("masquerade_exceptions lookup problem for %s -- message not accepted, try again later: %v", addr, err)
		return addr, err
	} else if hit {
		return addr, nil
	}
	for _, m := range s.set.masquerade {
		truncate := true
		for strings.HasPrefix(m, "!") {
			m, truncate = m[1:], !truncate
		}
		if strings.EqualFold(domain, m) {
			return addr, nil
		}
		if n := len(domain) - len(m); n > 1 && domain[n-1] == '.' && strings.EqualFold(domain[n:], m) {
			if !truncate {
				return addr, nil
			}
			return local + "@" + domain[n:], nil
		}
	}
	return addr, nil
}

// expand applies virtual_alias_maps until nothing changes. An address that
// expands into itself stays.
func (s *session) expand(addr string) ([]string, error) {
	c := s.set
	if c.virtual.maps.Empty() {
		return []string{addr}, nil
	}
	bad := func(format string, a ...any) ([]string, error) {
		s.warnf(format+" -- message not accepted, try again later", a...)
		return nil, errExpansion
	}
	list := []string{addr}
	var stop map[string]bool // addresses that expanded into themselves
	for i := 0; i < len(list); i++ {
		for n := 0; !stop[address.Fold(list[i])]; n++ {
			if n >= c.recurseLimit {
				return bad("unreasonable virtual_alias_maps map nesting for %s", addr)
			}
			from := list[i]
			to, ok, err := c.mapOnce(&c.virtual, from)
			if err != nil {
				s.warnf("virtual_alias_maps map lookup problem for %s -- message not accepted, try again later: %v", from, err)
				return nil, err
			}
			if !ok {
				break
			}
			for j, a := range to {
				if len(a) > c.lengthLimit {
					return bad("unreasonable virtual_alias_maps result %.300s... for %s", a, from)
				}
				if strings.EqualFold(a, from) {
					if stop == nil {
						stop = map[string]bool{}
					}
					stop[address.Fold(from)] = true
				}
				if j == 0 {
					list[i] = a
				} else {
					list = append(list, a)
				}
			}
			if len(list) > c.expandLimit {
				return bad("unreasonable virtual_alias_maps map expansion size for %s", addr)
			}
		}
	}
	return list, nil
}

// sender puts the envelope sender into its final form.
func (s *session) sender(addr string) (string, error) {
	if addr == "" {
		return "", nil
	}
	addr = s.set.router.Rewrite(addr, true)
	if s.flags&cleanup.Map == 0 {
		return addr, nil
	}
	return s.canonize(addr, envelopeSender)
}

// recipient takes one recipient through rewriting, mapping and expansion into
// the queue file. Recipients that r's address turns into keep its properties.
func (s *session) recipient(r envelope.Recipient) error {
	c := s.set
	orig := r.Orig
	if orig == "" {
		orig = r.Address
	}
	addr := r.Address
	if addr == "" {
		addr = c.emptyRcpt
	}
	addr = c.router.Rewrite(addr, true)
	var err error
	if s.flags&cleanup.Map != 0 {
		if addr, err = s.canonize(addr, envelopeRecipient); err != nil {
			return err
		}
	}
	if s.firstRcpt == nil {
		a := r.Address
		s.firstRcpt = &a
	}
	if err := s.output(r, addr, orig); err != nil {
		return err
	}
	if s.flags&cleanup.BCC != 0 && r.Flags&envelope.Implicit == 0 && !c.recipBCC.Empty() {
		return s.mappedBCC("recipient_bcc_maps", c.recipBCC, addr)
	}
	return nil
}

// mappedBCC adds the recipients that a BCC table has for addr.
func (s *session) mappedBCC(param string, maps *lookup.Maps, addr string) error {
	v, _, ok, err := maps.Address(addr, s.set.delims, s.set.addr)
	if err != nil {
		s.warnf("%s map lookup problem -- message not accepted, try again later: %v", param, err)
		return err
	}
	if !ok {
		return nil
	}
	for _, a := range address.ExtractList([]byte(v)) {
		if err := s.bcc(a); err != nil {
			return err
		}
	}
	return nil
}

// bcc adds a recipient that the configuration asks for: nobody is told what
// becomes of it.
func (s *session) bcc(addr string) error {
	return s.recipient(envelope.Recipient{Address: addr, Notify: envelope.NotifyNever, Flags: envelope.Implicit})
}

// output expands addr and writes each recipient once.
func (s *session) output(r envelope.Recipient, addr, orig string) error {
	c := s.set
	if !c.origRcpt {
		orig = ""
	}
	list := []string{addr}
	if s.flags&cleanup.Map != 0 {
		var err error
		if list, err = s.expand(addr); err != nil {
			return err
		}
	}
	for _, a := range list {
		if s.duplicate(&r, a, orig) {
			continue
		}
		r.Address, r.Orig = a, orig
		if r.Orig == a {
			r.Orig = ""
		}
		if err := s.w.Recipient(&r); err != nil {
			return &writeError{err}
		}
	}
	return nil
}

// duplicate tells whether the same recipient was written before, among the
// first duplicate_filter_limit ones.
func (s *session) duplicate(r *envelope.Recipient, addr, orig string) bool {
	key := address.Fold(r.Orcpt + "\n" + string('0'+rune(r.Notify)) + "\n" + orig + "\n" + addr)
	if s.seen[key] {
		return true
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if s.set.dupLimit == 0 || len(s.seen) < s.set.dupLimit {
		s.seen[key] = true
	}
	return false
}

// writeError marks trouble with the queue file, as opposed to tables.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }
