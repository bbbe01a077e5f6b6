package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/dsncode"
	"posthaste/pkg/filelock"
	"posthaste/pkg/mailcopy"
	"posthaste/pkg/maildir"
	"posthaste/pkg/mbox"
	"posthaste/pkg/spawn"
	"posthaste/pkg/wire"
)

// agentConf is what a worker knows of the configuration, which it may not be
// able to read itself.
type agentConf struct {
	Hostname     string
	Lock         filelock.Options
	MailboxLimit int64
	CommandLimit time.Duration
	Shell        string
	LineLimit    int
	Commands     bool // some destination may be a command: set-id programs must work
}

func (c *agentConf) encode() []byte {
	var e wire.Encoder
	e.String(c.Hostname)
	e.Uint(uint64(c.Lock.Methods))
	e.Int(int64(c.Lock.Attempts))
	e.Int(int64(c.Lock.Delay))
	e.Int(int64(c.Lock.Stale))
	e.Int(c.MailboxLimit)
	e.Int(int64(c.CommandLimit))
	e.String(c.Shell)
	e.Int(int64(c.LineLimit))
	e.Bool(c.Commands)
	return e.B
}

func decodeConf(p []byte) (*agentConf, error) {
	d := wire.NewDecoder(p)
	c := &agentConf{Hostname: d.String()}
	c.Lock.Methods = filelock.Methods(d.Uint())
	c.Lock.Attempts = int(d.Int())
	c.Lock.Delay = time.Duration(d.Int())
	c.Lock.Stale = time.Duration(d.Int())
	c.MailboxLimit = d.Int()
	c.CommandLimit = time.Duration(d.Int())
	c.Shell = d.String()
	c.LineLimit = int(d.Int())
	c.Commands = d.Bool()
	return c, d.Done()
}

// agent carries out tasks with the rights of its process: in a worker as root's
// dispatcher asks, or in the dispatcher itself when that is an ordinary user.
type agent struct {
	conf  *agentConf
	store maildir.Store
}

// message is a task with its descriptors.
type message struct {
	*task
	file  *os.File
	spool *os.File // taskSpool
}

func (m *message) content() *io.SectionReader {
	return io.NewSectionReader(m.file, m.Offset, m.Length)
}

// do carries out one task.
func (a *agent) do(ctx context.Context, m *message) *reply {
	r := &reply{}
	var err error
	switch m.Kind {
	case taskScan:
		r.Lists, err = mailcopy.Delivered(m.content())
	case taskUser:
		err = a.user(ctx, m, r)
	case taskInclude:
		r.Verdict = isTokens
		err = a.include(m, r)
	case taskCommand:
		err = a.command(ctx, m, m.Target)
	case taskFile:
		err = a.file(ctx, m, m.Target)
	case taskSpool:
		err = a.spool(ctx, m)
	}
	if err != nil {
		de := dsncode.As(err, "4.3.0")
		r.Verdict, r.DSN, r.Text, r.Diag = done, de.DSN, de.Text, de.Diag
	}
	return r
}

func (r *reply) warn(format string, a ...any) {
	if len(r.Warnings) < maxWarnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf(format, a...))
	}
}

// user looks for the recipient's .forward file, and delivers by plan if there
// is none.
func (a *agent) user(ctx context.Context, m *message, r *reply) error {
	if m.Loop != "" {
		lists, err := mailcopy.Delivered(m.content())
		if err != nil {
			return err
		}
		r.Lists = lists
		if looping(lists, m.Loop) {
			r.Verdict = isLoop
			return nil
		}
	}
	if m.NeedHome {
		if err := unix.Access(m.Home, unix.X_OK); err != nil {
			return dsncode.New("4.3.0", "cannot access home directory %s: %w", m.Home, err)
		}
	}
	if a.forward(m, r) {
		return nil
	}
	if m.Probe {
		return a.full(m.Target)
	}
	switch m.Plan {
	case planNone:
		r.Verdict = notFound
	case planSpool:
		r.Verdict = needSpool
	case planCommand:
		return a.command(ctx, m, m.Target)
	default:
		return a.file(ctx, m, m.Target)
	}
	return nil
}

// full tells what a delivery would say if the mailbox is full.
func (a *agent) full(path string) error {
	if strings.HasSuffix(path, "/") {
		return maildir.Full(filepath.Clean(path))
	}
	return mbox.Full(path, a.conf.MailboxLimit)
}

// looping compares as the Delivered-To: check does: ignoring case.
func looping(lists []string, addr string) bool {
	folded := address.Fold(addr)
	for _, l := range lists {
		for _, x := range address.ExtractList([]byte(l)) {
			if address.Fold(x) == folded {
				return true
			}
		}
	}
	return false
}

// forward reads the first .forward file that exists. A file that could be
// somebody else's work is left alone with a warning, and mail goes to the
// mailbox.
func (a *agent) forward(m *message, r *reply) bool {
	for i, path := range m.Forwards {
		var lst unix.Stat_t
		if unix.Lstat(path, &lst) != nil {
			continue
		}
		r.Which = i
		if lst.Mode&unix.S_IFMT != unix.S_IFREG {
			r.warn("file %s is not a regular file", path)
			return false
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			r.warn("cannot open file %s: %v", path, errors.Unwrap(err))
			return false
		}
		defer f.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			r.warn("cannot open file %s: %v", path, err)
			return false
		}
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			r.warn("file %s is not a regular file", path)
			return false
		case st.Uid != 0 && st.Uid != m.UID:
			r.warn("file %s has bad owner uid %d", path, st.Uid)
			return false
		case st.Mode&0o002 != 0:
			r.warn("file %s is world writable", path)
			return false
		}
		tokens, err := readTokens(f, a.conf.LineLimit)
		if err != nil {
			// Ignoring the file would put mail where its owner does not look.
			r.DSN, r.Text = "4.3.0", "error reading forwarding file: "+err.Error()
			return true
		}
		if len(tokens) == 0 {
			return false
		}
		r.Verdict, r.Tokens = isTokens, tokens
		return true
	}
	return false
}

// include reads an :include: file. Who owns it was checked by the dispatcher,
// which chose this worker; it is checked again on the open file.
func (a *agent) include(m *message, r *reply) error {
	const dsn, text = "5.3.5", "mail system configuration error"
	bad := func(format string, args ...any) error {
		r.warn(format, args...)
		return &dsncode.Error{DSN: dsn, Text: text}
	}
	f, err := os.OpenFile(m.Target, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if c := dsncode.FromErrno(err, dsn); c != dsn {
			return dsncode.New(c, "cannot open include file: %w", err)
		}
		return bad("cannot open include file %s: %v", m.Target, errors.Unwrap(err))
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return bad("unable to lookup :include: file %s: %v", m.Target, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return bad(":include: file %s is not a regular file", m.Target)
	case st.Mode&unix.S_IWOTH != 0:
		return bad(":include: file %s is world writable", m.Target)
	case m.Owner >= 0 && int64(st.Uid) != int64(m.Owner):
		return bad(":include: file %s has changed its owner", m.Target)
	}
	r.Tokens, err = readTokens(f, a.conf.LineLimit)
	if err != nil {
		return dsncode.New("4.3.0", "error reading include file: %w", err)
	}
	return nil
}

// maxForwardFile bounds a .forward or :include: file.
const maxForwardFile = 4 << 20

// readTokens reads the destinations of a .forward or :include: file: addresses,
// |commands, /files and :include:s in the form of a header's address list, line
// by line; lines that start with # are comments.
func readTokens(r io.Reader, lineLimit int) ([]string, error) {
	if lineLimit <= 0 {
		lineLimit = 2048
	}
	lr := &io.LimitedReader{R: r, N: maxForwardFile + 1}
	br := bufio.NewReaderSize(lr, max(lineLimit, 16))
	var out []string
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, err
		}
		if err == bufio.ErrBufferFull {
			return nil, fmt.Errorf("a line is longer than %d bytes", lineLimit)
		}
		if lr.N == 0 {
			return nil, fmt.Errorf("the file is larger than %d bytes", maxForwardFile)
		}
		if len(line) > 0 && line[0] != '#' {
			for _, t := range tokens(string(bytes.TrimRight(line, "\r\n"))) {
				if len(t) > maxToken {
					return nil, fmt.Errorf("a destination is longer than %d bytes", maxToken)
				}
				out = append(out, t)
			}
			if len(out) > maxTokens {
				return nil, fmt.Errorf("more than %d destinations", maxTokens)
			}
		}
		if err == io.EOF {
			return out, nil
		}
	}
}

// tokens splits one line, or the right-hand side of an alias.
func tokens(s string) []string {
	var out []string
	for _, t := range address.ExtractList([]byte(s)) {
		if t != "" && !strings.ContainsAny(t, "\r\n\x00") {
			out = append(out, t)
		}
	}
	return out
}

func (m *message) envelope() mailcopy.Envelope {
	return mailcopy.Envelope{Sender: address.Quote(m.Sender), OrigTo: address.Quote(m.Orig), DeliveredTo: address.Quote(m.Deliver), When: clock.Now()}
}

// command runs a command with the message on its standard input.
func (a *agent) command(ctx context.Context, m *message, line string) error {
	env := m.envelope()
	flags := mailcopy.From | mailcopy.ReturnPath | mailcopy.OrigTo | mailcopy.DeliveredTo
	head := mailcopy.AppendHeader(nil, &env, flags, "\n")
	res, err := spawn.Run(ctx, &spawn.Command{
		Line: line, Shell: a.conf.Shell, Dir: m.Dir, Env: m.Env, Limit: a.conf.CommandLimit,
		Input: func(w io.Writer) error {
			_, err := mailcopy.Copy(w, m.content(), head, 0, "\n")
			return err
		},
	})
	if err != nil {
		return dsncode.New("4.3.0", "Delivery failed: %w", err)
	}
	if e := res.Err(); e != nil {
		return e
	}
	return nil
}

// file appends to an mbox file, or delivers to a Maildir if the name ends in a
// slash.
func (a *agent) file(ctx context.Context, m *message, path string) error {
	env := m.envelope()
	if strings.HasSuffix(path, "/") {
		_, err := a.store.Deliver(&maildir.Message{
			Dir:     filepath.Clean(path),
			Name:    maildir.UniqueName(m.Arrival, m.QueueID, m.Num, a.conf.Hostname),
			Header:  mailcopy.AppendHeader(nil, &env, mailcopy.Maildir, "\n"),
			Content: m.content(),
			Arrival: m.Arrival,
			Limit:   a.conf.MailboxLimit,
		})
		if err != nil {
			return prefix(err, "maildir delivery failed: ")
		}
		return nil
	}
	t := mbox.NewTarget(path, a.conf.Lock)
	t.Limit, t.DefDSN, t.Owner = a.conf.MailboxLimit, m.DefDSN, int(m.Owner)
	what := "cannot update mailbox " + path + " for user " + m.User + ". "
	if m.Kind == taskFile {
		t.DotlockMayFail, t.AllowOther = true, true
		what = "cannot append message to file " + path + ": "
	}
	if err := mbox.Append(ctx, t, &mbox.Message{Envelope: env, Flags: mailcopy.Mbox, Content: m.content()}); err != nil {
		return prefix(err, what)
	}
	return nil
}

// spool appends to a mailbox that the dispatcher has opened and dot-locked.
func (a *agent) spool(ctx context.Context, m *message) error {
	t := mbox.NewTarget(m.Target, a.conf.Lock)
	t.Limit, t.DefDSN = a.conf.MailboxLimit, m.DefDSN
	f := &mbox.File{File: m.spool, Target: t}
	if err := f.Append(ctx, &mbox.Message{Envelope: m.envelope(), Flags: mailcopy.Mbox, Content: m.content()}); err != nil {
		return prefix(err, "cannot update mailbox "+m.Target+" for user "+m.User+". ")
	}
	return nil
}

func prefix(err error, what string) error {
	de := dsncode.As(err, "4.3.0")
	return &dsncode.Error{DSN: de.DSN, Text: what + de.Text, Diag: de.Diag, Err: de.Err}
}
