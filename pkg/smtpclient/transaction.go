package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/envelope"
	"posthaste/pkg/esmtp"
)

// transaction is an esmtp.Transaction and which recipient of the request each
// of its RCPT commands is for.
type transaction struct {
	esmtp.Transaction
	index []int
}

// transaction makes the commands for the recipients that are left, in the
// terms of the extensions that the server of s has.
func (d *attempt) transaction(s *session) (*transaction, *failure) {
	j, ext := d.j, &s.c.Ext
	if ext.SizeLimit > 0 && j.ContentLength > ext.SizeLimit {
		return nil, &failure{dsn: "5.3.4", reason: fmt.Sprintf("message size %d exceeds size limit %d of server %s", j.ContentLength, ext.SizeLimit, s.t.peer())}
	}
	sender, err := d.a.rewrite(j.Message.Sender)
	t := &transaction{Transaction: esmtp.Transaction{NoData: j.Message.VerifyOnly}}
	utf8 := !address.IsASCII(sender)
	line := make([]byte, 0, 128)
	for _, i := range d.left {
		r := &j.Recipients[i]
		var to string
		if err == nil {
			to, err = d.a.rewrite(r.Address)
		}
		utf8 = utf8 || !address.IsASCII(to)
		line = append(line[:0], "RCPT TO:<"...)
		line = append(append(line, d.quote(to)...), '>')
		if ext.DSN {
			line = appendDSN(line, r, ext.UTF8)
		}
		t.Rcpt = append(t.Rcpt, string(line))
		t.index = append(t.index, i)
	}
	if err != nil {
		d.a.log.Warningf("%s: %s_generic_maps: %v", j.Message.ID, d.a.s.name, err)
		return nil, &failure{dsn: "4.3.0", reason: "generic address mapping table look-up error"}
	}
	if j.Message.SMTPUTF8 && j.EightBit && !utf8 && !ext.UTF8 {
		if utf8, err = eightBitHeader(j.Content()); err != nil {
			return nil, &failure{dsn: "4.3.0", reason: "queue file read error"}
		}
	}
	if utf8 && !ext.UTF8 {
		return nil, &failure{dsn: "5.6.7", reason: "SMTPUTF8 is required, but was not offered by host " + s.t.peer()}
	}
	eight := j.EightBit || j.Message.Body == "8BITMIME"
	t.Mail = d.mailCommand(line[:0], sender, ext, eight, utf8 || j.Message.SMTPUTF8 && ext.UTF8)
	t.Content = &whole{r: j.Content(), left: j.ContentLength}
	if eight && !ext.EightBit && !d.a.s.disableConversion && !(ext.UTF8 && j.Message.SMTPUTF8) {
		t.Content = newDowngrade(t.Content)
	}
	if !d.a.checks.empty() {
		t.Content = d.a.checks.apply(t.Content, d.a.log, j.Message.ID, func(err error) {
			d.a.log.Warningf("%s: %s header or body checks: %v", j.Message.ID, d.a.s.name, err)
		})
	}
	if !d.a.generic.Empty() {
		t.Content = d.a.rewriteHeader(t.Content, func(err error) {
			d.a.log.Warningf("%s: %s_generic_maps: %v", j.Message.ID, d.a.s.name, err)
		})
	}
	t.LineLimit = d.a.s.lineLimit
	t.Folding = func() {
		d.a.log.Infof("%s: breaking line > %d bytes with <CR><LF>SPACE", j.Message.ID, t.LineLimit)
	}
	return t, nil
}

func (d *attempt) mailCommand(line []byte, sender string, ext *esmtp.Extensions, eight, utf8 bool) string {
	m := &d.j.Message
	line = append(line, "MAIL FROM:<"...)
	line = append(append(line, d.quote(sender)...), '>')
	if ext.Size {
		line = strconv.AppendInt(append(line, " SIZE="...), d.j.ContentLength, 10)
	}
	if ext.EightBit {
		if eight {
			line = append(line, " BODY=8BITMIME"...)
		} else if m.Body == "7BIT" {
			line = append(line, " BODY=7BIT"...)
		}
	}
	if utf8 && ext.UTF8 {
		line = append(line, " SMTPUTF8"...)
	}
	if ext.DSN {
		if m.Envid != "" {
			line = append(append(line, " ENVID="...), esmtp.EncodeXtext(m.Envid)...)
		}
		if m.Ret != "" {
			line = append(append(line, " RET="...), m.Ret...)
		}
	}
	if d.a.s.dummyMailAuth && len(ext.Auth) > 0 {
		line = append(line, " AUTH=<>"...)
	}
	return string(line)
}

// appendDSN adds the RCPT parameters of RFC 3461. An original recipient that
// is not ASCII is sent in the form of RFC 6533 where the server knows that.
func appendDSN(line []byte, r *envelope.Recipient, utf8 bool) []byte {
	orcpt := r.Orcpt
	if orcpt == "" && r.Orig != "" {
		orcpt = "rfc822;" + r.Orig
	}
	if typ, addr, ok := strings.Cut(orcpt, ";"); ok {
		switch {
		case address.IsASCII(addr):
			line = append(append(line, " ORCPT="...), typ...)
			line = append(append(line, ';'), esmtp.EncodeXtext(addr)...)
		case utf8 && !strings.ContainsAny(addr, " =+\x7f\\") && strings.IndexFunc(addr, func(c rune) bool { return c < ' ' }) < 0:
			line = append(append(line, " ORCPT=utf-8;"...), addr...)
		}
	}
	if r.Notify == 0 {
		return line
	}
	line = append(line, " NOTIFY="...)
	if r.Notify&envelope.NotifyNever != 0 {
		return append(line, "NEVER"...)
	}
	var words []string
	for _, n := range [...]struct {
		bit  envelope.Notify
		word string
	}{{envelope.NotifySuccess, "SUCCESS"}, {envelope.NotifyFailure, "FAILURE"}, {envelope.NotifyDelay, "DELAY"}} {
		if r.Notify&n.bit != 0 {
			words = append(words, n.word)
		}
	}
	return append(line, strings.Join(words, ",")...)
}

// whole is content that must not end early: what a damaged queue file has left
// of a message is not to be sent as the message.
type whole struct {
	r    io.Reader
	left int64
}

var errCut = errors.New("the queue file ends within the content")

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = errCut
	}
	return n, err
}

// quote is the external form of an address.
func (d *attempt) quote(addr string) string {
	if !d.a.s.quoteEnvelope {
		return addr
	}
	return address.Quote(addr)
}

// rewrite maps an address by smtp_generic_maps. A result "@domain" keeps the
// local part; the map is applied once.
func (a *Agent) rewrite(addr string) (string, error) {
	if a.generic.Empty() || addr == "" {
		return addr, nil
	}
	v, _, ext, ok, err := a.generic.AddressExt(addr, a.delims, lookupOptions)
	if err != nil || !ok {
		return addr, err
	}
	v = strings.TrimSpace(v)
	local, domain := address.Split(v)
	if local == "" && domain != "" {
		l, _ := address.Split(addr)
		return l + "@" + domain, nil
	}
	if v, err = address.Unquote(v); err != nil {
		return addr, err
	}
	if local, domain = address.Split(v); ext != "" && domain != "" && a.s.genericExt {
		return local + ext + "@" + domain, nil
	}
	return v, nil
}

// eightBitHeader says whether the header of a message has bytes above 127.
func eightBitHeader(r io.Reader) (bool, error) {
	h, _, err := splitHeader(r)
	return !address.IsASCII(string(h)), err
}
