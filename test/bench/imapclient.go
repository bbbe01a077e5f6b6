package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"
)

// imapClient is a bare IMAP client that counts responses rather than parses
// them, so that the generator takes little of the machine.
type imapClient struct {
	c   net.Conn
	r   *bufio.Reader
	w   *bufio.Writer
	tag int
}

// imapResult counts what one command brought back.
type imapResult struct {
	fetches, hits, exists int
	bytes                 int64
}

// dialIMAP connects and logs in.
func dialIMAP(addr, user string) (*imapClient, error) {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	m := &imapClient{c: c, r: bufio.NewReaderSize(c, 1<<16), w: bufio.NewWriterSize(c, 1<<16)}
	if _, err = m.r.ReadString('\n'); err == nil {
		_, err = m.cmd("LOGIN " + user + " " + mailPassword)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("login of %s: %w", user, err)
	}
	return m, nil
}

func (m *imapClient) close() { m.c.Close() }

// cmd sends a command, each literal appended to it, and reads up to its end.
func (m *imapClient) cmd(text string, literals ...[]byte) (imapResult, error) {
	m.tag++
	tag := "a" + strconv.Itoa(m.tag) + " "
	m.w.WriteString(tag + text)
	for _, l := range literals { // several make a MULTIAPPEND
		m.w.WriteString(" {" + strconv.Itoa(len(l)) + "+}\r\n")
		m.w.Write(l)
	}
	m.w.WriteString("\r\n")
	if err := m.w.Flush(); err != nil {
		return imapResult{}, err
	}
	res, err := m.responses(tag)
	if err != nil {
		err = fmt.Errorf("%s: %w", text, err)
	}
	return res, err
}

// responses reads up to the tagged reply.
func (m *imapClient) responses(tag string) (res imapResult, err error) {
	for {
		line, err := m.r.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		if err != nil && !long {
			return res, err
		}
		if bytes.HasPrefix(line, []byte(tag)) {
			if !bytes.HasPrefix(line[len(tag):], []byte("OK")) {
				return res, fmt.Errorf("answer %q", line)
			}
			return res, nil
		}
		search := false
		if f := bytes.Fields(line[:min(len(line), 40)]); len(f) > 1 {
			switch {
			case len(f) > 2 && string(f[2]) == "FETCH":
				res.fetches++
			case len(f) > 2 && string(f[2]) == "EXISTS":
				res.exists, _ = strconv.Atoi(string(f[1]))
			case string(f[1]) == "SEARCH":
				search = true
				res.hits--
			}
		}
		for { // the rest of this response: more of a long line, or literals
			res.bytes += int64(len(line))
			if search {
				res.hits += bytes.Count(line, []byte(" "))
			}
			if !long {
				n := literalSize(line)
				if n < 0 {
					break
				}
				if _, err = m.r.Discard(n); err != nil {
					return res, err
				}
				res.bytes += int64(n)
			}
			line, err = m.r.ReadSlice('\n')
			if long = err == bufio.ErrBufferFull; err != nil && !long {
				return res, err
			}
		}
	}
}

// literalSize gives n if line ends in {n}CRLF, otherwise -1.
func literalSize(line []byte) int {
	line = bytes.TrimRight(line, "\r\n")
	if !bytes.HasSuffix(line, []byte("}")) {
		return -1
	}
	open := bytes.LastIndexByte(line, '{')
	n, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
	if open < 0 || err != nil {
		return -1
	}
	return n
}
