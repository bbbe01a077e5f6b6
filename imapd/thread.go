package main

import (
	"bytes"
	"cmp"
	"slices"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mimepart"
)

// maxReferences is how many references of one message count.
const maxReferences = 200

// node is a message, or one that is only referred to, in its thread.
type node struct {
	*hit      // nil for one that is not there
	num, date int64
	parent    *node
	children  []*node
	subject   []byte
	reply     bool
}

// thread is THREAD (RFC 5256).
func (s *session) thread(p *imapwire.Parser, uid bool) error {
	a := &searchArgs{}
	p.SP()
	algorithm := p.Keyword()
	p.SP()
	if p.Err() == nil && algorithm != "ORDEREDSUBJECT" && algorithm != "REFERENCES" {
		p.Fail("unknown threading algorithm %s", printable(algorithm))
	}
	if p.Err() != nil {
		return p.Err()
	}
	if err := s.parseCharset(p, a, true); err != nil {
		return err
	}
	s.parseSearch(p, a)
	if p.Err() != nil {
		return p.Err()
	}
	found, err := s.find(a)
	if err != nil {
		return err
	}
	x := &searching{s: s, l: s.loader()}
	defer x.l.close()
	var roots []*node
	if algorithm == "REFERENCES" {
		roots = x.byReferences(found)
	} else {
		roots = x.bySubject(found)
	}
	if x.failed != nil {
		return x.failed
	}
	s.out.str("* THREAD")
	if len(roots) > 0 {
		s.out.str(" ")
	}
	for _, r := range roots {
		s.tellThread(r, uid)
	}
	s.out.str("\r\n")
	return nil
}

// node makes the node of a message.
func (x *searching) node(h *hit) *node {
	n := &node{hit: h, num: int64(h.seq), date: x.sentDate(h.m).Unix()}
	n.subject, n.reply = baseSubject(mimepart.DecodeHeader(x.field(h.m, "SUBJECT")))
	return n
}

func older(a, b *node) int {
	return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.num, b.num))
}

// bySubject is ORDEREDSUBJECT: the oldest message of each subject with all
// others below it.
func (x *searching) bySubject(found []hit) (roots []*node) {
	all := make([]*node, len(found))
	for i := range found {
		all[i] = x.node(&found[i])
		if i&63 == 0 {
			if err := x.s.working(i, len(found)); err != nil {
				x.failed = err
				return nil
			}
		}
	}
	slices.SortFunc(all, older)
	first := map[string]*node{}
	for _, n := range all {
		if r := first[string(n.subject)]; r != nil {
			r.children = append(r.children, n)
			continue
		}
		first[string(n.subject)] = n
		roots = append(roots, n)
	}
	return roots
}

// byReferences is REFERENCES (RFC 5256, section 3).
func (x *searching) byReferences(found []hit) []*node {
	byID := map[string]*node{}
	var all []*node
	get := func(id string) *node {
		n := byID[id]
		if n == nil {
			n = &node{}
			byID[id] = n
			all = append(all, n)
		}
		return n
	}
	for i := range found {
		h := &found[i]
		fields := x.node(h)
		ids := messageIDs(x.field(h.m, "MESSAGE-ID"), 1)
		var n *node
		if len(ids) > 0 {
			if n = get(ids[0]); n.hit != nil {
				n = nil // a second one with the same id
			}
		}
		if n == nil {
			n = &node{}
			all = append(all, n)
		}
		n.hit, n.num, n.date, n.subject, n.reply = h, fields.num, fields.date, fields.subject, fields.reply
		refs := messageIDs(x.field(h.m, "REFERENCES"), maxReferences)
		if len(refs) == 0 {
			refs = messageIDs(x.field(h.m, "IN-REPLY-TO"), 1)
		}
		var up *node
		for _, id := range refs {
			r := get(id)
			if up != nil && r.parent == nil && !below(up, r) {
				r.parent = up
			}
			up = r
		}
		// What the message itself says counts most: a parent that others gave it
		// goes, even if the new link would make a loop and is not made.
		n.parent = nil
		if up != nil && !below(up, n) {
			n.parent = up
		}
		if i&63 == 0 {
			if err := x.s.working(i, len(found)); err != nil {
				x.failed = err
				return nil
			}
		}
	}
	root := &node{}
	for _, n := range all {
		up := n.parent
		if up == nil {
			up = root
		}
		up.children = append(up.children, n)
	}
	root.children = prune(root.children)
	for _, n := range root.children {
		rootDate(n)
	}
	slices.SortStableFunc(root.children, older)
	roots := joinSubjects(root.children)
	sortThreads(roots)
	slices.SortFunc(roots, older)
	return roots
}

// below tells whether n is x or has it among its ancestors. References make
// chains of any length over a whole mailbox, so the walk is bounded: beyond that,
// the link is not made.
func below(n, x *node) bool {
	for steps := 0; n != nil; steps++ {
		if n == x || steps > 10000 {
			return true
		}
		n = n.parent
	}
	return false
}

// messageIDs returns up to most message ids of a field.
func messageIDs(v []byte, most int) (ids []string) {
	for len(ids) < most {
		i := bytes.IndexByte(v, '<')
		if i < 0 {
			break
		}
		j := bytes.IndexByte(v[i:], '>')
		if j < 0 {
			break
		}
		id := bytes.Join(bytes.Fields(v[i+1:i+j]), nil)
		if len(id) > 0 && len(id) <= 1000 {
			ids = append(ids, string(id))
		}
		v = v[i+j+1:]
	}
	return ids
}

// prune takes nodes without a message out, deepest first: their children take
// their place, but at the root only a single child does. It walks without
// recursion, since a thread may be as deep as the mailbox is large.
func prune(list []*node) []*node {
	type frame struct {
		n *node
		i int
	}
	clean := func(children []*node, root bool) []*node {
		out := children[:0:0]
		for _, c := range children {
			switch {
			case c.hit != nil:
				out = append(out, c)
			case len(c.children) == 0:
			case root && len(c.children) > 1:
				out = append(out, c)
			default:
				out = append(out, c.children...)
			}
		}
		return out
	}
	for _, r := range list {
		stack := []frame{{r, 0}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.i < len(f.n.children) {
				c := f.n.children[f.i]
				f.i++
				stack = append(stack, frame{c, 0})
				continue
			}
			f.n.children = clean(f.n.children, false)
			stack = stack[:len(stack)-1]
		}
	}
	return clean(list, true)
}

// rootDate gives a root without a message the date of its first child.
func rootDate(n *node) {
	if n.hit == nil && len(n.children) > 0 {
		first := slices.MinFunc(n.children, older)
		n.date, n.num = first.date, first.num
		n.subject, n.reply = first.subject, first.reply
	}
}

// joinSubjects joins threads of one subject (RFC 5256, step 5).
func joinSubjects(roots []*node) (out []*node) {
	table := map[string]*node{}
	for _, r := range roots {
		if len(r.subject) == 0 {
			continue
		}
		old := table[string(r.subject)]
		if old == nil || old.hit != nil && r.hit == nil || old.hit != nil && old.reply && !r.reply {
			table[string(r.subject)] = r
		}
	}
	dropped := map[*node]bool{}
	for _, r := range roots {
		t := table[string(r.subject)]
		if len(r.subject) == 0 || t == r {
			continue
		}
		switch {
		case t.hit == nil && r.hit == nil:
			t.children = append(t.children, r.children...)
		case t.hit == nil, r.hit != nil && r.reply && !t.reply:
			t.children = append(t.children, r)
		default:
			joined := &node{num: min(t.num, r.num), date: min(t.date, r.date), subject: t.subject, children: []*node{t, r}}
			// The new root stands where the table's was.
			copied := *t
			*t = *joined
			t.children = []*node{&copied, r}
		}
		dropped[r] = true
	}
	for _, r := range roots {
		if !dropped[r] {
			out = append(out, r)
		}
	}
	return out
}

// sortThreads sorts all children by date.
func sortThreads(roots []*node) {
	stack := slices.Clone(roots)
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		slices.SortFunc(n.children, older)
		stack = append(stack, n.children...)
		rootDate(n)
	}
}

// tellThread writes a thread: a chain as numbers, branches in parentheses.
func (s *session) tellThread(root *node, uid bool) {
	type frame struct {
		n    *node
		next int
	}
	number := func(n *node) uint64 {
		if uid {
			return uint64(n.m.UID)
		}
		return uint64(n.seq)
	}
	s.out.str("(")
	stack := []frame{{root, 0}}
	// Each frame is a chain's last node with several children, or the end.
	open := func(n *node) *node {
		for told := false; ; {
			if n.hit != nil {
				if told {
					s.out.str(" ")
				}
				told = true
				s.out.num(number(n))
			}
			if len(n.children) != 1 {
				if len(n.children) > 1 && n.hit != nil {
					s.out.str(" ")
				}
				return n
			}
			n = n.children[0]
		}
	}
	stack[0].n = open(root)
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		if f.next < len(f.n.children) {
			c := f.n.children[f.next]
			f.next++
			s.out.str("(")
			stack = append(stack, frame{n: open(c)})
			continue
		}
		s.out.str(")")
		stack = stack[:len(stack)-1]
	}
}
