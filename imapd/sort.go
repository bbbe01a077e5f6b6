package main

import (
	"bytes"
	"cmp"
	"slices"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

// maxSortKeys is how many keys a SORT may have.
const maxSortKeys = 20

// sortKey is a key of SORT.
type sortKey struct {
	name    string
	reverse bool
}

// sort is SORT (RFC 5256, RFC 5957, RFC 5267's ESORT).
func (s *session) sort(p *imapwire.Parser, uid bool) error {
	a := &searchArgs{}
	p.SP()
	s.parseReturnOptions(p, a)
	keys := parseSortKeys(p)
	p.SP()
	if err := s.parseCharset(p, a, true); err != nil {
		return s.unsaved(a, err)
	}
	s.parseSearch(p, a)
	if p.Err() != nil {
		return p.Err()
	}
	found, err := s.find(a)
	if err != nil {
		if a.save {
			s.save(a, nil, err)
		}
		return err
	}
	if err := s.arrange(found, keys); err != nil {
		return err
	}
	if a.save {
		s.save(a, found, nil)
	}
	s.tellFound("SORT", a, found, uid)
	return nil
}

func parseSortKeys(p *imapwire.Parser) (keys []sortKey) {
	p.List(func() {
		k := sortKey{name: p.Keyword()}
		if k.name == "REVERSE" {
			p.SP()
			k.reverse, k.name = true, p.Keyword()
		}
		switch k.name {
		case "ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO":
		default:
			p.Fail("unknown sort key %s", printable(k.name))
		}
		if keys = append(keys, k); len(keys) > maxSortKeys {
			p.Fail("more than %d sort keys", maxSortKeys)
		}
	})
	return keys
}

// sortValue is what a message is sorted by under one key.
type sortValue struct {
	num  int64
	text []byte
}

// arrange sorts what was found by the keys, and then by sequence number.
func (s *session) arrange(found []hit, keys []sortKey) error {
	type row struct {
		hit
		val []sortValue
	}
	x := &searching{s: s, l: s.loader()}
	defer x.l.close()
	rows := make([]row, len(found))
	vals := make([]sortValue, len(found)*len(keys))
	for i, h := range found {
		rows[i] = row{h, vals[i*len(keys) : (i+1)*len(keys)]}
		for k, key := range keys {
			rows[i].val[k] = x.sortValue(h.m, key.name)
		}
		if i&63 == 0 {
			if err := s.working(i, len(found)); err != nil {
				return err
			}
		}
	}
	if x.failed != nil {
		return x.failed
	}
	slices.SortFunc(rows, func(a, b row) int {
		for k, key := range keys {
			c := cmp.Compare(a.val[k].num, b.val[k].num)
			if c == 0 {
				c = bytes.Compare(a.val[k].text, b.val[k].text)
			}
			if key.reverse {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(a.seq, b.seq)
	})
	for i := range rows {
		found[i] = rows[i].hit
	}
	return nil
}

// sortValue finds a message's value under a key (RFC 5256, section 3).
func (x *searching) sortValue(m *mailbox.Message, key string) sortValue {
	switch key {
	case "ARRIVAL":
		t, _ := x.date(m)
		return sortValue{num: t}
	case "SIZE":
		n := m.Size
		if n < 0 {
			var err error
			x.l.set(m)
			if n, err = x.s.box.Size(m); err != nil {
				x.trouble(err)
			}
		}
		return sortValue{num: n}
	case "DATE":
		return sortValue{num: x.sentDate(m).Unix()}
	case "SUBJECT":
		base, _ := baseSubject(mimepart.DecodeHeader(x.field(m, "SUBJECT")))
		return sortValue{text: collate(base)}
	case "DISPLAYFROM", "DISPLAYTO":
		list := mimepart.ParseAddresses(string(x.field(m, key[len("DISPLAY"):])))
		if len(list) == 0 {
			return sortValue{}
		}
		a := list[0]
		if a.Name != "" {
			return sortValue{text: collate(mimepart.DecodeHeader([]byte(a.Name)))}
		}
		return sortValue{text: collate([]byte(a.Mailbox + "@" + a.Host))}
	}
	list := mimepart.ParseAddresses(string(x.field(m, key)))
	if len(list) == 0 {
		return sortValue{}
	}
	return sortValue{text: collate([]byte(list[0].Mailbox))}
}

// collate makes what is compared octet by octet under i;unicode-casemap (RFC
// 5051): titlecase, decomposed. So "_" and "[" come behind the letters of ASCII, and
// letters with accents among those without.
func collate(text []byte) []byte {
	return norm.NFKD.Bytes(bytes.Map(unicode.ToTitle, text))
}

// sentDate is the date of the Date field, or the internal one if that cannot
// be read.
func (x *searching) sentDate(m *mailbox.Message) time.Time {
	if t, ok := mimepart.ParseDate(string(x.field(m, "DATE"))); ok {
		return t
	}
	n, _ := x.date(m)
	return time.Unix(n, 0)
}
