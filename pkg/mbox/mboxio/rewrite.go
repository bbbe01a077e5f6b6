package mboxio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
)

// ErrRoom is returned when fields do not fit where the old ones are.
var ErrRoom = errors.New("no room for the fields")

// top reads a message's From_ line and, behind it, the fields that are a
// rewrite's to replace; front tells that no other field is between them.
func top(file io.ReaderAt, off, end int64) (from []byte, block []byte, text string, err error) {
	b := make([]byte, min(8<<10, end-off))
	n, err := file.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return nil, nil, "", err
	}
	b = b[:n]
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, nil, "", ErrPlace
	}
	if _, ok := ParseFrom(b[:i]); !ok {
		return nil, nil, "", ErrPlace
	}
	from, b = b[:i+1], b[i+1:]
	d := newDecoder(func([]byte, bool) {})
	for pos := 0; ; {
		k := bytes.IndexByte(b[pos:], '\n')
		line := b[pos:]
		if k >= 0 {
			line = b[pos : pos+k+1]
		}
		if len(line) == 0 {
			d.finish()
			return from, b[:pos], d.Text, nil
		}
		d.piece(line, true, k >= 0)
		if !d.front || d.hiding != 0 && !ours(d.hiding) {
			return from, b[:pos], d.Text, nil
		}
		if k < 0 {
			return from, nil, d.Text, nil
		}
		pos += k + 1
	}
}

// SetMeta writes a message's fields in place, if they fit where its old ones are,
// right behind the From_ line. The Text of meta is not used: it stays. A process that is killed
// meanwhile leaves the old fields or the new, since they are written at once.
func SetMeta(file *os.File, off, end int64, meta *Meta) error {
	from, old, text, err := top(file, off, end)
	if err != nil {
		return err
	}
	m := *meta
	m.Text = text
	if len(old) == 0 {
		return ErrRoom
	}
	b := m.block(len(old))
	if b == nil {
		return ErrRoom
	}
	if bytes.Equal(b, old) {
		return nil
	}
	_, err = file.WriteAt(b, off+int64(len(from)))
	return err
}

// CopyMessage writes a message as it is in the file or, with meta, with other
// fields. The Text of meta is not used: what it says stays.
func CopyMessage(w io.Writer, file io.ReaderAt, off, end int64, meta *Meta) error {
	if meta == nil {
		_, err := io.Copy(w, io.NewSectionReader(file, off, end-off))
		return err
	}
	from, _, text, err := top(file, off, end)
	if err != nil {
		return err
	}
	m := *meta
	m.Text = text
	if _, err := w.Write(append(append([]byte(nil), from...), m.block(0)...)); err != nil {
		return err
	}
	// The rest of the header without those fields, then all else.
	at := off + int64(len(from))
	r := bufio.NewReaderSize(io.NewSectionReader(file, at, end-at), lineBuffer)
	l := lines{r: r}
	front, hiding, last := true, false, 0
	for {
		p, start, _, err := l.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if start {
			switch f, _ := field(p); {
			case p[0] == ' ' || p[0] == '\t':
				hiding = hiding && folds(last) // as the line before
			case isEmpty(p):
				if _, err := w.Write(p); err != nil {
					return err
				}
				_, err := io.Copy(w, r)
				return err
			default:
				last = f
				hiding = ours(f) && (f != fieldText || front)
				front = front && hiding
			}
		}
		if hiding {
			continue
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
}

// SetBase updates the two numbers of an X-IMAP field of c-client's own message in
// place, if they have ten digits each, as c-client writes them.
func SetBase(file *os.File, off, end int64, base *Base) error {
	b := make([]byte, min(8<<10, end-off))
	n, err := file.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return err
	}
	i := bytes.Index(b[:n], []byte("\nX-IMAP: "))
	if i < 0 || len(b[i+1:n]) < 8+21 {
		return ErrRoom
	}
	old := b[i+9 : i+9+21]
	text := appendBase(nil, base)
	for k, c := range old {
		if k == 10 && c != ' ' || k != 10 && (c < '0' || c > '9') {
			return ErrRoom
		}
	}
	if bytes.Equal(old, text) {
		return nil
	}
	_, err = file.WriteAt(text, off+int64(i)+9)
	return err
}
