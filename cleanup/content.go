package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"posthaste/pkg/address"
	"posthaste/pkg/header"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mimestate"
	"posthaste/pkg/proto/cleanup"
)

// role says what cleanup does with a header field.
type role uint8

const (
	sender    role = 1 << iota // addresses of senders
	recipient                  // addresses of recipients
	mimeField                  // describes content: mime_header_checks
	visible                    // shows a recipient
	resent
)

// fields that matter, by name in lower case.
var fields = map[string]role{
	"from": sender, "sender": sender, "reply-to": sender, "errors-to": sender, "return-receipt-to": sender,
	"disposition-notification-to": sender, "mail-followup-to": sender,
	"resent-from": sender | resent, "resent-sender": sender | resent, "resent-reply-to": sender | resent,
	"to": recipient | visible, "cc": recipient | visible, "bcc": recipient | visible, "apparently-to": recipient,
	"resent-to": recipient | visible | resent, "resent-cc": recipient | visible | resent, "resent-bcc": recipient | visible | resent,
	"resent-date": resent, "resent-message-id": resent,
	"content-type": mimeField, "content-transfer-encoding": mimeField, "content-disposition": mimeField,
	"content-id": mimeField, "content-description": mimeField, "mime-version": mimeField,
}

// headerState is what is known of the message's header.
type headerState struct {
	hops      int
	resent    bool
	visible   bool
	date      bool
	from      bool
	msgid     bool
	rdate     bool
	rfrom     bool
	rmsgid    bool
	ct        header.ContentType
	enc       string
	to        []string // for ExtractRcpts
	resentTo  []string
	nameSpace [64]byte
}

func (h *headerState) extracted() []string {
	if len(h.resentTo) > 0 {
		return h.resentTo
	}
	return h.to
}

// rewrites tells whether header addresses are rewritten, and in which context.
func (s *session) rewrites() bool { return s.m.Local || s.set.remoteRewrite }

// field handles one field of the message's own header.
func (s *session) field(raw []byte) {
	if s.result != nil || s.discard {
		return
	}
	h := &s.h
	name, _ := header.Name(raw)
	key := header.Lower(h.nameSpace[:0], name)
	kind := fields[string(key)]
	if s.inspect {
		maps := s.set.headerMaps
		if kind&mimeField != 0 {
			maps = s.set.mimeMaps
		}
		if !maps.Empty() {
			var keep bool
			if raw, keep = s.checkField(maps, raw, name); !keep || s.result != nil || s.discard {
				return
			}
			// It may have been replaced by another.
			if name, _ = header.Name(raw); name == nil {
				s.out(raw)
				return
			}
			key = header.Lower(h.nameSpace[:0], name)
			kind = fields[string(key)]
		}
	}
	if kind&resent != 0 {
		h.resent = true
	}
	if s.flags&cleanup.ExtractRcpts != 0 && kind&recipient != 0 {
		l := address.ExtractList(header.Value(raw))
		if kind&resent != 0 {
			h.resentTo = append(h.resentTo, l...)
		} else if string(key) != "apparently-to" {
			h.to = append(h.to, l...)
		}
	}
	s.note(string(key), raw)
	if len(s.set.drop) > 0 && s.set.drop[string(key)] {
		return
	}
	if kind&visible != 0 {
		h.visible = true
	}
	if kind&(sender|recipient) != 0 && s.rewrites() {
		raw = s.rewriteField(raw, kind)
	}
	s.out(raw)
}

// note remembers that a field was seen. The conversion of key does not
// allocate: it is used for comparison alone.
func (s *session) note(key string, raw []byte) {
	h := &s.h
	switch key {
	case "received":
		h.hops++
	case "date":
		h.date = true
	case "from":
		h.from = true
	case "resent-date":
		h.rdate = true
	case "resent-from":
		h.rfrom = true
	case "message-id", "resent-message-id":
		re := key[0] == 'r'
		h.msgid, h.rmsgid = h.msgid || !re, h.rmsgid || re
		if s.flags&cleanup.MessageInfo != 0 {
			s.set.log.Event(maillog.MessageID{ID: s.m.ID, MessageID: string(bytes.TrimSpace(header.Unfold(header.Value(raw)))), Resent: re})
		}
	case "content-type":
		h.ct = header.ParseContentType(header.Value(raw))
	case "content-transfer-encoding":
		h.enc = header.ParseEncoding(header.Value(raw))
	}
}

// rewriteField puts the addresses of a field into standard form and maps them.
func (s *session) rewriteField(raw []byte, kind role) []byte {
	i := bytes.IndexByte(raw, ':') + 1
	end := len(bytes.TrimRight(raw, "\r\n"))
	class := headerSender
	if kind&recipient != 0 {
		class = headerRecipient
	}
	out, changed := address.RewriteList(raw[i:end], func(a string) string {
		if a == "" || s.result != nil {
			return a
		}
		n := s.set.router.Rewrite(a, s.m.Local)
		if s.flags&cleanup.Map != 0 {
			var err error
			if n, err = s.canonize(n, class); err != nil {
				s.mapFailed(err)
				return a
			}
		}
		return n
	})
	if !changed {
		return raw
	}
	b := append([]byte(nil), raw[:i]...)
	b = append(b, out...)
	return address.FoldList(append(b, raw[end:]...))
}

// endHeader adds the fields that are missing.
func (s *session) endHeader() {
	h := &s.h
	if s.result != nil || s.discard {
		return
	}
	if h.hops > s.set.hopLimit {
		s.set.log.Warningf("%s: message rejected: hopcount exceeded", s.m.ID)
		s.fail(cleanup.TooManyHops, 554, "5.4.0", "Error: too many hops")
		return
	}
	if s.rewrites() || s.set.alwaysAdd {
		s.missing()
	}
	if !h.msgid && !h.rmsgid && s.flags&cleanup.MessageInfo != 0 {
		s.set.log.Event(maillog.MessageID{ID: s.m.ID, MessageID: "<>"})
	}
	c := s.set
	if s.inspect && !c.noMime && (!c.mimeMaps.Empty() || !c.nestedMaps.Empty()) {
		s.mime = mimestate.New(h.ct, h.enc, c.mime, s)
	}
}

// missing adds (Resent-)Message-Id:, Date:, From: and To:.
func (s *session) missing() {
	h := &s.h
	pre, id, date, from := "", h.msgid, h.date, h.from
	if h.resent {
		pre, id, date, from = "Resent-", h.rmsgid, h.rdate, h.rfrom
	}
	if !id {
		v := "<" + s.m.Arrival.UTC().Format("20060102150405") + "." + s.m.ID + "@" + s.set.hostname + ">"
		s.out([]byte(pre + "Message-Id: " + v + "\r\n"))
		h.msgid, h.rmsgid = h.msgid || pre == "", h.rmsgid || pre != ""
		if s.flags&cleanup.MessageInfo != 0 {
			s.set.log.Event(maillog.MessageID{ID: s.m.ID, MessageID: v, Resent: pre != ""})
		}
	}
	if !date {
		s.out([]byte(pre + "Date: " + header.Date(s.m.Arrival.Local()) + "\r\n"))
	}
	if !from {
		a, name := address.Quote(s.m.Sender), s.m.FullName
		if a == "" {
			a, name = "MAILER-DAEMON", "" // no person wrote it
		}
		s.out([]byte(pre + "From: " + fromValue(a, name, s.set.charset, s.set.fromObsolete) + "\r\n"))
	}
	if !h.visible && s.set.undisclosed != "" {
		s.out([]byte(s.set.undisclosed + "\r\n"))
		h.visible = true
	}
}

// encodedWords renders a name that is not ASCII (RFC 2047, section 2): words of
// at most 75 characters, none of which splits a character of UTF-8.
func encodedWords(name, charset string) string {
	most := max((75-len("=??B??=")-len(charset))/4*3, 6)
	var words []string
	for name != "" {
		n := min(most, len(name))
		for n < len(name) && n > 1 && !utf8.RuneStart(name[n]) {
			n--
		}
		words = append(words, "=?"+charset+"?B?"+base64.StdEncoding.EncodeToString([]byte(name[:n]))+"?=")
		name = name[n:]
	}
	return strings.Join(words, "\r\n ")
}

// fromValue joins an address in external form and a name (header_from_format).
func fromValue(addr, name, charset string, obsolete bool) string {
	if name = strings.TrimSpace(name); name == "" {
		return addr
	}
	if obsolete {
		return addr + " (" + header.Comment(name) + ")"
	}
	plain, special := true, false
	for i := 0; i < len(name); i++ {
		c := name[i]
		plain = plain && c < 0x80 && c >= ' '
		special = special || strings.IndexByte("()<>[]:;@\\,.\"", c) >= 0
	}
	switch {
	case !plain:
		name = encodedWords(name, charset)
	case special:
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return name + " <" + addr + ">"
}

// checkField is check for a header field. The check sees the field closed up;
// one that it leaves alone passes as it is.
func (s *session) checkField(maps *lookup.Maps, raw, name []byte) ([]byte, bool) {
	closed := closeUp(raw, name)
	out, keep := s.check(maps, "header", closed)
	if keep && len(closed) != len(raw) && bytes.Equal(out, closed) {
		out = raw
	}
	return out, keep
}

// closeUp returns a field without the blanks between its name and the colon,
// which some readers take for part of the name: no header check shall be evaded
// by them.
func closeUp(raw, name []byte) []byte {
	if len(name) == 0 || raw[len(name)] == ':' {
		return raw
	}
	i := bytes.IndexByte(raw, ':')
	return append(append(make([]byte, 0, len(raw)), name...), raw[i:]...)
}
