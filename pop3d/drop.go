package main

import (
	"fmt"

	"posthaste/pkg/mailbox"
)

// drop is the mailbox as one session sees it: the messages that were there when
// it began, by their numbers from 1, and what the client wants of them.
type drop struct {
	box      mailbox.Mailbox
	view     *mailbox.View
	sizes    []int64
	deleted  []bool
	read     []bool // retrieved
	count    int    // not deleted
	total    int64  // bytes not deleted
	original int64
}

func newDrop(box mailbox.Mailbox) (*drop, error) {
	v := box.View()
	n := len(v.Messages)
	d := &drop{box: box, view: v, sizes: make([]int64, n), deleted: make([]bool, n), read: make([]bool, n), count: n}
	for i, m := range v.Messages {
		size := m.Size
		if size < 0 {
			var err error
			if size, err = box.Size(m); err != nil {
				// Gone or unreadable: the numbers of the others must not depend on it.
				size = 0
			}
		}
		d.sizes[i] = size
		d.total += size
	}
	d.original = d.total
	return d, nil
}

// find returns the index of message number n, if it exists and is not deleted.
func (d *drop) find(n int) (int, bool) {
	i := n - 1
	return i, i >= 0 && i < len(d.deleted) && !d.deleted[i]
}

// appendID appends the unique identifier of message i.
func (d *drop) appendID(b []byte, i int) []byte {
	return fmt.Appendf(b, "%08x%08x", uint32(d.view.Messages[i].UID), d.view.UIDValidity)
}

func (d *drop) remove(i int) {
	d.deleted[i] = true
	d.count--
	d.total -= d.sizes[i]
}

func (d *drop) reset() {
	clear(d.deleted)
	d.count, d.total = len(d.deleted), d.original
}

// marked are the UIDs of the messages for which want is set.
func (d *drop) marked(want func(i int) bool) (uids []mailbox.UID) {
	for i, m := range d.view.Messages {
		if want(i) {
			uids = append(uids, m.UID)
		}
	}
	return uids
}

// markRead sets \Seen on what was retrieved and is not being deleted.
func (d *drop) markRead() error {
	uids := d.marked(func(i int) bool {
		return d.read[i] && !d.deleted[i] && d.view.Messages[i].Flags&mailbox.Seen == 0
	})
	if len(uids) == 0 {
		return nil
	}
	_, err := d.box.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	return err
}

// update removes the deleted messages: RFC 1939's UPDATE state. removed is how
// many there were.
func (d *drop) update() (removed int, err error) {
	uids := d.marked(func(i int) bool { return d.deleted[i] })
	if len(uids) == 0 {
		return 0, nil
	}
	if _, err := d.box.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted}); err != nil {
		return 0, err
	}
	return len(uids), d.box.Expunge(uids)
}
