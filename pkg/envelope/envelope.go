// Package envelope holds what the programs know of a message besides its
// content: sender, recipients, the client it came from and what was asked for
// it. The internal protocols and the queue file carry these types.
//
// Addresses are in internal form: local part without quoting, "@", domain;
// package address converts from and to the RFC 5321 form. No field may hold
// CR, LF or NUL; Validate refuses them, and every reader of a socket or a queue
// file calls it.
package envelope

import (
	"fmt"
	"time"

	"posthaste/pkg/wire"
)

// Notify is the NOTIFY parameter of RCPT (RFC 3461, section 4.1). Zero means
// that none was given.
type Notify uint8

// The values of Notify are a set, except NotifyNever, which stands alone.
const (
	NotifyNever   Notify = 1
	NotifySuccess Notify = 2
	NotifyFailure Notify = 4
	NotifyDelay   Notify = 8
)

// RecipientFlag is a property of one recipient.
type RecipientFlag uint8

const (
	// Implicit marks recipients that the configuration added (always_bcc and the
	// like): never reported to the sender.
	Implicit RecipientFlag = 1
)

// Recipient is one envelope recipient.
type Recipient struct {
	Num     uint32 // ordinal in the queue file from 0; never reused within a message
	Address string
	Orig    string // address before aliasing, "" if the same; X-Original-To
	Orcpt   string // ORCPT in decoded form, "rfc822;user@domain", "" if none
	Notify  Notify
	Flags   RecipientFlag
}

// Client says where a message came from; the names follow Postfix's
// client_name, reverse_client_name and so on. Mail that was not received over
// SMTP leaves it empty.
type Client struct {
	Name        string // verified host name or "unknown"
	ReverseName string // unverified PTR name or "unknown"
	Address     string // without brackets
	Port        string
	Helo        string
	Protocol    string // SMTP, ESMTP
	ServerAddr  string
	ServerPort  string
	SASLMethod  string
	SASLUser    string
	SASLSender  string // MAIL AUTH=
	TLS         string // text for the Received: header, "(using TLSv1.3 …)", "" without TLS
	TLSProtocol string
	TLSCipher   string
	TLSPeer     string // verified subject of the client certificate
}

// Message is the envelope without its recipients.
type Message struct {
	ID         string
	Arrival    time.Time
	Sender     string // "" is the null sender
	Envid      string // ENVID, decoded
	Ret        string // "FULL", "HDRS" or ""
	Body       string // "7BIT", "8BITMIME" or ""
	SMTPUTF8   bool
	Local      bool   // header rewriting context local (Postfix's rewrite_context=local)
	Origin     string // smtpd, pickup, bounce, local: log_message_origin's program
	FullName   string // sendmail -F
	UID        int    // submitting user of pickup mail
	Hops       int    // Received: headers found, for the loop limit of forwarded mail
	Verbose    bool   // sendmail -v: report each delivery
	VerifyOnly bool   // sendmail -bv: report without delivery
	Client     Client
}

// MaxAddress bounds an address, MaxText any other text field, in bytes.
const (
	MaxAddress = 4096
	MaxText    = 8192
)

func bad(what, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s is longer than %d bytes", what, most)
	}
	for i := range len(s) {
		if c := s[i]; c == '\r' || c == '\n' || c == 0 {
			return fmt.Errorf("%s contains a line break or NUL", what)
		}
	}
	return nil
}

// Validate refuses a recipient that could not have come from a well-behaved
// program.
func (r *Recipient) Validate() error {
	for _, s := range []string{r.Address, r.Orig, r.Orcpt} {
		if err := bad("recipient", s, MaxAddress); err != nil {
			return err
		}
	}
	if r.Notify > 15 || r.Notify&NotifyNever != 0 && r.Notify != NotifyNever {
		return fmt.Errorf("notify flags %d", r.Notify)
	}
	return nil
}

func (m *Message) texts() []*string {
	c := &m.Client
	return []*string{&m.ID, &m.Sender, &m.Envid, &m.Ret, &m.Body, &m.Origin, &m.FullName,
		&c.Name, &c.ReverseName, &c.Address, &c.Port, &c.Helo, &c.Protocol, &c.ServerAddr, &c.ServerPort,
		&c.SASLMethod, &c.SASLUser, &c.SASLSender, &c.TLS, &c.TLSProtocol, &c.TLSCipher, &c.TLSPeer}
}

// Validate refuses an envelope that could not have come from a well-behaved
// program.
func (m *Message) Validate() error {
	for _, s := range m.texts() {
		if err := bad("envelope field", *s, MaxText); err != nil {
			return err
		}
	}
	return bad("sender", m.Sender, MaxAddress)
}

// Encode appends m to e.
func (m *Message) Encode(e *wire.Encoder) {
	for _, s := range m.texts() {
		e.String(*s)
	}
	e.Time(m.Arrival)
	e.Bool(m.SMTPUTF8)
	e.Bool(m.Local)
	e.Bool(m.Verbose)
	e.Bool(m.VerifyOnly)
	e.Int(int64(m.UID))
	e.Int(int64(m.Hops))
}

// Decode reads what Encode wrote; errors show in d.
func (m *Message) Decode(d *wire.Decoder) {
	for _, s := range m.texts() {
		*s = d.String()
	}
	m.Arrival = d.Time()
	m.SMTPUTF8 = d.Bool()
	m.Local = d.Bool()
	m.Verbose = d.Bool()
	m.VerifyOnly = d.Bool()
	m.UID = int(d.Int())
	m.Hops = int(d.Int())
}

// Encode appends r to e.
func (r *Recipient) Encode(e *wire.Encoder) {
	e.Uint(uint64(r.Num))
	e.String(r.Address)
	e.String(r.Orig)
	e.String(r.Orcpt)
	e.Uint(uint64(r.Notify))
	e.Uint(uint64(r.Flags))
}

// Decode reads what Encode wrote; errors show in d.
func (r *Recipient) Decode(d *wire.Decoder) {
	r.Num = uint32(d.Uint())
	r.Address = d.String()
	r.Orig = d.String()
	r.Orcpt = d.String()
	r.Notify = Notify(d.Uint())
	r.Flags = RecipientFlag(d.Uint())
}

// Status is what became of one recipient in one delivery attempt.
type Status uint8

const (
	Deferred      Status = iota // try again later
	Sent                        // delivered to its final place, or relayed (Relayed tells)
	Bounced                     // failed for good
	Expired                     // failed: too long in the queue
	Discarded                   // thrown away by a named rule
	Deliverable                 // sendmail -bv: would be delivered
	Undeliverable               // sendmail -bv: would not
)

// Outcome is the result of one delivery attempt for one recipient, as an agent
// reports it, the queue file records it and a DSN shows it (RFC 3464).
type Outcome struct {
	Num      uint32
	Status   Status
	DSN      string // enhanced status code, "2.0.0"
	Relay    string // as logged: "mx.example[192.0.2.1]:25", "local", "none"
	Reason   string // text in the log's parentheses and in the DSN
	DiagType string // Diagnostic-Code type: "smtp", "x-unix", "x-posthaste"
	DiagText string // Diagnostic-Code text, "" for Reason
	MTAName  string // Remote-MTA name for "dns; name", "" if none
	Action   string // DSN action if it is not implied by Status: "relayed", "expanded", "delivered"
	When     time.Time
}

// Encode appends o to e.
func (o *Outcome) Encode(e *wire.Encoder) {
	e.Uint(uint64(o.Num))
	e.Uint(uint64(o.Status))
	for _, s := range []string{o.DSN, o.Relay, o.Reason, o.DiagType, o.DiagText, o.MTAName, o.Action} {
		e.String(s)
	}
	e.Time(o.When)
}

// Decode reads what Encode wrote; errors show in d.
func (o *Outcome) Decode(d *wire.Decoder) {
	o.Num = uint32(d.Uint())
	o.Status = Status(d.Uint())
	for _, s := range []*string{&o.DSN, &o.Relay, &o.Reason, &o.DiagType, &o.DiagText, &o.MTAName, &o.Action} {
		*s = d.String()
	}
	o.When = d.Time()
}

// Validate refuses an outcome that could not have come from a well-behaved
// program.
func (o *Outcome) Validate() error {
	if o.Status > Undeliverable {
		return fmt.Errorf("outcome status %d", o.Status)
	}
	for _, s := range []string{o.DSN, o.Relay, o.Reason, o.DiagType, o.DiagText, o.MTAName, o.Action} {
		if err := bad("outcome", s, MaxText); err != nil {
			return err
		}
	}
	return nil
}
