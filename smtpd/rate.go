package main

import (
	"net/netip"

	"posthaste/pkg/proto/anvil"
)

// ident is how anvil(8) knows the session's client: the service, and the address
// or the network that counts as one client. "" means that it is not counted.
func (s *session) ident() string {
	a, err := netip.ParseAddr(s.facts.ClientAddr)
	if err != nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	bits := s.set.prefix6
	if a.Is4() {
		bits = s.set.prefix4
	}
	if bits == a.BitLen() {
		return s.srv.env.Service + ":" + a.String()
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return s.srv.env.Service + ":" + p.String()
}

// admit applies the limits on connections.
func (s *session) admit() bool {
	if s.set.connCount <= 0 && s.set.connRate <= 0 || s.match(s.srv.eventExcept) {
		return true
	}
	id := s.ident()
	if id == "" {
		return true
	}
	n, rate, ok := s.srv.anvil.Connect(s.ctx, id)
	if ok {
		s.counted = id
	}
	switch {
	case s.set.connCount > 0 && n > s.set.connCount:
		s.warnf("Connection concurrency limit exceeded: %d from %s for service %s", n, s.client(), s.srv.env.Service)
	case s.set.connRate > 0 && rate > s.set.connRate:
		s.warnf("Connection rate limit exceeded: %d from %s for service %s", rate, s.client(), s.srv.env.Service)
	default:
		return true
	}
	s.say(421, "4.7.0", s.set.hostname+" Error: too many connections from "+s.facts.ClientAddr)
	return false
}

// uncount ends what admit has begun.
func (s *session) uncount() {
	if s.counted != "" {
		s.srv.anvil.Disconnect(s.counted)
		s.counted = ""
	}
}

// over counts an event and tells whether the client is above its limit.
func (s *session) over(e anvil.Event, limit int, what string) bool {
	if limit <= 0 || s.srv.env.Stdio || s.match(s.srv.eventExcept) {
		return false
	}
	id := s.ident()
	if id == "" {
		return false
	}
	n := s.srv.anvil.Count(s.ctx, id, e)
	if n <= limit {
		return false
	}
	s.warnf("%s limit exceeded: %d from %s for service %s", what, n, s.client(), s.srv.env.Service)
	return true
}
