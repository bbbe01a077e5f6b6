// Package mimepart finds the structure of a message in one pass: its parts with
// their places in the message, the ENVELOPE and BODYSTRUCTURE that IMAP tells
// of it, and, for searching, the text of its headers and parts in UTF-8,
// whatever their encoding and charset.
//
// It takes any octets for a message. What is broken (a boundary that never
// comes, a header without a body, a nesting without end) gets some structure,
// the same one for every question. Depth, number of parts and the sizes of
// what is kept are bounded.
package mimepart

import (
	"strings"
)

// Limits of a message's structure.
const (
	MaxDepth    = 64   // how deep parts may nest; what is deeper is one opaque part
	MaxParts    = 5000 // how many parts there are; the last one holds the rest
	maxField    = 64 << 10
	maxHeader   = 512 << 10 // of one part's fields that are kept
	maxTotal    = 8 << 20   // of all that is kept of one message
	maxBoundary = 512
	maxParams   = 64
)

// Param is a parameter of Content-Type or Content-Disposition, as it stands in
// the message but for quoting.
type Param struct{ Name, Value string }

// Part is a message or a part of one. Offsets count from the start of the
// message, which has CRLF line ends.
type Part struct {
	Type, Subtype string // as written; "text", "plain" when there is none
	Params        []Param
	ID            string
	Description   string
	Encoding      string // "7bit" when there is none
	MD5           string
	Disposition   string
	DispParams    []Param
	Language      []string
	Location      string

	Header int64 // where the header begins,
	Body   int64 // the body (after the empty line),
	End    int64 // and what follows
	Lines  int   // line ends in the body

	Envelope *Envelope // of a message: the top, and what is within message/rfc822
	Parts    []*Part   // of a multipart; of a message/rfc822 its one message
}

// IsMultipart tells whether the part consists of others.
func (p *Part) IsMultipart() bool { return strings.EqualFold(p.Type, "multipart") }

// IsMessage tells whether the part holds a message (Parts[0]).
func (p *Part) IsMessage() bool { return len(p.Parts) == 1 && !p.IsMultipart() }

// Param returns the value of a Content-Type parameter, "" if there is none.
func (p *Part) Param(name string) string {
	for _, x := range p.Params {
		if strings.EqualFold(x.Name, name) {
			return x.Value
		}
	}
	for _, x := range p.Params {
		if n, ok := strings.CutSuffix(x.Name, "*"); ok && strings.EqualFold(n, name) {
			return extended(x.Value)
		}
	}
	return ""
}

// Find returns the part with the number path (RFC 3501, section 6.4.5), nil if
// there is none. p is the message.
func (p *Part) Find(path []uint32) *Part {
	message := true // p is a message, whose only part is number 1
	for _, n := range path {
		if !message && p.IsMessage() {
			p, message = p.Parts[0], true
		}
		switch {
		case p.IsMultipart():
			if n == 0 || uint64(n) > uint64(len(p.Parts)) {
				return nil
			}
			p = p.Parts[n-1]
		case message && n == 1:
		default:
			return nil
		}
		message = false
	}
	return p
}

// Walk calls fn with each part, outer ones first, until fn returns false.
func (p *Part) Walk(fn func(*Part) bool) bool {
	if !fn(p) {
		return false
	}
	for _, c := range p.Parts {
		if !c.Walk(fn) {
			return false
		}
	}
	return true
}
