package main

import (
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// Limits of a FETCH.
const (
	maxFetchItems  = 200
	maxFieldNames  = 200
	maxSectionPath = 100
)

// Kinds of items.
const (
	fetchUID = iota
	fetchFlags
	fetchModSeq
	fetchInternalDate
	fetchSaveDate
	fetchEmailID
	fetchThreadID
	fetchSize
	fetchEnvelope
	fetchStructure
	fetchBody
	fetchPreview
	fetchSection
	fetchBinary
	fetchBinarySize
)

// What a section tells of its part.
const (
	sectionBody = iota
	sectionHeader
	sectionFields
	sectionFieldsNot
	sectionText
	sectionMIME
)

// fetchItem is one thing to fetch.
type fetchItem struct {
	kind        int
	label       string // what stands before the value, with its space
	path        []uint32
	what        int
	fields      []string // in capitals
	kept        bool     // fields are all among those that are cached
	partial     bool
	from, count uint64
	lazy        bool
}

// fetchArgs are a FETCH's arguments.
type fetchArgs struct {
	items        []fetchItem
	flags        bool // FLAGS is asked for
	modSeq       bool
	setsSeen     bool
	needsContent bool
	derives      bool // asks for what is cached
	hasSince     bool
	since        mailbox.ModSeq
	vanished     bool
}

// parseFetch takes FETCH's items and modifiers.
func parseFetch(p *imapwire.Parser) *fetchArgs {
	f := &fetchArgs{}
	if p.Peek() == '(' {
		p.List(func() { f.parseItem(p, false) })
	} else {
		f.parseItem(p, true)
	}
	if p.Try(' ') {
		p.List(func() {
			switch k := p.Name(); k {
			case "CHANGEDSINCE":
				p.SP()
				f.hasSince, f.since = true, mailbox.ModSeq(p.Number64())
			case "VANISHED":
				f.vanished = true
			default:
				p.Fail("unknown FETCH modifier %s", printable(k))
			}
		})
	}
	if f.hasSince && !f.modSeq {
		f.add(p, fetchItem{kind: fetchModSeq, label: "MODSEQ "})
	}
	return f
}

// withUID adds the UID, first, if it was not asked for: each response to UID
// FETCH has it (RFC 3501, section 6.4.8).
func (f *fetchArgs) withUID() {
	if !slices.ContainsFunc(f.items, func(it fetchItem) bool { return it.kind == fetchUID }) {
		f.items = slices.Insert(f.items, 0, fetchItem{kind: fetchUID, label: "UID "})
	}
}

func (f *fetchArgs) add(p *imapwire.Parser, it fetchItem) {
	if len(f.items) >= maxFetchItems {
		p.Fail("more than %d items", maxFetchItems)
		return
	}
	for i := range f.items {
		if it.kind < fetchSection && f.items[i].kind == it.kind {
			return // asked for twice
		}
	}
	switch it.kind {
	case fetchFlags:
		f.flags = true
	case fetchModSeq:
		f.modSeq = true
	case fetchSection:
		f.needsContent = f.needsContent || !it.kept
		f.derives = true
	case fetchEnvelope, fetchStructure:
		f.derives = true
	case fetchBinary, fetchBinarySize, fetchBody:
		f.needsContent = true
	}
	f.items = append(f.items, it)
}

var simpleItems = map[string]int{
	"UID": fetchUID, "FLAGS": fetchFlags, "MODSEQ": fetchModSeq, "INTERNALDATE": fetchInternalDate, "SAVEDATE": fetchSaveDate,
	"EMAILID": fetchEmailID, "THREADID": fetchThreadID, "RFC822.SIZE": fetchSize, "ENVELOPE": fetchEnvelope,
	"BODYSTRUCTURE": fetchStructure,
}

// parseItem takes one item; macros only if alone.
func (f *fetchArgs) parseItem(p *imapwire.Parser, alone bool) {
	name := p.Name()
	if kind, ok := simpleItems[name]; ok {
		f.add(p, fetchItem{kind: kind, label: name + " "})
		return
	}
	switch name {
	case "ALL", "FAST", "FULL":
		if !alone {
			break
		}
		list := []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"}
		if name == "FAST" {
			list = list[:3]
		}
		for _, n := range list {
			f.add(p, fetchItem{kind: simpleItems[n], label: n + " "})
		}
		if name == "FULL" {
			f.add(p, fetchItem{kind: fetchBody, label: "BODY "})
		}
		return
	case "RFC822":
		f.setsSeen = true
		f.add(p, fetchItem{kind: fetchSection, label: "RFC822 "})
		return
	case "RFC822.HEADER":
		f.add(p, fetchItem{kind: fetchSection, what: sectionHeader, label: "RFC822.HEADER "})
		return
	case "RFC822.TEXT":
		f.setsSeen = true
		f.add(p, fetchItem{kind: fetchSection, what: sectionText, label: "RFC822.TEXT "})
		return
	case "PREVIEW":
		it := fetchItem{kind: fetchPreview, label: "PREVIEW "}
		if rest := p.Rest(); len(rest) > 1 && rest[0] == ' ' && rest[1] == '(' && f.isLazy(rest) {
			p.SP()
			p.List(func() {
				if k := p.Name(); p.Err() == nil && k != "LAZY" {
					p.Fail("unknown PREVIEW modifier %s", printable(k))
				}
			})
			it.lazy = true
		}
		f.add(p, it)
		return
	case "BODY", "BODY.PEEK":
		if p.Peek() != '[' && name == "BODY" {
			f.add(p, fetchItem{kind: fetchBody, label: "BODY "})
			return
		}
		f.setsSeen = f.setsSeen || name == "BODY"
		f.parseSection(p)
		return
	case "BINARY", "BINARY.PEEK", "BINARY.SIZE":
		f.parseBinary(p, name)
		return
	}
	p.Fail("unknown FETCH item %s", printable(name))
}

// isLazy tells PREVIEW's modifier from the modifiers of the whole FETCH.
func (f *fetchArgs) isLazy(rest []byte) bool {
	return len(rest) >= 7 && strings.EqualFold(string(rest[2:6]), "LAZY")
}

// parsePath takes the number of a part.
func parsePath(p *imapwire.Parser) (path []uint32) {
	for c := p.Peek(); '0' <= c && c <= '9'; c = p.Peek() {
		n := p.Number()
		if n == 0 || len(path) >= maxSectionPath {
			p.Fail("bad part number")
			return nil
		}
		path = append(path, n)
		if !p.Try('.') {
			return path
		}
		if c := p.Peek(); c == ']' || c == 0 {
			p.Fail("bad part number")
		}
	}
	return path
}

// parseSection takes [section]<partial>.
func (f *fetchArgs) parseSection(p *imapwire.Parser) {
	it := fetchItem{kind: fetchSection}
	label := []byte("BODY[")
	p.Expect('[')
	it.path = parsePath(p)
	dotted := len(it.path) > 0 && p.Peek() != ']'
	for i, n := range it.path {
		if i > 0 {
			label = append(label, '.')
		}
		label = appendUint(label, n)
	}
	if dotted {
		label = append(label, '.')
	}
	name := p.Name()
	label = append(label, name...)
	switch name {
	case "":
		if dotted {
			p.Fail("bad section")
		}
	case "HEADER":
		it.what = sectionHeader
	case "TEXT":
		it.what = sectionText
	case "MIME":
		it.what = sectionMIME
		if len(it.path) == 0 {
			p.Fail("MIME needs a part number")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		it.what = sectionFields
		if name == "HEADER.FIELDS.NOT" {
			it.what = sectionFieldsNot
		}
		label = it.parseFields(p, label)
	default:
		p.Fail("unknown section %s", printable(name))
	}
	p.Expect(']')
	label = append(label, ']')
	it.label = string(it.parsePartial(p, label))
	f.add(p, it)
}

// parseFields takes the list of field names and adds it to the label.
func (it *fetchItem) parseFields(p *imapwire.Parser, label []byte) []byte {
	p.SP()
	label = append(label, " ("...)
	it.kept = it.what == sectionFields && len(it.path) == 0
	p.List(func() {
		n := p.AString()
		if len(n) > 200 || len(it.fields) >= maxFieldNames {
			p.Fail("too many header fields")
			return
		}
		if len(it.fields) > 0 {
			label = append(label, ' ')
		}
		u := imapwire.Upper(n)
		if imapwire.IsAtom(u) {
			label = append(label, u...)
		} else {
			label = imapwire.AppendString(label, u)
		}
		it.kept = it.kept && keptField(n)
		it.fields = append(it.fields, u)
	})
	return append(label, ')')
}

// parsePartial takes <from.count>, if there, and adds <from> to the label.
func (it *fetchItem) parsePartial(p *imapwire.Parser, label []byte) []byte {
	if p.Try('<') {
		it.partial = true
		it.from = p.Number64()
		p.Expect('.')
		it.count = p.Number64()
		p.Expect('>')
		if p.Err() == nil && it.count == 0 {
			p.Fail("empty partial range")
		}
		label = append(label, '<')
		label = strconv.AppendUint(label, it.from, 10)
		label = append(label, '>')
	}
	return append(label, ' ')
}

// parseBinary takes the section of BINARY (RFC 3516).
func (f *fetchArgs) parseBinary(p *imapwire.Parser, name string) {
	it := fetchItem{kind: fetchBinary}
	label := []byte("BINARY[")
	if name == "BINARY.SIZE" {
		it.kind = fetchBinarySize
		label = []byte("BINARY.SIZE[")
	}
	f.setsSeen = f.setsSeen || name == "BINARY"
	p.Expect('[')
	it.path = parsePath(p)
	for i, n := range it.path {
		if i > 0 {
			label = append(label, '.')
		}
		label = appendUint(label, n)
	}
	p.Expect(']')
	label = append(label, ']')
	if it.kind == fetchBinary {
		label = it.parsePartial(p, label)
	} else {
		label = append(label, ' ')
	}
	it.label = string(label)
	f.add(p, it)
}
