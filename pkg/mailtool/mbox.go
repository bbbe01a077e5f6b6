package mailtool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/store"
	"posthaste/pkg/mbox/mboxio"
)

// maxMessage is the largest message that is taken from an mbox.
const maxMessage = 512 << 20

// mboxMessage is one message of an mbox, in wire form.
type mboxMessage struct {
	Date     time.Time
	Flags    mailbox.Flags
	Keywords []string
	Content  []byte
}

// readMbox calls fn for each message of a file of that size. What package mboxio
// hides from clients is left out, and one ">" is taken from ">From " lines (mboxrd) of messages
// that are not ours: what is imported is in no mbox any more.
func readMbox(file io.ReaderAt, size int64, fn func(*mboxMessage) error) error {
	first := true
	return mboxio.Scan(file, 0, size, func(e *mboxio.Message) error {
		internal := first && e.Base != nil && e.Base.Pseudo
		first = false
		switch {
		case internal:
			return nil
		case e.Size > maxMessage:
			return fmt.Errorf("a message of more than %d bytes", maxMessage)
		}
		var b bytes.Buffer
		if _, err := mboxio.DecodeAt(&b, file, e.Off, e.End); err != nil {
			return err
		}
		m := &mboxMessage{Date: time.Unix(e.Date, 0), Flags: e.Flags, Keywords: e.Keywords, Content: b.Bytes()}
		if e.Text == "" {
			m.Content = unquote(m.Content)
		}
		return fn(m)
	})
}

// unquote works in place.
func unquote(b []byte) []byte {
	out := b[:0]
	for line := range bytes.Lines(b) {
		if rest := bytes.TrimLeft(line, ">"); len(rest) < len(line) && bytes.HasPrefix(rest, []byte("From ")) {
			line = line[1:]
		}
		out = append(out, line...)
	}
	return out
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
	st, err := file.Stat()
	if err != nil {
		return 0, err
	}
	err = readMbox(file, st.Size(), func(m *mboxMessage) error {
		a, err := s.Append(t.into)
		if err != nil {
			return err
		}
		defer a.Abort()
		w, err := a.Begin(mailbox.AppendInfo{Flags: m.Flags, Keywords: m.Keywords, Date: m.Date, Size: int64(len(m.Content))})
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
