package main

import (
	"encoding/base64"
	"errors"
	"strings"

	"posthaste/pkg/pop3"
)

// pop3Client is one POP3 client before login: RFC 1939's AUTHORIZATION state.
type pop3Client struct {
	*client
	name string // of USER
	utf8 bool   // UTF8 was given (RFC 6856)
}

func (p *pop3Client) run() error {
	p.say("+OK ", p.srv.greeting)
	for n := 0; ; n++ {
		if p.br.Buffered() == 0 || len(p.out) > 4096 {
			if err := p.flush(); err != nil {
				return err
			}
		}
		if n >= maxCommands || p.bad >= maxBad {
			p.why = "Too many invalid commands"
			if n >= maxCommands {
				p.why = "Too many commands"
			}
			p.say("-ERR ", p.why)
			p.flush()
			return errLeave
		}
		line, long, err := p.line(pop3.MaxAuthLine)
		switch {
		case err != nil:
			return p.lost(err)
		case long || len(line) > pop3.MaxLine && !strings.EqualFold(string(line[:5]), "AUTH "):
			p.error("Command is too long")
			continue
		}
		c, err := pop3.Parse(line)
		if err != nil {
			p.error("Malformed command")
			continue
		}
		if err := p.command(c); err != nil || p.handed {
			return err
		}
	}
}

// lost says good-bye to a client whose time, or place, is up.
func (p *pop3Client) lost(err error) error {
	switch {
	case p.evicted.Load():
		p.lastWords("-ERR [SYS/TEMP] Too many connections are waiting to log in")
	case timedOut(err):
		p.lastWords("-ERR Disconnected for inactivity")
	case p.ctx.Err() != nil:
		p.lastWords("-ERR [SYS/TEMP] Server is shutting down")
	}
	return err
}

// error answers a bad command.
func (p *pop3Client) error(text string) {
	p.bad++
	p.say("-ERR ", text)
}

func (p *pop3Client) command(c pop3.Command) error {
	switch c.Verb {
	case "CAPA":
		names, plain, err := p.mechanisms()
		p.out = pop3.AppendCapa(p.out, pop3.Offer{STLS: p.tls == nil && p.srv.tls != nil, User: plain && err == nil, Mechs: names})
	case "STLS":
		return p.stls()
	case "UTF8":
		p.utf8 = true
		p.say("+OK UTF8 mode")
	case "USER":
		return p.user(c.Args)
	case "PASS":
		return p.pass(c.Args)
	case "AUTH":
		return p.auth(c.Fields())
	case "QUIT":
		p.why = "Aborted login by logging out"
		p.say("+OK Logging out")
		p.flush()
		return errLeave
	case "APOP":
		p.error("APOP is not available")
	default:
		p.error("Unknown command, or one that needs a login first")
	}
	return nil
}

func (p *pop3Client) stls() error {
	switch {
	case p.tls != nil:
		p.error("TLS is already active")
		return nil
	case p.srv.tls == nil:
		p.error("TLS is not available")
		return nil
	}
	p.say("+OK Begin TLS negotiation now.")
	if err := p.flush(); err != nil {
		return err
	}
	p.name, p.utf8 = "", false // nothing said in plain text counts
	return p.handshake()
}

func (p *pop3Client) user(name string) error {
	switch {
	case name == "":
		p.error("USER needs a name")
	case !p.plaintextAllowed():
		p.client.user, p.method, p.refused = name, "PLAIN", true
		p.say("-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.")
	default:
		p.name = name
		p.say("+OK")
	}
	return nil
}

func (p *pop3Client) pass(pass string) error {
	if p.name == "" {
		p.error("No username given.")
		return nil
	}
	name := p.name
	p.name = "" // RFC 1939: after a failure, USER again
	v, cookie, text := p.attempt("PLAIN", []byte("\x00"+name+"\x00"+pass), func([]byte) ([]byte, verdict) { return nil, denied })
	return p.judge(v, cookie, text)
}

// auth is AUTH (RFC 5034).
func (p *pop3Client) auth(f []string) error {
	if len(f) == 0 { // how clients asked before RFC 5034
		names, _, err := p.mechanisms()
		if err != nil {
			return p.judge(trouble, "", "")
		}
		p.say("+OK")
		for _, n := range names {
			p.say(n)
		}
		p.say(".")
		return nil
	}
	var initial []byte
	if len(f) > 2 {
		p.error("Syntax: AUTH mechanism [initial-response]")
		return nil
	} else if len(f) == 2 {
		var ok bool
		if initial, ok = decodeResponse([]byte(f[1])); !ok {
			return p.judge(malformed, "", "")
		}
	}
	var lost error
	v, cookie, text := p.attempt(strings.ToUpper(f[0]), initial, func(challenge []byte) ([]byte, verdict) {
		p.say("+ ", base64.StdEncoding.EncodeToString(challenge))
		if lost = p.flush(); lost != nil {
			return nil, gone
		}
		line, long, err := p.line(pop3.MaxAuthLine)
		switch {
		case err != nil:
			lost = p.lost(err)
			return nil, gone
		case long:
			return nil, malformed
		case string(line) == "*":
			return nil, cancelled
		}
		resp, ok := decodeResponse(line)
		if !ok {
			return nil, malformed
		}
		return resp, accepted
	})
	if v == gone {
		return lost
	}
	return p.judge(v, cookie, text)
}

// judge tells the client the verdict; with success, the session program does.
func (p *pop3Client) judge(v verdict, cookie, text string) error {
	or := func(def string) string {
		if text == "" {
			return def
		}
		return text
	}
	switch v {
	case accepted:
		if err := p.flush(); err != nil {
			return err
		}
		tag := ""
		if p.utf8 {
			tag = "UTF8"
		}
		err := p.handOver(cookie, tag)
		if err == nil {
			return nil
		}
		if errors.Is(err, errTooMany) {
			p.over, p.why = true, p.srv.tooMany()
			p.lastWords("-ERR [IN-USE] " + p.why)
			return errLeave
		}
		if !p.evicted.Load() {
			p.why = "Internal login failure"
			p.srv.log.Warningf("pop3-login: user=<%s>: cannot hand over: %v", strings.Trim(p.client.user, "<>"), err)
		}
		p.lastWords("-ERR [SYS/TEMP] Internal login failure, try again later.")
		return errLeave
	case cancelled:
		p.say("-ERR Authentication aborted by client.")
	case malformed:
		p.error("Invalid base64 data in response.")
	case insecure:
		p.say("-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.")
	case trouble:
		p.say("-ERR [SYS/TEMP] ", or("Temporary authentication failure."))
	case later:
		p.why = "Too many failures from this address"
		p.attempts++
		p.lastWords("-ERR [SYS/TEMP] Too many failed logins, try again later.")
		return errLeave
	default:
		p.say("-ERR [AUTH] ", or("Authentication failed."))
		if p.attempts >= p.srv.sessionFailures {
			p.flush()
			return errLeave
		}
	}
	return nil
}
