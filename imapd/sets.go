package main

import (
	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// ranges resolves a set of the client's against the selected mailbox. A
// sequence number that no message has is a client's mistake; a UID is not.
func (s *session) ranges(set imapwire.Set, uid bool) ([]imapwire.Range, error) {
	v := s.box.View()
	if set.Saved {
		if uid {
			return s.saved, nil
		}
		var seqs []uint32
		for _, r := range s.saved {
			i, _ := v.Find(mailbox.UID(r.Lo))
			for ; i < len(v.Messages) && uint32(v.Messages[i].UID) <= r.Hi; i++ {
				seqs = append(seqs, uint32(i+1))
			}
		}
		return imapwire.Ranges(seqs), nil
	}
	if uid {
		return set.Resolve(uint32(v.MaxUID())), nil
	}
	n := uint32(len(v.Messages))
	for _, r := range set.Ranges {
		lo, hi := r.Lo > n, r.Hi > n
		if lo && (hi || r.Hi == imapwire.Star) || hi && r.Lo == imapwire.Star {
			return nil, &imapwire.SyntaxError{What: "no message has that sequence number"}
		}
	}
	return set.Resolve(n), nil
}

// each calls fn with the messages of the ranges in order, and their sequence
// numbers, until it returns false.
func each(v *mailbox.View, r []imapwire.Range, uid bool, fn func(seq uint32, m *mailbox.Message) bool) {
	for _, x := range r {
		i := int(x.Lo) - 1
		if uid {
			i, _ = v.Find(mailbox.UID(x.Lo))
		}
		for ; i < len(v.Messages); i++ {
			m := v.Messages[i]
			if uid && uint32(m.UID) > x.Hi || !uid && uint32(i+1) > x.Hi {
				break
			}
			if !fn(uint32(i+1), m) {
				return
			}
		}
	}
}

// uids lists the UIDs of a set's messages.
func (s *session) uids(set imapwire.Set, uid bool) ([]mailbox.UID, error) {
	r, err := s.ranges(set, uid)
	if err != nil {
		return nil, err
	}
	var list []mailbox.UID
	each(s.box.View(), r, uid, func(_ uint32, m *mailbox.Message) bool {
		list = append(list, m.UID)
		return true
	})
	return list, nil
}

// appendUIDs writes UIDs, in the order given, as a set.
func appendUIDs(b []byte, uids []mailbox.UID) []byte {
	nums := make([]uint32, len(uids))
	for i, u := range uids {
		nums[i] = uint32(u)
	}
	return imapwire.AppendRanges(b, imapwire.Ranges(nums))
}
