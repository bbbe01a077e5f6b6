// Package dsn builds delivery status notifications: multipart/report messages
// of RFC 6522 with the fields of RFC 3464, and their internationalized forms of
// RFC 6533. It is pure: facts in, message out. Line ends are CRLF.
package dsn

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"posthaste/pkg/envelope"
)

// Kind says what a report is about.
type Kind uint8

const (
	Failure    Kind = iota // recipients that failed for good
	Delay                  // recipients that are still being tried
	Success                // recipients that asked for NOTIFY=SUCCESS
	Trace                  // sendmail -v and -bv: every recipient
	DelayClear             // confirm_delay_cleared: delivered after a delay notice
)

// Role says for whom a report is.
type Role uint8

const (
	ForSender     Role = iota
	ForPostmaster      // copy that notify_classes asks for
	ForDouble          // the notification itself could not be delivered
)

// Recipient is one recipient with what became of it.
type Recipient struct {
	envelope.Recipient
	envelope.Outcome
}

// Report is everything that a notification says.
type Report struct {
	Kind         Kind
	Role         Role
	From         string // header From: address, external form
	To           string // header To: address, external form
	ReportingMTA string // myhostname
	MailName     string // mail_name, names the X- fields
	Postmaster   string // whom to ask, external form
	Date         time.Time
	Boundary     string // must not occur in the original

	ID      string // queue id of the original
	Message *envelope.Message
	Sender  string // original sender, external form, "" if null

	Recipients []Recipient
	// External renders an address for people and protocols (address.Quote).
	External func(string) string
	RetryEnd time.Time // when a delayed message is given up; zero: unknown

	Original   io.Reader // the original from its first byte; nil: not attached
	WithBody   bool      // attach it whole, not just its header
	EightBit   bool      // the original has bytes above 127
	UTF8       bool      // use the forms of RFC 6533
	References string    // Message-Id of the original for enable_threaded_bounces, "" for none
}

// MaxHeader bounds how much of an original's header is returned, in bytes.
const MaxHeader = 256 << 10

// text is what the first part says, by kind: subject, opening words, what
// follows them.
type text struct{ subject, postSubject, opening, description string }

var texts = [...]text{
	Failure: {"Undelivered Mail Returned to Sender", "Postmaster Copy: Undelivered Mail",
		"Your message could not be delivered to one or more recipients. It is\r\nattached below, in full or in part.\r\n", "Undelivered Message"},
	Delay: {"Delayed Mail (still being retried)", "Postmaster Warning: Delayed Mail",
		"THIS IS ONLY A WARNING. YOU NEED NOT SEND YOUR MESSAGE AGAIN.\r\n\r\nYour message has not yet reached one or more recipients. Delivery will\r\nbe attempted until %s.\r\n", "Undelivered Message"},
	Success: {"Successful Mail Delivery Report", "Postmaster Copy: Mail Delivery Report",
		"Your message has been delivered to the destinations listed below. If it\r\nwas handed to a system that sends no receipts, you may hear no more of it.\r\n", "Message Headers"},
	Trace: {"Mail Delivery Status Report", "Postmaster Copy: Mail Delivery Status Report",
		"This is the delivery report that you asked for.\r\n", "Message Headers"},
	DelayClear: {"Mail Delivered After Delay", "Postmaster Copy: Mail Delivered After Delay",
		"Your message, about whose delay you were told, has now been delivered to\r\nthe destinations listed below.\r\n", "Message Headers"},
}

// Subject is the report's Subject: line.
func (r *Report) Subject() string {
	t := texts[r.Kind]
	switch r.Role {
	case ForPostmaster:
		return t.postSubject
	case ForDouble:
		return "Postmaster Copy: Undelivered Mail"
	}
	return t.subject
}

// Write writes the report: header, three parts and the closing boundary. The
// error is w's or that of reading Original.
func (r *Report) Write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 8<<10)
	p := func(format string, a ...any) { fmt.Fprintf(b, format, a...) }
	charset, status := "us-ascii", "message/delivery-status"
	if r.UTF8 {
		charset, status = "utf-8", "message/global-delivery-status"
	}
	p("Date: %s\r\n", rfcDate(r.Date))
	p("From: Mail Delivery System <%s>\r\n", r.From)
	p("Subject: %s\r\n", r.Subject())
	p("To: %s\r\n", r.To)
	if r.References != "" {
		p("In-Reply-To: %s\r\nReferences: %s\r\n", r.References, r.References)
	}
	p("Auto-Submitted: auto-replied\r\n")
	p("MIME-Version: 1.0\r\n")
	p("Content-Type: multipart/report; report-type=%s;\r\n\tboundary=\"%s\"\r\n", strings.TrimPrefix(status, "message/"), r.Boundary)
	if r.EightBit || r.UTF8 {
		p("Content-Transfer-Encoding: 8bit\r\n")
	}
	p("\r\nThis is a MIME-encapsulated message.\r\n")

	p("\r\n--%s\r\nContent-Description: Notification\r\nContent-Type: text/plain; charset=%s\r\n", r.Boundary, charset)
	if r.UTF8 {
		p("Content-Transfer-Encoding: 8bit\r\n")
	}
	p("\r\n")
	r.writeText(b)

	p("\r\n--%s\r\nContent-Description: Delivery report\r\nContent-Type: %s\r\n", r.Boundary, status)
	if r.UTF8 {
		p("Content-Transfer-Encoding: 8bit\r\n")
	}
	p("\r\n")
	r.writeStatus(b)

	if r.Original != nil {
		if err := r.writeOriginal(b); err != nil {
			return err
		}
	}
	p("\r\n--%s--\r\n", r.Boundary)
	return b.Flush()
}

// writeText writes the part for people.
func (r *Report) writeText(b *bufio.Writer) {
	fmt.Fprintf(b, "This is the mail system at host %s.\r\n\r\n", r.ReportingMTA)
	switch {
	case r.Role == ForDouble:
		b.WriteString("A notification could not be delivered to the sender of the original\r\nmessage, so it has come to you.\r\n")
	case r.Kind == Delay:
		until := "it succeeds or fails for good"
		if !r.RetryEnd.IsZero() {
			until = rfcDate(r.RetryEnd)
		}
		fmt.Fprintf(b, texts[Delay].opening, until)
	default:
		b.WriteString(texts[r.Kind].opening)
	}
	if r.Role == ForSender && r.Kind != Success && r.Kind != DelayClear {
		fmt.Fprintf(b, "\r\nFor assistance, write to %s and include this\r\nreport. You may leave out your own message.\r\n", r.Postmaster)
	}
	fmt.Fprintf(b, "\r\n                   The mail system\r\n")
	for i := range r.Recipients {
		rc := &r.Recipients[i]
		s := "<" + r.External(rc.Address) + ">"
		if rc.Orig != "" && rc.Orig != rc.Address {
			s += " (expanded from <" + r.External(rc.Orig) + ">)"
		}
		b.WriteString("\r\n")
		wrap(b, s+": "+r.plain(rc.Reason), "    ", 78)
	}
}

// plain makes s fit the part's character set.
func (r *Report) plain(s string) string {
	if r.UTF8 {
		return strings.ToValidUTF8(s, "?")
	}
	return ascii(s)
}

func ascii(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x7f || s[i] < ' ' {
			return strings.Map(func(c rune) rune {
				if c >= 0x7f || c < ' ' {
					return '?'
				}
				return c
			}, s)
		}
	}
	return s
}

// action is RFC 3464's Action field.
func action(k Kind, o *envelope.Outcome) string {
	switch o.Action {
	case "relayed", "expanded", "delivered":
		return o.Action
	case "delegated":
		return "relayed"
	}
	switch o.Status {
	case envelope.Sent, envelope.Discarded:
		return "delivered"
	case envelope.Deferred:
		return "delayed"
	case envelope.Deliverable:
		return "deliverable"
	case envelope.Undeliverable:
		return "undeliverable"
	}
	return "failed"
}

// writeStatus writes the part for programs: RFC 3464, section 2.
func (r *Report) writeStatus(b *bufio.Writer) {
	kind := "rfc822"
	if r.UTF8 {
		kind = "utf-8"
	}
	field := func(name, value string) {
		if value != "" {
			wrap(b, name+": "+r.plain(value), " ", 78)
		}
	}
	field("Reporting-MTA", "dns; "+r.ReportingMTA)
	field("Original-Envelope-Id", r.Message.Envid)
	x := "X-" + token(r.MailName)
	field(x+"-Queue-ID", r.ID)
	if r.Sender != "" {
		field(x+"-Sender", kind+"; "+r.Sender)
	}
	if !r.Message.Arrival.IsZero() {
		field("Arrival-Date", rfcDate(r.Message.Arrival))
	}
	for i := range r.Recipients {
		rc := &r.Recipients[i]
		b.WriteString("\r\n")
		field("Final-Recipient", kind+"; "+r.External(rc.Address))
		switch {
		case rc.Orcpt != "":
			t, a, _ := strings.Cut(rc.Orcpt, ";")
			field("Original-Recipient", t+";"+r.plain(a))
		case rc.Orig != "" && rc.Orig != rc.Address:
			field("Original-Recipient", kind+";"+r.External(rc.Orig))
		}
		field("Action", action(r.Kind, &rc.Outcome))
		field("Status", rc.DSN)
		if rc.MTAName != "" {
			field("Remote-MTA", "dns; "+rc.MTAName)
		}
		dt, diag := rc.DiagType, rc.DiagText
		if dt == "" {
			dt = x
		}
		if diag == "" {
			diag = rc.Reason
		}
		if rc.Status != envelope.Sent || rc.DiagText != "" {
			field("Diagnostic-Code", dt+"; "+diag)
		}
		if !rc.When.IsZero() && r.Kind != Success {
			field("Last-Attempt-Date", rfcDate(rc.When))
		}
		if r.Kind == Delay && !r.RetryEnd.IsZero() {
			field("Will-Retry-Until", rfcDate(r.RetryEnd))
		}
	}
}

// token makes a header name part of a mail system's name.
func token(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '-'
	}, s)
	if s == "" {
		return "Posthaste"
	}
	return s
}

// writeOriginal attaches the message or its header, byte for byte.
func (r *Report) writeOriginal(b *bufio.Writer) error {
	typ := "text/rfc822-headers"
	desc := texts[r.Kind].description
	switch {
	case r.WithBody && r.UTF8:
		typ = "message/global"
	case r.WithBody:
		typ = "message/rfc822"
	case r.UTF8:
		typ = "message/global-headers"
	}
	if !r.WithBody && r.Kind == Failure {
		desc = "Undelivered Message Headers"
	}
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Description: %s\r\nContent-Type: %s\r\n", r.Boundary, desc, typ)
	if r.EightBit || r.UTF8 {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	b.WriteString("\r\n")
	if r.WithBody {
		_, err := io.Copy(b, r.Original)
		return err
	}
	return copyHeader(b, r.Original)
}

// copyHeader copies lines up to the first empty one.
func copyHeader(b *bufio.Writer, src io.Reader) error {
	in := bufio.NewReaderSize(io.LimitReader(src, MaxHeader), 8<<10)
	start := true
	for {
		line, err := in.ReadSlice('\n')
		if start && strings.TrimRight(string(line), "\r\n") == "" {
			return nil
		}
		b.Write(line)
		start = err == nil
		if err == io.EOF {
			if n := len(line); n > 0 && line[n-1] != '\n' {
				b.WriteString("\r\n")
			}
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
}

// MessageID finds the Message-Id of a message in its header, "" if there is
// none that fits on a line.
func MessageID(src io.Reader) string {
	in := bufio.NewReaderSize(io.LimitReader(src, MaxHeader), 8<<10)
	start := true
	for {
		line, err := in.ReadSlice('\n')
		s := strings.TrimRight(string(line), "\r\n")
		if start && s == "" {
			return ""
		}
		if start && len(s) > 11 && strings.EqualFold(s[:11], "message-id:") {
			id := strings.TrimSpace(s[11:])
			if strings.HasPrefix(id, "<") && strings.HasSuffix(id, ">") && len(id) < 500 && !strings.ContainsAny(id, " \t") {
				return id
			}
			return ""
		}
		start = err == nil
		if err != nil && err != bufio.ErrBufferFull {
			return ""
		}
	}
}

// wrap writes one paragraph, broken at blanks so that lines stay below width
// where words allow, and broken anywhere at 900 bytes, below RFC 5322's limit;
// continued lines begin with indent.
func wrap(b *bufio.Writer, s, indent string, width int) {
	const hard = 900
	for first := true; ; first = false {
		room := width
		if !first {
			b.WriteString(indent)
			room -= len(indent)
		}
		if len(s) <= room {
			break
		}
		cut := strings.LastIndexByte(s[:room+1], ' ')
		if cut <= 0 || first && cut == strings.IndexByte(s, ':')+1 {
			cut = strings.IndexByte(s[room:], ' ')
			if cut >= 0 {
				cut += room
			} else {
				cut = len(s)
			}
		}
		if cut > hard {
			for cut = hard; cut > 1 && s[cut]&0xc0 == 0x80; cut-- {
			}
		}
		b.WriteString(strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
		if s == "" {
			break
		}
		b.WriteString("\r\n")
	}
	b.WriteString(s)
	b.WriteString("\r\n")
}

func rfcDate(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700 (MST)") }
