package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"posthaste/pkg/queue"
	"posthaste/test/tools/rig"
)

var finalRecipient = regexp.MustCompile(`(?mi)^Final-Recipient: *rfc822; *(\S+@no\.test)\r?$`)

// found is what is on a disk.
type found struct {
	boxes    map[string]int  // "token user@local.test" -> whole messages in the Maildir
	torn     map[string]bool // the same, for messages that are not whole
	queued   map[string]bool // "token address" still to do, of complete messages
	reported map[string]bool // addresses in reports, in a Maildir or complete in the queue
	partial  int             // incomplete queue files
	restored int             // messages made anew from a journal
	trouble  []string
}

// read looks at the files.
func (b *bench) read() (*found, error) {
	f := &found{boxes: map[string]int{}, torn: map[string]bool{}, queued: map[string]bool{}, reported: map[string]bool{}}
	if err := b.replay(f); err != nil {
		return nil, err
	}
	if err := b.readQueue(f); err != nil {
		return nil, err
	}
	for u := range users {
		who := fmt.Sprintf("user%d", u)
		ls, err := rig.Letters(b.s.Maildir(who))
		if err != nil {
			return nil, err
		}
		for _, data := range ls {
			crlf := bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
			if l := b.mail.letters[token(crlf)]; l != nil && !isReport(crlf) {
				key := l.token + " " + who + "@local.test"
				if bytes.HasSuffix(crlf, l.body) {
					f.boxes[key]++
				} else {
					f.torn[key] = true
				}
				continue
			}
			f.report(crlf)
		}
	}
	return f, nil
}

func isReport(data []byte) bool {
	head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	return bytes.Contains(head, []byte("report-type=delivery-status"))
}

func (f *found) report(data []byte) {
	for _, m := range finalRecipient.FindAllSubmatch(data, -1) {
		f.reported[string(m[1])] = true
	}
}

// replay is what qmgr does first.
func (b *bench) replay(f *found) error {
	spool, err := queue.Open(b.s.Queue, queue.Options{})
	if err != nil {
		return err
	}
	defer spool.Close()
	return spool.Replay(func(string) { f.restored++ })
}

func (b *bench) readQueue(f *found) error {
	spool, err := queue.Open(b.s.Queue, queue.Options{})
	if err != nil {
		return err
	}
	defer spool.Close()
	for _, q := range []string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold, queue.Corrupt} {
		err := spool.List(q, func(e queue.Entry) bool {
			m, err := spool.Load(q, e.ID)
			if err != nil {
				if !errors.Is(err, queue.ErrIncomplete) && !errors.Is(err, queue.ErrCorrupt) {
					f.trouble = append(f.trouble, err.Error())
				}
				f.partial++
				return true
			}
			defer m.Close()
			r, err := m.Content()
			var data []byte
			if err == nil {
				data, err = io.ReadAll(r)
			}
			if err != nil {
				f.trouble = append(f.trouble, err.Error())
				return true
			}
			if m.Message().Sender == "" {
				f.report(data)
			}
			l := b.mail.letters[token(data)]
			if l == nil || !bytes.HasSuffix(data, l.body) {
				return true
			}
			var c queue.Cursor
			for !c.AtEnd() {
				rs, err := m.Recipients(&c, 100)
				if err != nil {
					f.trouble = append(f.trouble, err.Error())
					return true
				}
				for _, r := range rs {
					f.queued[l.token+" "+r.Address] = true
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// look checks every promise against the disk.
func (b *bench) look(t *tally, k *known) error {
	f, err := b.read()
	if err != nil {
		return err
	}
	for _, x := range f.trouble {
		t.wrong("state %d: %s", t.states, x)
	}
	t.incomplete += f.partial
	t.restored += f.restored
	for _, tok := range k.acked {
		for _, to := range b.mail.letters[tok].to {
			key := tok + " " + to
			t.checked++
			if f.queued[key] && (f.boxes[key] > 0 || k.taken[key]) {
				t.again++
			}
			switch {
			case f.queued[key], f.boxes[key] > 0, k.taken[key]:
			case strings.HasSuffix(to, "@no.test") && f.reported[to]:
			case f.torn[key]:
				t.torn++
				t.wrong("state %d: %s to %s: torn in the Maildir and not in the queue", t.states, tok, to)
			default:
				t.lost++
				t.wrong("state %d: %s to %s: lost", t.states, tok, to)
			}
		}
	}
	for key, n := range f.boxes {
		if n > 1 {
			t.doubled++
			t.wrong("state %d: %s: %d times in the Maildir", t.states, key, n)
		}
	}
	return nil
}

// finish starts the mail system on the disk and waits until it has done what
// was left.
func (b *bench) finish(t *tally, k *known) error {
	m := b.mail
	m.open.Store(true)
	defer m.open.Store(false)
	m.mu.Lock()
	m.taken = map[string]int{}
	m.mu.Unlock()
	left, err := filepath.Glob(filepath.Join(b.s.Queue, queue.JournalDir, "*"))
	if err != nil {
		return err
	}
	if err := b.s.Start(); err != nil {
		return fmt.Errorf("start on the disk of state %d: %w", t.states, err)
	}
	err = rig.Until(90*time.Second, "finish the work", func() bool {
		for _, path := range left {
			if _, err := os.Lstat(path); err == nil {
				return false // messages are not back in the queue yet
			}
		}
		if n := b.s.Waiting(); n > 50 {
			return false
		}
		f := &found{queued: map[string]bool{}, reported: map[string]bool{}}
		return b.readQueue(f) == nil && len(f.queued) == 0 && b.s.Waiting() == f.partial
	})
	if e := b.s.Stop(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("state %d: %w", t.states, err)
	}
	t.restarts++
	f, err := b.read()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tok := range k.acked {
		for _, to := range m.letters[tok].to {
			key := tok + " " + to
			t.redelivered++
			switch {
			case strings.HasSuffix(to, "@local.test") && f.boxes[key] == 1:
			case strings.HasSuffix(to, "@no.test") && f.reported[to]:
			case k.taken[key], m.taken[key] > 0:
			default:
				t.wrong("state %d, after a restart: %s: %d times in the Maildir", t.states, key, f.boxes[key])
			}
		}
	}
	for key := range f.torn {
		t.wrong("state %d, after a restart: %s is still torn", t.states, key)
	}
	return nil
}
