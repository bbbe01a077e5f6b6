package main

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"posthaste/pkg/imapwire"
)

// Limits of what an IMAP client may say before it has logged in.
const (
	imapLine    = 36 << 10 // ID may have 30 fields of 30 and 1,024 octets (RFC 2971)
	imapLiteral = 4096
	imapCommand = 40 << 10
	imapAnswer  = 8192 // to a challenge
)

// imapBase is what imapd announces after the login; a test holds the two
// together. To it come the mechanisms, and what depends on the connection.
const imapBase = "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UIDPLUS MOVE UNSELECT " +
	"LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE MULTIAPPEND ESEARCH SEARCHRES WITHIN CONDSTORE QRESYNC " +
	"SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES BINARY STATUS=SIZE OBJECTID PREVIEW SAVEDATE " +
	"UTF8=ACCEPT QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE SASL-IR"

// imap is one IMAP client before login.
type imap struct {
	*client
	r imapwire.Reader
}

// errTooLong ends the connection: what follows is not worth reading.
var errTooLong = errors.New("too long")

func (i *imap) run() error {
	i.r = imapwire.Reader{
		R:      i.br,
		Limits: imapwire.Limits{Line: imapLine, Literal: imapLiteral, Command: imapCommand},
		Continue: func() error {
			i.say("+ OK")
			return i.flush()
		},
		// Nobody logs in with a large literal.
		Stream: func(cmd []byte, l imapwire.Literal) bool { return l.Size > imapLiteral },
	}
	i.say("* OK [CAPABILITY ", i.capabilities(), "] ", i.srv.greeting)
	for n := 0; ; n++ {
		// Answers to commands that came together leave together.
		if i.br.Buffered() == 0 || len(i.out) > 4096 {
			if err := i.flush(); err != nil {
				return err
			}
		}
		if n >= maxCommands || i.bad >= maxBad {
			i.why = "Too many invalid commands"
			if n >= maxCommands {
				i.why = "Too many commands"
			}
			i.say("* BYE ", i.why)
			i.flush()
			return errLeave
		}
		cmd, lit, err := i.r.ReadCommand()
		if err == nil && lit != nil {
			if lit.NonSync {
				err = errTooLong
			} else {
				err = imapwire.ErrLiteralTooLong
			}
		}
		if err == nil {
			err = i.command(cmd)
		} else {
			err = i.unreadable(cmd, err)
		}
		if err != nil || i.handed {
			return err
		}
	}
}

// unreadable answers a command that could not be read; nil means that the next
// one can be.
func (i *imap) unreadable(cmd []byte, err error) error {
	switch {
	case errors.Is(err, imapwire.ErrLineTooLong), errors.Is(err, imapwire.ErrLiteralTooLong), errors.Is(err, imapwire.ErrCommandTooLong):
		p := imapwire.NewParser(cmd)
		tag := p.Tag()
		if p.Err() != nil {
			tag = "*"
		}
		i.bad++
		i.say(tag, " BAD Error in IMAP command: ", err.Error())
		return nil
	case errors.Is(err, imapwire.ErrFlood), err == errTooLong:
		i.why = "Too long a command"
		i.lastWords("* BYE Command is too long")
		return errLeave
	case i.evicted.Load():
		i.lastWords("* BYE Too many connections are waiting to log in")
	case timedOut(err):
		i.lastWords("* BYE Disconnected for inactivity")
	case i.ctx.Err() != nil:
		i.lastWords("* BYE Server is shutting down")
	}
	return err
}

func (i *imap) capabilities() string {
	names, plain, err := i.mechanisms()
	s := imapBase
	if i.tls == nil && i.srv.tls != nil {
		s += " STARTTLS"
	}
	if !plain || err != nil {
		s += " LOGINDISABLED"
	}
	for _, n := range names {
		s += " AUTH=" + n
	}
	return s
}

// command runs one command.
func (i *imap) command(cmd []byte) error {
	p := imapwire.NewParser(cmd)
	tag := p.Tag()
	if p.Err() != nil {
		return i.badCommand("*", "no tag")
	}
	p.SP()
	verb := p.Keyword()
	if p.Err() != nil {
		return i.badCommand(tag, "no command")
	}
	switch verb {
	case "CAPABILITY", "NOOP", "LOGOUT", "STARTTLS":
		if p.End(); p.Err() != nil {
			return i.badCommand(tag, p.Err().Error())
		}
	}
	switch verb {
	case "CAPABILITY":
		i.say("* CAPABILITY ", i.capabilities())
		i.say(tag, " OK Capability completed.")
	case "NOOP":
		i.say(tag, " OK NOOP completed.")
	case "ID":
		return i.id(tag, p)
	case "LOGOUT":
		i.why = "Aborted login by logging out"
		i.say("* BYE Logging out")
		i.say(tag, " OK Logout completed.")
		i.flush()
		return errLeave
	case "STARTTLS":
		return i.starttls(tag)
	case "LOGIN":
		return i.login(tag, p)
	case "AUTHENTICATE":
		return i.authenticate(tag, p)
	default:
		return i.badCommand(tag, "unknown command, or one that needs a login first")
	}
	return nil
}

func (i *imap) badCommand(tag, why string) error {
	i.bad++
	i.say(tag, " BAD Error in IMAP command: ", why)
	return nil
}

// id is ID (RFC 2971).
func (i *imap) id(tag string, p *imapwire.Parser) error {
	p.SP()
	if p.Peek() != '(' {
		p.NString() // NIL
	} else {
		p.Open()
		for n := 0; p.Peek() != ')' && p.Err() == nil; n++ {
			if n > 0 {
				p.SP()
			}
			if n == 30 {
				p.Fail("more than 30 fields")
			}
			p.String()
			p.SP()
			p.NString()
		}
		p.Close()
	}
	if p.End(); p.Err() != nil {
		return i.badCommand(tag, p.Err().Error())
	}
	i.say(`* ID ("name" "Posthaste")`)
	i.say(tag, " OK ID completed.")
	return nil
}

func (i *imap) starttls(tag string) error {
	switch {
	case i.tls != nil:
		return i.badCommand(tag, "TLS is already active")
	case i.srv.tls == nil:
		return i.badCommand(tag, "TLS is not available")
	}
	i.say(tag, " OK Begin TLS negotiation now.")
	if err := i.flush(); err != nil {
		return err
	}
	return i.handshake()
}

func (i *imap) login(tag string, p *imapwire.Parser) error {
	p.SP()
	user := string(p.AString())
	p.SP()
	pass := string(p.AString())
	if p.End(); p.Err() != nil {
		return i.badCommand(tag, p.Err().Error())
	}
	v, cookie, text := i.attempt("PLAIN", []byte("\x00"+user+"\x00"+pass), func([]byte) ([]byte, verdict) { return nil, denied })
	if v == insecure && i.user == "" {
		i.user = user
	}
	return i.judge(tag, v, cookie, text)
}

func (i *imap) authenticate(tag string, p *imapwire.Parser) error {
	p.SP()
	mech := p.Keyword()
	var initial []byte
	if p.Err() == nil && p.Try(' ') {
		b := p.Rest()
		var ok bool
		if initial, ok = decodeResponse(b); !ok {
			return i.badCommand(tag, "initial response is not base64")
		}
	} else if p.End(); p.Err() != nil {
		return i.badCommand(tag, p.Err().Error())
	}
	var lost error
	v, cookie, text := i.attempt(mech, initial, func(challenge []byte) ([]byte, verdict) {
		i.say("+ ", base64.StdEncoding.EncodeToString(challenge))
		if lost = i.flush(); lost != nil {
			return nil, gone
		}
		line, long, err := i.line(imapAnswer)
		switch {
		case err != nil:
			lost = i.unreadable(nil, err)
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
	return i.judge(tag, v, cookie, text)
}

// judge tells the client the verdict; with success, the session program does.
func (i *imap) judge(tag string, v verdict, cookie, text string) error {
	no := func(code, def string) {
		if text == "" {
			text = def
		}
		i.say(tag, " NO [", code, "] ", text)
	}
	switch v {
	case accepted:
		if err := i.flush(); err != nil {
			return err
		}
		err := i.handOver(cookie, tag)
		if err == nil {
			return nil
		}
		if errors.Is(err, errTooMany) {
			i.over, i.why = true, i.srv.tooMany()
			no("LIMIT", i.why)
			i.lastWords("* BYE " + i.why)
			return errLeave
		}
		if !i.evicted.Load() {
			i.why = "Internal login failure"
			i.srv.log.Warningf("imap-login: user=<%s>: cannot hand over: %v", strings.Trim(i.user, "<>"), err)
		}
		i.raw.SetWriteDeadline(time.Now().Add(farewell))
		i.say(tag, " NO [UNAVAILABLE] Internal login failure, try again later.")
		i.say("* BYE Internal login failure, try again later.")
		i.flush()
		return errLeave
	case cancelled:
		i.say(tag, " BAD Authentication aborted by client.")
	case malformed:
		i.bad++
		i.say(tag, " BAD Invalid base64 data in response.")
	case insecure:
		i.say("* BAD [ALERT] Plaintext authentication is not allowed without TLS, but your client did it anyway. If anyone was listening, the password was exposed.")
		no("PRIVACYREQUIRED", "Plaintext authentication disallowed on non-secure (SSL/TLS) connections.")
	case trouble:
		no("UNAVAILABLE", "Temporary authentication failure.")
	case later:
		i.why = "Too many failures from this address"
		i.attempts++
		no("UNAVAILABLE", "Too many failed logins, try again later.")
		i.say("* BYE Too many failed logins")
		i.flush()
		return errLeave
	default:
		no("AUTHENTICATIONFAILED", "Authentication failed.")
		if i.attempts >= i.srv.sessionFailures {
			i.say("* BYE Too many failed logins")
			i.flush()
			return errLeave
		}
	}
	return nil
}
