package main

import (
	"bufio"
	"fmt"
	"strconv"
	"unicode/utf8"

	"posthaste/pkg/address"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/showq"
	"posthaste/pkg/queue"
)

// text prints mailq's layout for long queue IDs.
type text struct {
	w      *bufio.Writer
	n      int
	bytes  int64
	reason string // printed last for this message
}

const (
	header  = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
	columns = "%-17s %8s %19s %s\n"
)

// Message prints the first line of a message.
func (t *text) Message(m *showq.Message) error {
	if t.n == 0 {
		t.w.WriteString(header)
	} else {
		t.w.WriteByte('\n')
	}
	t.n++
	t.bytes += m.Size
	t.reason = ""
	id := m.ID
	switch m.Queue {
	case queue.Active:
		id += "*"
	case queue.Hold:
		id += "!"
	}
	if m.Expire {
		id += "#"
	}
	sender := "MAILER-DAEMON"
	if m.Sender != "" {
		sender = maillog.Printable(address.Quote(m.Sender))
	}
	_, err := fmt.Fprintf(t.w, columns, id, strconv.FormatInt(m.Size, 10), m.Arrival.Format("Mon Jan _2 15:04:05"), sender)
	return err
}

// Recipient prints a recipient, after its reason if that differs from the last.
func (t *text) Recipient(r *showq.Recipient) error {
	if r.Reason != t.reason {
		reason := maillog.Printable(r.Reason)
		if reason == "" {
			reason = "reason unavailable"
		}
		// Counted in bytes, as ever.
		fmt.Fprintf(t.w, "%*s(%s)\n", max(76-len(reason), 0), "", reason)
		t.reason = r.Reason
	}
	_, err := fmt.Fprintf(t.w, columns, "", "", "", maillog.Printable(address.Quote(r.Address)))
	return err
}

// End prints the total.
func (t *text) End() error {
	if t.n == 0 {
		_, err := t.w.WriteString("Mail queue is empty\n")
		return err
	}
	s := "s"
	if t.n == 1 {
		s = ""
	}
	_, err := fmt.Fprintf(t.w, "\n-- %d Kbytes in %d Request%s.\n", t.bytes/1024, t.n, s)
	return err
}

// object prints a JSON object a line.
type object struct {
	w     *bufio.Writer
	open  bool
	rcpts int
	utf8  bool
}

// Message begins an object.
func (o *object) Message(m *showq.Message) error {
	o.close()
	o.open, o.rcpts, o.utf8 = true, 0, m.UTF8
	_, err := fmt.Fprintf(o.w, `{"queue_name": %s, "queue_id": %s, "arrival_time": %d, "message_size": %d, "forced_expire": %t, "sender": %s, "recipients": [`,
		o.quote(m.Queue), o.quote(m.ID), m.Arrival.Unix(), m.Size, m.Expire, o.quote(address.Quote(m.Sender)))
	return err
}

// Recipient adds an element.
func (o *object) Recipient(r *showq.Recipient) error {
	if o.rcpts++; o.rcpts > 1 {
		o.w.WriteString(", ")
	}
	orig := r.Orig
	if orig == "" {
		orig = r.Address
	}
	fmt.Fprintf(o.w, `{"orig_address": %s, "address": %s`, o.quote(address.Quote(orig)), o.quote(address.Quote(r.Address)))
	if r.Reason != "" {
		fmt.Fprintf(o.w, `, "delay_reason": %s`, o.quote(r.Reason))
	}
	return o.w.WriteByte('}')
}

func (o *object) close() {
	if o.open {
		o.w.WriteString("]}\n")
	}
	o.open = false
}

// End finishes the last object.
func (o *object) End() error {
	o.close()
	return nil
}

// quote renders a JSON string. Text of internationalized mail stays UTF-8; in
// other mail what is not ASCII is escaped, invalid bytes as U+FFFD.
func (o *object) quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c == 0x7f || c > 0x7f && c <= 0xffff && (!o.utf8 || c == utf8.RuneError):
			b = fmt.Appendf(b, `\u%04x`, c)
		case c > 0xffff && !o.utf8:
			c -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return string(append(b, '"'))
}
