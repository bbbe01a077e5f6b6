package maillog

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Host is a peer as the log names it: NAME[ADDRESS].
type Host struct{ Name, Addr string }

func (h Host) String() string {
	n := h.Name
	if n == "" {
		n = "unknown"
	}
	return n + "[" + h.Addr + "]"
}

// Connected is logged when smtpd accepts a connection.
type Connected struct{ Client Host }

func (Connected) Queue() string  { return "" }
func (e Connected) Text() string { return "connect from " + e.Client.String() }

// CommandCount counts one command of a session for the Disconnected event.
type CommandCount struct {
	Name      string
	OK, Total int
}

// Disconnected ends a session and counts its commands, in the order given;
// commands that were not used are left out by the caller.
type Disconnected struct {
	Client   Host
	Commands []CommandCount
}

func (Disconnected) Queue() string { return "" }
func (e Disconnected) Text() string {
	b := make([]byte, 0, 160)
	b = append(b, "disconnect from "...)
	b = append(b, e.Client.String()...)
	ok, total := 0, 0
	put := func(name string, o, t int) {
		b = append(append(append(b, ' '), name...), '=')
		if o != t {
			b = append(strconv.AppendInt(b, int64(o), 10), '/')
		}
		b = strconv.AppendInt(b, int64(t), 10)
	}
	for _, c := range e.Commands {
		put(c.Name, c.OK, c.Total)
		ok += c.OK
		total += c.Total
	}
	put("commands", ok, total)
	return string(b)
}

// Received is smtpd's line that joins a queue id to a client.
type Received struct {
	ID                               string
	Client                           Host
	SASLMethod, SASLUser, SASLSender string
	OrigQueueID                      string // XFORWARD
	OrigClient                       *Host
}

func (e Received) Queue() string { return e.ID }
func (e Received) Text() string {
	s := "client=" + e.Client.String()
	if e.SASLMethod != "" {
		s += ", sasl_method=" + e.SASLMethod
	}
	if e.SASLUser != "" {
		s += ", sasl_username=" + e.SASLUser
	}
	if e.SASLSender != "" {
		s += ", sasl_sender=" + e.SASLSender
	}
	if e.OrigQueueID != "" {
		s += ", orig_queue_id=" + e.OrigQueueID
	}
	if e.OrigClient != nil {
		s += ", orig_client=" + e.OrigClient.String()
	}
	return s
}

// Policy is a decision of smtpd or cleanup that log readers parse:
// reject, reject_warning, hold, discard, filter, redirect, bcc, warn, info, …
type Policy struct {
	ID       string // "" is rendered as NOQUEUE
	Verb     string
	Stage    string // CONNECT, HELO, EHLO, MAIL, RCPT, DATA, END-OF-MESSAGE, VRFY, ETRN, AUTH; or "header Subject: …" with cleanup
	Client   Host
	Text_    string // reply with codes
	Sender   *string
	Rcpt     *string
	Protocol string
	Helo     string
	SASLUser string
	Setting  string // main.cf or table position behind the decision, JSON only
}

func (e Policy) Queue() string {
	if e.ID == "" {
		return "NOQUEUE"
	}
	return e.ID
}
func (e Policy) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s from %s: %s;", e.Verb, e.Stage, e.Client, e.Text_)
	tail(&b, e.Sender, e.Rcpt, e.Protocol, e.Helo)
	if e.SASLUser != "" {
		fmt.Fprintf(&b, " sasl_username=<%s>", e.SASLUser)
	}
	return b.String()
}

func tail(b *strings.Builder, sender, rcpt *string, proto, helo string) {
	if sender != nil {
		fmt.Fprintf(b, " from=<%s>", *sender)
	}
	if rcpt != nil {
		fmt.Fprintf(b, " to=<%s>", *rcpt)
	}
	if proto != "" {
		fmt.Fprintf(b, " proto=%s", proto)
	}
	if helo != "" {
		fmt.Fprintf(b, " helo=<%s>", helo)
	}
}

// ContentAction is cleanup's line for a header_checks or body_checks match.
type ContentAction struct {
	ID       string
	Verb     string // reject, warning, hold, discard, filter, redirect, replace, prepend, strip, bcc, info
	Where    string // header, mime-header, nested-header, body
	Line     string
	Client   string // "mail.example[192.0.2.1]" or "local"
	Sender   string
	Rcpt     string
	Protocol string
	Helo     string
	Reason   string
}

func (e ContentAction) Queue() string { return e.ID }
func (e ContentAction) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %.200s from %s;", e.Verb, e.Where, e.Line, e.Client)
	tail(&b, &e.Sender, &e.Rcpt, e.Protocol, e.Helo)
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	return b.String()
}

// SessionEnd is an abnormal end: Kind is "lost connection", "timeout" or
// "too many errors".
type SessionEnd struct {
	Kind, Stage string
	Bytes       int64 // content bytes received so far, only when Stage is DATA or BDAT and there were some
	Client      Host
}

func (SessionEnd) Queue() string { return "" }
func (e SessionEnd) Text() string {
	if e.Bytes > 0 {
		return fmt.Sprintf("%s after %s (%d bytes) from %s", e.Kind, e.Stage, e.Bytes, e.Client)
	}
	return fmt.Sprintf("%s after %s from %s", e.Kind, e.Stage, e.Client)
}

// MessageID is cleanup's line.
type MessageID struct {
	ID, MessageID string
	Resent        bool
}

func (e MessageID) Queue() string { return e.ID }
func (e MessageID) Text() string {
	if e.Resent {
		return "resent-message-id=" + e.MessageID
	}
	return "message-id=" + e.MessageID
}

// PickedUp is pickup's line for a message from sendmail(1).
type PickedUp struct {
	ID   string
	UID  int
	From string
}

func (e PickedUp) Queue() string { return e.ID }
func (e PickedUp) Text() string  { return fmt.Sprintf("uid=%d from=<%s>", e.UID, e.From) }

// QueueActive is qmgr's line when a message enters the active queue.
type QueueActive struct {
	ID, From string
	Size     int64
	Rcpts    int
}

func (e QueueActive) Queue() string { return e.ID }
func (e QueueActive) Text() string {
	return "from=<" + e.From + ">, size=" + strconv.FormatInt(e.Size, 10) + ", nrcpt=" + strconv.Itoa(e.Rcpts) + " (queue active)"
}

// Removed is qmgr's line when a message leaves the system.
type Removed struct{ ID string }

func (e Removed) Queue() string { return e.ID }
func (Removed) Text() string    { return "removed" }

// ExpiredMessage is qmgr's line when a message was too long in the queue.
type ExpiredMessage struct {
	ID, From string
	Forced   bool
}

func (e ExpiredMessage) Queue() string { return e.ID }
func (e ExpiredMessage) Text() string {
	w := "expired"
	if e.Forced {
		w = "force-expired"
	}
	return fmt.Sprintf("from=<%s>, status=%s, returned to sender", e.From, w)
}

// Delivery is the line of one recipient's delivery attempt.
type Delivery struct {
	ID      string
	To      string
	OrigTo  string // only if different from To
	Relay   string
	ConnUse int // printed when above 1
	Delays  Delays
	DSN     string
	Status  string // sent, deferred, bounced, deliverable, undeliverable, SOFTBOUNCE
	Reason  string
}

// Delays holds the instants of one delivery.
type Delays struct {
	Arrival, Activated, Started, Connected, Finished time.Time // Connected may be zero: no connection was made
}

func (e Delivery) Queue() string { return e.ID }
func (e Delivery) Text() string {
	b := make([]byte, 0, 256)
	b = append(b, "to=<"...)
	b = append(b, e.To...)
	b = append(b, '>')
	if e.OrigTo != "" && e.OrigTo != e.To {
		b = append(b, ", orig_to=<"...)
		b = append(b, e.OrigTo...)
		b = append(b, '>')
	}
	b = append(b, ", relay="...)
	b = append(b, e.Relay...)
	if e.ConnUse > 1 {
		b = append(b, ", conn_use="...)
		b = strconv.AppendInt(b, int64(e.ConnUse), 10)
	}
	d := e.Delays
	b = append(b, ", delay="...)
	b = appendDelay(b, d.Finished.Sub(d.Arrival))
	b = append(b, ", delays="...)
	conn := d.Connected
	if conn.IsZero() {
		conn = d.Started
	}
	for i, x := range [...]time.Duration{d.Activated.Sub(d.Arrival), d.Started.Sub(d.Activated), conn.Sub(d.Started), d.Finished.Sub(conn)} {
		if i > 0 {
			b = append(b, '/')
		}
		b = appendDelay(b, x)
	}
	b = append(b, ", dsn="...)
	b = append(b, e.DSN...)
	b = append(b, ", status="...)
	b = append(b, e.Status...)
	b = append(b, " ("...)
	b = append(b, e.Reason...)
	return string(append(b, ')'))
}

// appendDelay renders seconds with two significant digits below 100 and at
// most two decimals (delay_logging_resolution_limit's default).
func appendDelay(b []byte, d time.Duration) []byte {
	s := d.Seconds()
	switch {
	case s < 0.005:
		return append(b, '0')
	case s < 0.0995:
		return trimZeros(strconv.AppendFloat(b, s, 'f', 2, 64), len(b))
	case s < 9.95:
		prec := 1
		if s < 0.995 {
			prec = 2
		}
		return trimZeros(strconv.AppendFloat(b, s, 'f', prec, 64), len(b))
	}
	return strconv.AppendInt(b, int64(math.Round(s)), 10)
}

func trimZeros(b []byte, from int) []byte {
	for len(b) > from && b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	if len(b) > from && b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	return b
}

// Notification is bounce's line that joins a report to its message. Kind is
// "sender non-delivery notification", "sender delay notification",
// "sender delivery status notification" or one for the postmaster.
type Notification struct{ ID, Kind, NewID string }

func (e Notification) Queue() string { return e.ID }
func (e Notification) Text() string  { return e.Kind + ": " + e.NewID }

// TLSEstablished is the summary line of a handshake. Trust is Anonymous,
// Untrusted, Trusted or Verified; Peer is "from H[A]" or "to H[A]:25".
type TLSEstablished struct {
	Trust, Peer, Protocol, Cipher string
	Bits                          int
	KeyExchange                   string
}

func (TLSEstablished) Queue() string { return "" }
func (e TLSEstablished) Text() string {
	s := fmt.Sprintf("%s TLS connection established %s: %s with cipher %s (%d/%d bits)", e.Trust, e.Peer, e.Protocol, e.Cipher, e.Bits, e.Bits)
	if e.KeyExchange != "" {
		s += " key-exchange " + e.KeyExchange
	}
	return s
}

// Line is an info line about one message that has no type of its own.
type Line struct{ ID, Message string }

func (e Line) Queue() string { return e.ID }
func (e Line) Text() string  { return e.Message }

// LoginPeer is what Dovecot's lines about a login say of the connection.
type LoginPeer struct {
	User, Method string // "" if nobody tried
	Remote       string // address
	Local        string
	TLS          bool
	Secured      bool   // no TLS, but the same host
	Note         string // at the end: trouble with TLS
}

func (p LoginPeer) text(b *strings.Builder) {
	b.WriteString("user=<")
	b.WriteString(strings.NewReplacer("<", "?", ">", "?").Replace(p.User))
	b.WriteString(">")
	if p.Method != "" {
		b.WriteString(", method=" + p.Method)
	}
	b.WriteString(", rip=" + p.Remote + ", lip=" + p.Local)
	switch {
	case p.TLS:
		b.WriteString(", TLS")
	case p.Secured:
		b.WriteString(", secured")
	}
	if p.Note != "" {
		b.WriteString(", " + strings.NewReplacer("<", "?", ">", "?").Replace(p.Note))
	}
}

// Login is login's line for a session that was handed to its program, in
// Dovecot's form. Service is "imap" or "pop3".
type Login struct {
	Service string
	LoginPeer
}

func (Login) Queue() string { return "" }
func (e Login) Text() string {
	var b strings.Builder
	b.WriteString(e.Service + "-login: Login: ")
	e.text(&b)
	return b.String()
}

// LoginEnd is login's line for a connection that ended without a login, in
// Dovecot's form: fail2ban looks for it. Tries describes the attempts: "auth
// failed, 1 attempts in 2 secs", "no auth attempts in 5 secs"; "" when none failed.
type LoginEnd struct {
	Service string
	Why     string // "Connection closed", "Inactivity"; may be ""
	Tries   string
	LoginPeer
}

func (LoginEnd) Queue() string { return "" }
func (e LoginEnd) Text() string {
	var b strings.Builder
	b.WriteString(e.Service + "-login: Disconnected")
	if e.Why != "" {
		b.WriteString(": " + e.Why)
	}
	if e.Tries != "" {
		b.WriteString(" (" + e.Tries + ")")
	}
	b.WriteString(": ")
	e.text(&b)
	return b.String()
}

// Pop3End is pop3d's line at the end of a session, in Dovecot's form. Why is
// "Logged out", "Connection closed" or the like.
type Pop3End struct {
	User, Why           string
	Tops, Retrs         int
	TopBytes, RetrBytes int64
	Deleted, Messages   int
	Size                int64 // of the mailbox when the session began
}

func (Pop3End) Queue() string { return "" }
func (e Pop3End) Text() string {
	return fmt.Sprintf("pop3(%s): Disconnected: %s top=%d/%d, retr=%d/%d, del=%d/%d, size=%d",
		e.User, e.Why, e.Tops, e.TopBytes, e.Retrs, e.RetrBytes, e.Deleted, e.Messages, e.Size)
}

// ImapEnd is imapd's line at the end of a session, in Dovecot's form. Why is
// "Logged out", "Connection closed" or the like.
type ImapEnd struct {
	User, Why string
	In, Out   int64 // octets
	Commands  []CommandCount
}

func (ImapEnd) Queue() string { return "" }
func (e ImapEnd) Text() string {
	b := fmt.Appendf(nil, "imap(%s): Disconnected: %s in=%d out=%d", e.User, e.Why, e.In, e.Out)
	for _, c := range e.Commands {
		b = fmt.Appendf(b, " %s=%d", c.Name, c.OK)
		if c.OK != c.Total {
			b = fmt.Appendf(b, "/%d", c.Total)
		}
	}
	return string(b)
}
