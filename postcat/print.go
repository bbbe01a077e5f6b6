package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/envelope"
	"posthaste/pkg/queue"
)

// printer prints queue files.
type printer struct {
	w                      *bufio.Writer
	body, envelope, header bool
	decimal, names         bool
	offsets                bool
	start                  int64
	name                   string
}

// chunk is how many recipients are in memory at a time.
const chunk = 1000

func (p *printer) prefix() {
	if p.names {
		fmt.Fprintf(p.w, "%s: ", p.name)
	}
}

// section announces a part of the file.
func (p *printer) section(what string) {
	p.prefix()
	fmt.Fprintf(p.w, "*** %s %s ***\n", what, p.name)
}

// record prints one envelope record; empty values of optional ones are left out
// by the caller.
func (p *printer) record(typ byte, name, value string) {
	p.prefix()
	if p.decimal {
		fmt.Fprintf(p.w, "%3d ", typ)
	}
	fmt.Fprintf(p.w, "%s: %s\n", name, value)
}

// file prints one queue file.
func (p *printer) file(f *queue.File, name string) error {
	p.name = name
	if p.envelope {
		p.section("ENVELOPE RECORDS")
		if err := p.envelopeOf(f); err != nil {
			return err
		}
	}
	if p.header || p.body {
		if p.envelope {
			p.section("MESSAGE CONTENTS")
		}
		if err := p.content(f); err != nil {
			return err
		}
	}
	if p.envelope {
		p.section("HEADER EXTRACTED")
		if err := p.outcomes(f); err != nil {
			return err
		}
		p.section("MESSAGE FILE END")
	}
	return p.w.Flush()
}

func stamp(t time.Time) string { return t.Format("Mon Jan _2 15:04:05 2006") }

// envelopeOf prints message and recipients.
func (p *printer) envelopeOf(f *queue.File) error {
	m := f.Message()
	utf8 := 0
	if m.SMTPUTF8 {
		utf8 = 1
	}
	p.record('C', "message_size", fmt.Sprintf("%15d%16d%16d%16d%16d%16d", f.ContentLength(), f.ContentOffset(), f.RecipientCount(), 0, f.ContentLength(), utf8))
	p.record('T', "message_arrival_time", stamp(m.Arrival))
	attr := func(name, value string) {
		if value != "" {
			p.record('A', "named_attribute", name+"="+value)
		}
	}
	rewrite := "remote"
	if m.Local {
		rewrite = "local"
	}
	c := &m.Client
	attr("log_ident", m.ID)
	attr("rewrite_context", rewrite)
	if m.FullName != "" {
		p.record('F', "sender_fullname", m.FullName)
	}
	p.record('S', "sender", address.Quote(m.Sender))
	for _, a := range [][2]string{
		{"log_client_name", c.Name}, {"log_client_address", c.Address}, {"log_client_port", c.Port}, {"log_message_origin", m.Origin},
		{"log_helo_name", c.Helo}, {"log_protocol_name", c.Protocol}, {"reverse_client_name", c.ReverseName},
		{"server_address", c.ServerAddr}, {"server_port", c.ServerPort},
		{"sasl_method", c.SASLMethod}, {"sasl_username", c.SASLUser}, {"sasl_sender", c.SASLSender},
		{"tls_protocol", c.TLSProtocol}, {"tls_cipher", c.TLSCipher}, {"tls_peer", c.TLSPeer},
		{"encoding", strings.TrimSuffix(strings.ToLower(m.Body), "mime")},
		{"envelope_id", m.Envid}, {"ret_flags", m.Ret}, {queue.AttrFilter, f.Filter()},
	} {
		attr(a[0], a[1])
	}
	if m.VerifyOnly {
		attr("tracing", "verify")
	} else if m.Verbose {
		attr("tracing", "report")
	}
	var cur queue.Cursor
	for !cur.AtEnd() {
		l, err := f.AllRecipients(&cur, chunk)
		if err != nil {
			return err
		}
		for i := range l {
			r := &l[i]
			if r.Notify != 0 {
				attr("notify_flags", fmt.Sprint(uint8(r.Notify)))
			}
			attr("dsn_orig_rcpt", r.Orcpt)
			if r.Orig != "" {
				p.record('O', "original_recipient", address.Quote(r.Orig))
			}
			if f.Done(r.Num) {
				p.record('D', "done_recipient", address.Quote(r.Address))
			} else {
				p.record('R', "recipient", address.Quote(r.Address))
			}
		}
		if len(l) == 0 {
			break
		}
	}
	return nil
}

// outcomes prints what qmgr recorded.
func (p *printer) outcomes(f *queue.File) error {
	names := map[envelope.Status]string{envelope.Deferred: "deferred", envelope.Sent: "sent", envelope.Bounced: "bounced",
		envelope.Expired: "expired", envelope.Discarded: "discarded", envelope.Deliverable: "deliverable", envelope.Undeliverable: "undeliverable"}
	return f.OutcomesAndMarks(func(o *envelope.Outcome) error {
		p.record('O', "outcome", fmt.Sprintf("%d %s %s %s relay=%s (%s)", o.Num, stamp(o.When), names[o.Status], o.DSN, o.Relay, o.Reason))
		return nil
	}, func(m queue.Mark, t time.Time) error {
		what := map[queue.Mark]string{queue.DelayWarned: "delay_warned", queue.Bouncing: "bounced", queue.SuccessNoted: "success_reported"}[m]
		p.record('K', "mark", what+" "+stamp(t))
		return nil
	})
}

// content prints header and body, without their CR.
func (p *printer) content(f *queue.File) error {
	c, err := f.Content()
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(c, 64<<10)
	at := f.ContentOffset()
	inHeader, fresh := true, true
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if inHeader && fresh && strings.TrimRight(string(line), "\r\n") == "" {
				inHeader = false // the empty line is the body's
			}
			if (inHeader && p.header || !inHeader && p.body) && at >= p.start {
				if fresh {
					p.prefix()
					if p.offsets {
						fmt.Fprintf(p.w, "%9d ", at)
					}
				}
				p.w.Write(lf(line))
				if err == io.EOF {
					p.w.WriteByte('\n')
				}
			}
			at += int64(len(line))
			fresh = line[len(line)-1] == '\n'
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
}

// lf takes the CR off a line's end.
func lf(line []byte) []byte {
	if n := len(line); n > 1 && line[n-1] == '\n' && line[n-2] == '\r' {
		line[n-2] = '\n'
		return line[:n-1]
	}
	return line
}
