package mailbox

import (
	"slices"
	"sort"
	"strings"
)

func hasFold(list []string, k string) bool {
	for _, s := range list {
		if len(s) == len(k) && strings.EqualFold(s, k) {
			return true
		}
	}
	return false
}

// Find returns the index of the message with that UID.
func (v *View) Find(u UID) (int, bool) {
	// Without gaps, and near that, the place can be guessed.
	ms := v.Messages
	if n := len(ms); n > 0 && u >= ms[0].UID {
		if i := int(u - ms[0].UID); i < n && ms[i].UID == u {
			return i, true
		}
	}
	i := sort.Search(len(ms), func(i int) bool { return ms[i].UID >= u })
	return i, i < len(ms) && ms[i].UID == u
}

// Get returns the message with that UID, or nil.
func (v *View) Get(u UID) *Message {
	if i, ok := v.Find(u); ok {
		return v.Messages[i]
	}
	return nil
}

// MaxUID is the last message's UID, or 0: what "*" means among UIDs.
func (v *View) MaxUID() UID {
	if len(v.Messages) == 0 {
		return 0
	}
	return v.Messages[len(v.Messages)-1].UID
}

// Advance returns the View that follows v when the folder's state is now, and
// what changed between them. Without expunge, what is gone stays.
func (v *View) Advance(now *View, expunge bool) (*View, Changes) {
	var c Changes
	if v == now {
		return v, c
	}
	c.Keywords = len(now.Keywords) > len(v.Keywords)
	old, cur := v.Messages, now.Messages
	var kept []*Message // the private list, once it must differ from now's
	j := 0
	for i, o := range old {
		switch {
		case j < len(cur) && cur[j].UID == o.UID:
			if kept != nil {
				kept = append(kept, cur[j])
			}
			j++
			if cur[j-1] != o && !sameFlags(cur[j-1], o) {
				seq := j
				if kept != nil {
					seq = len(kept)
				}
				c.Changed = append(c.Changed, uint32(seq))
			}
		case expunge:
			c.Expunged = append(c.Expunged, uint32(i+1))
			c.ExpungedUIDs = append(c.ExpungedUIDs, o.UID)
		default:
			if kept == nil {
				kept = append(make([]*Message, 0, len(old)+len(cur)-j), cur[:j]...)
			}
			kept = append(kept, o)
		}
	}
	c.New = len(cur) - j
	slices.Reverse(c.Expunged)
	slices.Reverse(c.ExpungedUIDs)
	if kept == nil {
		return now, c
	}
	n := *now
	n.Messages = append(kept, cur[j:]...)
	return &n, c
}

// sameFlags tells whether a client would see no difference. The mod-sequence
// is the one thing that changes with each of them.
func sameFlags(a, b *Message) bool {
	return a.ModSeq == b.ModSeq && a.Flags == b.Flags && slices.Equal(a.Keywords, b.Keywords)
}

// With returns a View in which messages are replaced by those of their UID in
// list, which is in ascending order, and their sequence numbers.
func (v *View) With(list []*Message) (*View, []uint32) {
	n := *v
	n.Messages = slices.Clone(v.Messages)
	seqs := make([]uint32, 0, len(list))
	for _, m := range list {
		if i, ok := n.Find(m.UID); ok {
			n.Messages[i] = m
			seqs = append(seqs, uint32(i+1))
		}
	}
	return &n, seqs
}
