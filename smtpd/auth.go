package main

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"posthaste/pkg/esmtp"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/tlsconf"
)

// authTimeout bounds one question to the authentication server, which delays
// the answers to failures.
const authTimeout = 100 * time.Second

// authOffered tells whether the client may authenticate now.
func (s *session) authOffered() bool {
	return s.srv.sasl != nil && !s.srv.env.Stdio && (!s.set.tlsOnly || s.facts.TLS) && !discarded(s.discard, "AUTH") && !s.match(s.srv.saslExcept)
}

// mechanisms asks the authentication server what it offers and takes out what
// the configuration forbids.
func (s *session) mechanisms() []string {
	l, err := s.srv.sasl.Mechanisms(s.ctx)
	if err != nil {
		if !s.authWarn {
			s.authWarn = true
			s.warnf("SASL: %v", err)
		}
		return nil
	}
	opts := s.set.saslOpts
	if s.facts.TLS {
		opts = s.set.saslTLSOpts
	}
	out := make([]string, 0, len(l))
	for _, m := range l {
		ok, err := s.srv.mechFilter.Match(m.Name)
		if ok && err == nil && allowedMech(&m, opts) && m.Usable(s.tlsConn != nil) {
			out = append(out, m.Name)
		}
	}
	return out
}

func allowedMech(m *dovecot.Mech, opts []string) bool {
	for _, o := range opts {
		switch o {
		case "noanonymous":
			if m.Anonymous || m.Name == "ANONYMOUS" {
				return false
			}
		case "noplaintext":
			if m.Plaintext {
				return false
			}
		case "noactive":
			if m.Active {
				return false
			}
		case "nodictionary":
			if m.Dictionary {
				return false
			}
		case "forward_secrecy":
			if !m.ForwardSecrecy {
				return false
			}
		case "mutual_auth":
			if !m.MutualAuth {
				return false
			}
		}
	}
	return true
}

// auth is AUTH (RFC 4954).
func (s *session) auth(args string) bool {
	switch {
	case s.set.heloRequired && s.facts.Helo == "":
		return s.say(503, "5.5.1", "Error: send HELO/EHLO first")
	case s.srv.sasl == nil || s.srv.env.Stdio || discarded(s.discard, "AUTH") || s.match(s.srv.saslExcept):
		return s.say(503, "5.5.1", "Error: authentication not enabled")
	case s.tx.open:
		return s.say(503, "5.5.1", "Error: MAIL transaction in progress")
	case s.set.tlsOnly && !s.facts.TLS:
		return s.say(504, "5.5.4", "Encryption required for requested authentication mechanism")
	case s.facts.SASLUser != "":
		return s.say(503, "5.5.1", "Error: already authenticated")
	}
	f := strings.Fields(args)
	if len(f) < 1 || len(f) > 2 {
		return s.say(501, "5.5.4", "Syntax: AUTH mechanism")
	}
	if s.over(anvil.Auth, s.set.authRate, "SMTP AUTH rate") {
		return s.say(450, "4.7.1", "Error: too many AUTH commands from "+s.facts.ClientAddr)
	}
	if s.set.forbidPipe && len(s.in.Buffered()) > 0 {
		s.closing = true
		return s.say(554, "5.5.0", "Error: SMTP protocol synchronization")
	}
	mech := strings.ToUpper(f[0])
	q := dovecot.Request{Mech: mech, Service: s.set.saslService, LocalIP: s.facts.ServerAddr, LocalPort: s.facts.ServerPort,
		RemoteIP: s.facts.ClientAddr, RemotePort: s.facts.ClientPort, Secured: s.facts.TLS}
	if len(f) == 2 {
		if len(f[1]) > s.set.saslLimit {
			return s.say(500, "5.5.6", "Authentication Exchange line is too long")
		}
		var ok bool
		if q.Initial, ok = decodeResponse(f[1]); !ok {
			return s.authFailed(mech, "", "Invalid base64 data in initial response")
		}
	}
	offered := s.mechanisms()
	if !slices.Contains(offered, mech) {
		return s.authFailed(mech, "", "Invalid authentication mechanism")
	}
	if strings.HasPrefix(mech, "SCRAM-") && slices.ContainsFunc(offered, func(m string) bool { return strings.HasSuffix(m, "-PLUS") }) {
		cs := s.tlsConn.ConnectionState()
		q.Bindings = tlsconf.Bindings(&cs, tlsconf.Leaf(s.tlsConn))
	}
	return s.exchange(mech, q)
}

// decodeResponse decodes base64; "=" stands for the empty response.
func decodeResponse(t string) ([]byte, bool) {
	if t == "=" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.DecodeString(t)
	if b == nil {
		b = []byte{}
	}
	return b, err == nil
}

// exchange carries messages between client and authentication server.
func (s *session) exchange(mech string, q dovecot.Request) bool {
	ctx, cancel := context.WithTimeout(s.ctx, authTimeout)
	x, res, err := s.srv.sasl.Start(ctx, q)
	cancel()
	for n := 0; ; n++ {
		if err != nil {
			s.warnf("%s: SASL %s authentication failed: %v", s.client(), mech, err)
			return s.say(454, "4.7.0", "Temporary authentication failure: Connection lost to authentication server")
		}
		if res.Done && (!res.OK || res.Data == nil) {
			break
		}
		if n > 20 {
			x.Cancel()
			return s.authFailed(mech, "", "too many steps")
		}
		resp, rep := s.challenge(res.Data)
		if !rep.IsZero() {
			if !res.Done {
				x.Cancel()
			}
			return s.reply(rep)
		}
		if s.closing {
			if !res.Done {
				x.Cancel()
			}
			return false
		}
		if res.Done {
			break // the client has seen the last word
		}
		ctx, cancel := context.WithTimeout(s.ctx, authTimeout)
		res, err = x.Respond(ctx, resp)
		cancel()
	}
	if !res.OK {
		if res.Temp {
			s.warnf("%s: SASL %s authentication failed: temporary failure of the authentication server", s.client(), mech)
			return s.say(454, "4.7.0", "Temporary authentication failure: "+reasonOr(res.Reason, "Temporary internal failure"))
		}
		return s.authFailed(mech, res.User, res.Reason)
	}
	s.facts.SASLMethod, s.facts.SASLUser = mech, clean(res.User)
	return s.say(235, "2.7.0", "Authentication successful")
}

func reasonOr(r, def string) string {
	if r == "" {
		return def
	}
	return r
}

// challenge sends a challenge and reads the response; rep says why there is
// none.
func (s *session) challenge(data []byte) (resp []byte, rep esmtp.Reply) {
	// A challenge may be longer than a reply line may be.
	s.out = append(s.out, "334 "...)
	s.out = base64.StdEncoding.AppendEncode(s.out, data)
	s.out = append(s.out, '\r', '\n')
	line, _, err := s.readLine(s.set.saslLimit)
	if err == esmtp.ErrLineTooLong {
		return nil, esmtp.Reply{Code: 500, Enh: "5.5.6", Text: "Authentication Exchange line is too long"}
	}
	if err != nil {
		s.lost(err, 0)
		return nil, esmtp.Reply{}
	}
	if string(line) == "*" {
		return nil, esmtp.Reply{Code: 501, Enh: "5.7.0", Text: "Authentication aborted"}
	}
	b, ok := decodeResponse(string(line))
	if !ok {
		return nil, esmtp.Reply{Code: 535, Enh: "5.7.8", Text: "Error: authentication failed: Invalid base64 data in continued response"}
	}
	return b, esmtp.Reply{}
}

// authFailed logs and answers a failed attempt.
func (s *session) authFailed(mech, user, reason string) bool {
	logged := reasonOr(reason, "(reason unavailable)")
	if user != "" {
		s.warnf("%s: SASL %.50s authentication failed: %s, sasl_username=%s", s.client(), mech, logged, user)
	} else {
		s.warnf("%s: SASL %.50s authentication failed: %s", s.client(), mech, logged)
	}
	return s.say(535, "5.7.8", "Error: authentication failed: "+logged)
}
