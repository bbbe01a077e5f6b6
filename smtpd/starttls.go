package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"posthaste/pkg/esmtp"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/tlsconf"
)

// starttls switches to TLS (RFC 3207). Whatever the client said before, or
// sent behind the command, is forgotten.
func (s *session) starttls(args string) bool {
	switch {
	case args != "":
		return s.say(501, "5.5.4", "Syntax: STARTTLS")
	case s.facts.TLS:
		return s.say(554, "5.5.1", "Error: TLS already active")
	case s.srv.env.Stdio || s.srv.tlsLvl == tlsconf.None || discarded(s.discard, "STARTTLS"):
		return s.say(502, "5.5.1", "Error: command not implemented")
	case s.srv.tls == nil:
		return s.say(454, "4.7.0", "TLS not available due to local problem")
	case s.over(anvil.NewTLS, s.set.tlsRate, "New TLS session rate"):
		return s.say(454, "4.7.0", "Error: too many new TLS sessions from "+s.facts.ClientAddr)
	}
	s.say(220, "2.0.0", "Ready to start TLS")
	if s.flush() != nil {
		s.closing = true
		return false
	}
	s.forget()
	if !s.handshake() {
		s.closing, s.silent = true, true
		return false
	}
	return !s.closing
}

// handshake makes the connection a TLS one.
func (s *session) handshake() bool {
	if s.srv.tls == nil {
		s.warnf("TLS is not available: dropping %s", s.client())
		return false
	}
	if s.set.wrapper && s.over(anvil.NewTLS, s.set.tlsRate, "New TLS session rate") {
		return false
	}
	conn := tlsconf.Accept(s.raw, s.srv.tls)
	s.in.Reset((*network)(s)) // what was sent in plain text behind STARTTLS goes
	s.raw.SetDeadline(time.Now().Add(s.set.tlsTimeout))
	ctx, cancel := context.WithTimeout(s.ctx, s.set.tlsTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.log().Infof("SSL_accept error from %s: %v", s.client(), err)
		s.abnormal("lost connection", 0)
		return false
	}
	s.raw.SetDeadline(time.Time{})
	s.readBy.Forget()
	s.writeBy.Forget()
	s.sock, s.tlsConn = conn, conn
	cs := conn.ConnectionState()
	f := &s.facts
	var kx string
	f.TLS = true
	f.TLSProtocol, f.TLSCipher, f.TLSBits, kx = tlsconf.DescribeServer(cs, tlsconf.Leaf(conn))
	trust := "Anonymous"
	if len(cs.PeerCertificates) > 0 {
		trust = s.clientCert(cs)
	}
	if s.set.tlsLog > 0 {
		s.log().Event(maillog.TLSEstablished{Trust: trust, Peer: "from " + s.client().String(), Protocol: f.TLSProtocol, Cipher: f.TLSCipher, Bits: f.TLSBits, KeyExchange: kx})
	}
	if s.set.tlsReqCert && !f.CertTrusted && (s.srv.tlsLvl.Mandatory() || s.set.wrapper) {
		text := "Error: No client certificate presented"
		if f.CertFinger != "" {
			text = "Error: Client certificate not trusted"
		}
		s.reply(esmtp.Reply{Code: 421, Enh: "4.7.1", Text: s.set.hostname + " " + text})
		s.flush()
	}
	return true
}

// clientCert takes down what the client's certificate says and returns the
// word for the log.
func (s *session) clientCert(cs tls.ConnectionState) string {
	c := cs.PeerCertificates[0]
	f := &s.facts
	f.CertSubject, f.CertIssuer = clean(c.Subject.CommonName), clean(c.Issuer.CommonName)
	f.CertFinger = s.fingerprint(c.Raw)
	f.CertKeyFinger = s.fingerprint(c.RawSubjectPublicKeyInfo)
	if s.srv.tls.ClientCAs != nil && tlsconf.VerifyClient(&cs, s.srv.tls.ClientCAs) == nil {
		f.CertTrusted = true
		return "Trusted"
	}
	f.CertSubject, f.CertIssuer = "", "" // nobody vouches for them
	return "Untrusted"
}

// clean makes text of a certificate fit for envelopes.
func clean(t string) string {
	if len(t) > 256 {
		t = t[:256]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, t)
}

// fingerprint is the digest of smtpd_tls_fingerprint_digest as Postfix writes
// it: upper-case pairs joined by colons.
func (s *session) fingerprint(der []byte) string {
	var sum []byte
	switch strings.ToLower(s.set.fingerprint) {
	case "md5":
		x := md5.Sum(der)
		sum = x[:]
	case "sha1":
		x := sha1.Sum(der)
		sum = x[:]
	case "sha512":
		x := sha512.Sum512(der)
		sum = x[:]
	default:
		x := sha256.Sum256(der)
		sum = x[:]
	}
	h := bytes.ToUpper([]byte(hex.EncodeToString(sum)))
	b := make([]byte, 0, len(h)*3/2)
	for i := 0; i < len(h); i += 2 {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, h[i], h[i+1])
	}
	return string(b)
}

// tlsText is what the Received: header says of the connection
// (smtpd_tls_received_header).
func (s *session) tlsText() string {
	f := &s.facts
	if !f.TLS || !s.set.tlsHeader {
		return ""
	}
	t := fmt.Sprintf("(using %s with cipher %s (%d/%d bits))", f.TLSProtocol, f.TLSCipher, f.TLSBits, f.TLSBits)
	switch {
	case f.CertTrusted:
		t += fmt.Sprintf(" (Client CN %q, Issuer %q (verified OK))", f.CertSubject, f.CertIssuer)
	case f.CertFinger != "":
		t += " (Client did not present a trusted certificate)"
	case s.set.tlsAskCert:
		t += " (Client did not present a certificate)"
	default:
		t += " (No client certificate requested)"
	}
	return t
}
