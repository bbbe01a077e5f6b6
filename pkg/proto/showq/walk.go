package showq

import (
	"errors"
	"os"

	"posthaste/pkg/envelope"
	"posthaste/pkg/queue"
)

// queues are listed in this order.
var queues = []string{queue.Maildrop, queue.Active, queue.Incoming, queue.Deferred, queue.Hold}

// window is how many recipients are in memory at a time.
const window = 20000

// Walk lists a queue to h. Messages that are still being written, that leave
// meanwhile, and files that cannot be read are left out; the error is h's, or
// that of a queue directory, after everything else has been listed.
func Walk(s *queue.Spool, h Handler) error {
	seen := map[string]bool{} // a message may move while we look
	var trouble error
	for _, name := range queues {
		var ids []string
		if err := s.List(name, func(e queue.Entry) bool {
			if !seen[e.ID] {
				ids = append(ids, e.ID)
			}
			return true
		}); err != nil {
			if errors.Is(err, os.ErrNotExist) || name == queue.Maildrop && errors.Is(err, os.ErrPermission) {
				continue
			}
			trouble = errors.Join(trouble, err)
		}
		for _, id := range ids {
			f, err := s.Load(name, id)
			if err != nil {
				continue
			}
			seen[id] = true
			err = walkFile(f, name, h)
			f.Close()
			if err != nil {
				return err
			}
		}
	}
	return trouble
}

func walkFile(f *queue.File, name string, h Handler) error {
	m := f.Message()
	if err := h.Message(&Message{Queue: name, ID: f.ID(), Arrival: m.Arrival, Size: f.ContentLength(), Sender: m.Sender,
		Expire: f.ForceExpire(), UTF8: m.SMTPUTF8}); err != nil {
		return err
	}
	var cur queue.Cursor
	for !cur.AtEnd() {
		l, err := f.Recipients(&cur, window)
		if err != nil || len(l) == 0 {
			return nil // what can be read has been shown
		}
		reasons := map[uint32]string{}
		if f.Attempted() {
			texts := map[string]string{}
			f.Outcomes(func(o *envelope.Outcome) error {
				if o.Num < l[0].Num || o.Num > l[len(l)-1].Num {
					return nil
				}
				t, ok := texts[o.Reason]
				if !ok {
					t = o.Reason
					texts[t] = t
				}
				reasons[o.Num] = t
				return nil
			})
		}
		for i := range l {
			if err := h.Recipient(&Recipient{Address: l[i].Address, Orig: l[i].Orig, Reason: reasons[l[i].Num]}); err != nil {
				return err
			}
		}
	}
	return nil
}
