package queue

import (
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// Mark is a fact about a message that qmgr records beside the outcomes.
type Mark uint8

const (
	DelayWarned  Mark = 1 + iota // the notice of delayed delivery was sent
	Bouncing                     // the non-delivery report for the outcomes before it was accepted
	SuccessNoted                 // the report of successful deliveries before it was accepted
	markKinds
)

// Final tells whether an outcome ends a recipient's stay in the queue.
func Final(o *envelope.Outcome) bool { return o.Status != envelope.Deferred }

func outcomeHash(o *envelope.Outcome) uint32 {
	h := crc32.New(castagnoli)
	fmt.Fprintf(h, "%d\x00%s\x00%s\x00%s\x00%s", o.Status, o.DSN, o.Relay, o.Reason, o.DiagText)
	return h.Sum32() | 1
}

// note counts an outcome.
func (f *File) note(o *envelope.Outcome) {
	if o.Num >= f.h.rcpts || o.Num < f.h.firstOK {
		return
	}
	if f.last == nil {
		f.last = make([]uint32, f.h.rcpts)
	}
	if f.last[o.Num] == 0 {
		f.nWith++
	}
	f.last[o.Num] = outcomeHash(o)
	if Final(o) && !f.done.has(o.Num) {
		f.done.set(o.Num, f.h.rcpts)
		f.nDone++
	}
}

// readLog reads the records after END. It stops at the first that is torn: its
// writer had not been told that it is safe.
func (f *File) readLog(src *source) error {
	f.tail = src.at
	if f.size == src.at {
		return nil
	}
	return eachLog(src, func(typ byte, p []byte) error {
		switch typ {
		case recOutcome:
			o, err := decodeOutcome(p)
			if err != nil {
				return corrupt("bad outcome record")
			}
			f.note(&o)
		case recMark:
			d := wire.NewDecoder(p)
			k, t := d.Uint(), d.Time()
			if d.Done() == nil && k > 0 && k < uint64(markKinds) {
				f.marks[k] = t
			}
		}
		return nil
	}, func(at int64, torn bool) { f.tail, f.torn = at, torn })
}

// eachLog calls fn for each intact record from src on, and done with the offset
// behind the last.
func eachLog(src *source, fn func(typ byte, payload []byte) error, done func(at int64, torn bool)) error {
	for {
		typ, p, n := splitLog(src.peek(16))
		if n == 0 {
			typ, p, n = splitLog(src.peek(maxRecord + 16))
		}
		if n == -1 {
			// The checksum of a record that is only partly in the first bytes cannot
			// be judged from them; splitLog has seen the whole record when it says so.
			done(src.at, true)
			return src.err
		}
		if n == 0 {
			done(src.at, len(src.peek(1)) > 0)
			return src.err
		}
		if err := fn(typ, p); err != nil {
			return err
		}
		src.skip(n)
	}
}

// Outcomes calls fn for each recorded outcome in the order of recording; for a
// recipient with several, the last one holds.
func (f *File) Outcomes(fn func(*envelope.Outcome) error) error {
	return f.OutcomesAndMarks(fn, nil)
}

// OutcomesAndMarks is Outcomes, and calls mark, unless nil, for each mark at
// its place among them.
func (f *File) OutcomesAndMarks(fn func(*envelope.Outcome) error, mark func(Mark, time.Time) error) error {
	if f.tail == f.outs {
		return nil
	}
	if _, err := f.FD(); err != nil {
		return err
	}
	src, put := f.source(f.outs)
	defer put()
	stop := errors.New("end")
	err := eachLog(src, func(typ byte, p []byte) error {
		if src.at >= f.tail {
			return stop
		}
		switch typ {
		case recOutcome:
			o, err := decodeOutcome(p)
			if err != nil {
				return &FileError{Path: f.Path(), Reason: "bad outcome record", Err: ErrCorrupt}
			}
			return fn(&o)
		case recMark:
			d := wire.NewDecoder(p)
			k, t := d.Uint(), d.Time()
			if d.Done() == nil && mark != nil {
				return mark(Mark(k), t)
			}
		}
		return nil
	}, func(int64, bool) {})
	if err == stop {
		return nil
	}
	return err
}

// Marked returns when a mark was last set; the zero time if never.
func (f *File) Marked(m Mark) time.Time {
	if m >= markKinds {
		return time.Time{}
	}
	return f.marks[m]
}

// Append records outcomes, in one write. It does not wait for the disk: what a
// power failure loses is delivered again, and found by its name in a Maildir;
// Sync waits. A deferral that says what the recipient's last one said is not
// recorded again.
func (f *File) Append(outs []envelope.Outcome) error {
	var b []byte
	var e wire.Encoder
	for i := range outs {
		o := &outs[i]
		if err := o.Validate(); err != nil {
			return err
		}
		if o.Num >= f.h.rcpts || o.Num < f.h.firstOK {
			return fmt.Errorf("%s: outcome for recipient %d of %d", f.h.id, o.Num, f.h.rcpts)
		}
		if f.last != nil && !Final(o) && f.last[o.Num] == outcomeHash(o) {
			continue
		}
		e.B = e.B[:0]
		o.Encode(&e)
		b = appendLog(b, recOutcome, e.B)
	}
	if err := f.appendLog(b); err != nil {
		return err
	}
	for i := range outs {
		f.note(&outs[i])
	}
	return nil
}

// Mark records that a mark was reached at t.
func (f *File) Mark(m Mark, t time.Time) error {
	if m == 0 || m >= markKinds {
		return fmt.Errorf("%s: mark %d", f.h.id, m)
	}
	var e wire.Encoder
	e.Uint(uint64(m))
	e.Time(t)
	if err := f.appendLog(appendLog(nil, recMark, e.B)); err != nil {
		return err
	}
	f.marks[m] = t
	return nil
}

func (f *File) appendLog(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	fd, err := f.s.ops.Open(f.Path(), unix.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return durable.Wrap("open", f.Path(), err)
	}
	defer f.s.ops.Close(fd)
	if f.torn {
		// Cut the torn record off, so that no remainder of it can follow the new one.
		if err := unix.Ftruncate(fd, f.tail); err != nil {
			return durable.Wrap("truncate", f.Path(), err)
		}
		f.torn = false
	}
	if err := f.s.ops.PwriteAll(fd, b, f.tail); err != nil {
		f.torn = true
		return durable.Wrap("write", f.Path(), err)
	}
	f.tail += int64(len(b))
	return nil
}

// Sync puts what Append and Mark wrote on stable storage.
func (f *File) Sync() error {
	fd, err := f.FD()
	if err != nil {
		return err
	}
	return f.s.commit.CommitFD(fd, -1, f.Path())
}
