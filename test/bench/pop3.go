package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"
)

// popClient is a bare POP3 client that counts lines.
type popClient struct {
	c net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

// errInUse says that another session has the maildrop.
var errInUse = errors.New("maildrop in use")

// dialPOP3 connects and logs in; with retry again and again while the server
// still holds the maildrop's lock for an earlier session.
func dialPOP3(addr, user string, retry bool) (*popClient, error) {
	for end := time.Now().Add(10 * time.Second); ; {
		p, err := dialPOP3Once(addr, user)
		if !retry || !errors.Is(err, errInUse) || time.Now().After(end) {
			return p, err
		}
	}
}

func dialPOP3Once(addr, user string) (*popClient, error) {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	p := &popClient{c, bufio.NewReaderSize(c, 1<<16), bufio.NewWriter(c)}
	if _, _, err = p.answer(false); err == nil {
		if _, _, err = p.cmd("USER "+user, false); err == nil {
			_, _, err = p.cmd("PASS "+mailPassword, false)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return p, nil
}

func (p *popClient) close() { p.c.Close() }

// answer reads a status line and, if multi, the lines up to the dot; it gives
// their number and size.
func (p *popClient) answer(multi bool) (lines int, size int64, err error) {
	line, err := p.r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if bytes.HasPrefix(line, []byte("-ERR [IN-USE]")) {
		return 0, 0, errInUse
	}
	if !bytes.HasPrefix(line, []byte("+OK")) {
		return 0, 0, fmt.Errorf("answer %q", line)
	}
	for multi {
		if line, err = p.r.ReadSlice('\n'); err != nil {
			return 0, 0, err
		}
		if len(line) == 3 && line[0] == '.' {
			break
		}
		lines++
		size += int64(len(line))
	}
	return lines, size, nil
}

func (p *popClient) cmd(text string, multi bool) (int, int64, error) {
	p.w.WriteString(text + "\r\n")
	if err := p.w.Flush(); err != nil {
		return 0, 0, err
	}
	lines, size, err := p.answer(multi)
	if err != nil {
		err = fmt.Errorf("%.4s: %w", text, err)
	}
	return lines, size, err
}

// maildrop reads a maildrop of 2,000 messages four times and then deletes it.
func maildrop(b *bench) error {
	const n = 2000
	r, err := b.upReader(1)
	if err != nil {
		return err
	}
	if err := r.fill(1, n); err != nil {
		return err
	}
	clk := startClock(b.pid)
	for _, run := range []struct {
		figure   string
		pipeline int
		dele     bool
	}{{"first", 1, false}, {"again", 1, false}, {"pipelined", 50, false}, {"deleting", 1, true}} {
		t := time.Now()
		if err := readMaildrop(r.pop3, n, run.pipeline, run.dele); err != nil {
			return fmt.Errorf("%s: %w", run.figure, err)
		}
		r.put(run.figure, time.Since(t).Seconds()*1e3, "ms")
	}
	clk.stop(b, 1, "")
	return nil
}

// readMaildrop is one session: LIST, UIDL, RETR of all messages, so many
// commands in flight, and DELE of all.
func readMaildrop(addr string, n, pipeline int, dele bool) error {
	p, err := dialPOP3(addr, mailUser(0), true)
	if err != nil {
		return err
	}
	defer p.close()
	for _, command := range []string{"LIST", "UIDL"} {
		lines, _, err := p.cmd(command, true)
		if err == nil && lines != n {
			err = fmt.Errorf("%s: %d lines, not %d", command, lines, n)
		}
		if err != nil {
			return err
		}
	}
	for sent, got := 0, 0; got < n; got++ {
		for ; sent < n && sent < got+pipeline; sent++ {
			fmt.Fprintf(p.w, "RETR %d\r\n", sent+1)
		}
		p.w.Flush()
		_, size, err := p.answer(true)
		if err == nil && size < mailSize*3/4 {
			err = fmt.Errorf("message %d has %d bytes", got+1, size)
		}
		if err != nil {
			return err
		}
	}
	for i := 1; dele && i <= n; i++ {
		if _, _, err := p.cmd(fmt.Sprintf("DELE %d", i), false); err != nil {
			return err
		}
	}
	_, _, err = p.cmd("QUIT", false)
	return err
}
