package mailtool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/store"
)

// maxMessage is the largest message that is taken from an mbox.
const maxMessage = 512 << 20

// mboxMessage is one message of an mbox, in wire form.
type mboxMessage struct {
	Date    time.Time // zero if the From_ line has none that is understood
	Flags   mailbox.Flags
	Content []byte
}

var errNotMbox = errors.New("not an mbox: it does not begin with a From line")

// readMbox calls fn for each message. A line "From sender date" after an empty
// line separates (without a date it is text that its writer should have
// quoted); one ">" is taken from ">From " lines (mboxrd). The
// Status and X-Status header fields of other programs become flags and are
// left out, with the empty line that the format adds at the end of each message.
func readMbox(r *bufio.Reader, fn func(*mboxMessage) error) error {
	var cur *mboxMessage
	empty, header := true, false
	finish := func() error {
		if cur == nil {
			return nil
		}
		if bytes.HasSuffix(cur.Content, []byte("\r\n\r\n")) {
			cur.Content = cur.Content[:len(cur.Content)-2]
		}
		return fn(cur)
	}
	for first := true; ; first = false {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			switch {
			case empty && bytes.HasPrefix(line, []byte("From ")) && (first || !fromDate(string(line)).IsZero()):
				if err := finish(); err != nil {
					return err
				}
				cur = &mboxMessage{Date: fromDate(string(line))}
				header, empty = true, false
			case cur == nil && first:
				return errNotMbox
			case cur == nil:
			default:
				empty = len(line) == 0
				if header && empty {
					header = false
				}
				if !(header && cur.status(line)) {
					if rest := bytes.TrimLeft(line, ">"); len(rest) < len(line) && bytes.HasPrefix(rest, []byte("From ")) {
						line = line[1:]
					}
					if len(cur.Content)+len(line) > maxMessage {
						return fmt.Errorf("a message of more than %d bytes", maxMessage)
					}
					cur.Content = append(append(cur.Content, line...), "\r\n"...)
				}
			}
		}
		if err == io.EOF {
			if first && len(line) == 0 {
				return nil
			}
			return finish()
		}
		if err != nil {
			return err
		}
	}
}

// status takes flags from a header line, if it is one of those.
func (m *mboxMessage) status(line []byte) bool {
	name, value, ok := strings.Cut(string(line), ":")
	if !ok || !strings.EqualFold(name, "Status") && !strings.EqualFold(name, "X-Status") {
		return false
	}
	for _, c := range value {
		switch c {
		case 'R':
			m.Flags |= mailbox.Seen
		case 'A':
			m.Flags |= mailbox.Answered
		case 'F':
			m.Flags |= mailbox.Flagged
		case 'D':
			m.Flags |= mailbox.Deleted
		case 'T':
			m.Flags |= mailbox.Draft
		}
	}
	return true
}

// fromDate reads "From sender Thu Jan  1 00:00:00 1970".
func fromDate(line string) time.Time {
	f := strings.Fields(line)
	if len(f) < 7 {
		return time.Time{}
	}
	for _, layout := range []string{"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 -0700 2006", "Mon Jan 2 15:04:05 2006 -0700", "Mon Jan 2 15:04 2006"} {
		if t, err := time.Parse(layout, strings.Join(f[2:], " ")); err == nil {
			return t
		}
	}
	return time.Time{}
}

func (t *tool) loadMbox(path string) (n int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	s, err := t.m.OpenAt(t.at, store.UserOptions{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := s.Create(t.into, mailbox.UseNone); err != nil && !errors.Is(err, mailbox.ErrExists) {
		return 0, err
	}
	err = readMbox(bufio.NewReaderSize(file, 64<<10), func(m *mboxMessage) error {
		a, err := s.Append(t.into)
		if err != nil {
			return err
		}
		defer a.Abort()
		w, err := a.Begin(mailbox.AppendInfo{Flags: m.Flags, Date: m.Date, Size: int64(len(m.Content))})
		if err == nil {
			_, err = w.Write(m.Content)
		}
		if err == nil {
			_, err = a.Commit()
		}
		if err == nil {
			n++
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: message %d: %w", path, n+1, err)
	}
	return n, err
}
