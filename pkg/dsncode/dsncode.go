// Package dsncode maps trouble to RFC 3463 enhanced status codes: failed
// system calls, exit statuses of commands (sysexits.h) and texts that open with
// a code of their own. Error carries a code with a text across the packages
// that deliver mail.
package dsncode

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Error is a failed delivery: a code, and a text fit for the log and for a
// non-delivery report. Diag is the Diagnostic-Code text of type x-unix, "" if
// Text serves.
type Error struct {
	DSN  string
	Text string
	Diag string
	Err  error // cause, may be nil
}

// Error returns the text alone; the code is for machines.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether trying again may help.
func (e *Error) Temporary() bool { return strings.HasPrefix(e.DSN, "4") }

// New makes an Error; a %w in format sets its cause.
func New(dsn, format string, a ...any) *Error {
	w := fmt.Errorf(format, a...)
	return &Error{DSN: dsn, Text: w.Error(), Err: errors.Unwrap(w)}
}

// As returns err as an *Error. An error of another type becomes one with the
// code that FromErrno chooses.
func As(err error, def string) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{DSN: FromErrno(err, def), Text: err.Error(), Err: err}
}

// FromErrno returns the code for a failed operation on a mailbox: 4.2.0 for
// what passes by itself, 4.3.0 where the system is short of something, 4.2.2 over
// a quota, 5.2.2 beyond a size limit, def for everything else.
func FromErrno(err error, def string) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return def
	}
	switch no {
	case syscall.EAGAIN, syscall.ESTALE, syscall.EINTR, syscall.ETIMEDOUT:
		return "4.2.0"
	case syscall.ENOSPC, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.EROFS, syscall.ENOBUFS:
		return "4.3.0"
	case syscall.EDQUOT:
		return "4.2.2"
	case syscall.EFBIG:
		return "5.2.2"
	}
	return def
}

// Valid tells how long the code at the start of s is, 0 if there is none: class
// 2, 4 or 5, then two numbers of one to three digits (RFC 3463, section 2),
// then the end or white space.
func Valid(s string) int {
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return 0
	}
	i := 2
	for part := 0; part < 2; part++ {
		n := i
		for i < len(s) && i-n < 3 && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		if i == n {
			return 0
		}
		if part == 0 {
			if i == len(s) || s[i] != '.' {
				return 0
			}
			i++
		}
	}
	if i < len(s) && s[i] != ' ' && s[i] != '\t' {
		return 0
	}
	return i
}

// Split takes a code off the front of text; without one it returns def and
// the whole text.
func Split(def, text string) (dsn, rest string) {
	n := Valid(text)
	if n == 0 {
		return def, text
	}
	return text[:n], strings.TrimLeft(text[n:], " \t")
}

// FromExit returns code and text for a command's exit status as sysexits.h
// gives it; known is false for a status outside that list.
func FromExit(status int) (dsn, text string, known bool) {
	switch status {
	case 64:
		return "5.3.0", "command line usage error", true
	case 65:
		return "5.6.0", "data format error", true
	case 66:
		return "5.3.0", "cannot open input", true
	case 67:
		return "5.1.1", "user unknown", true
	case 68:
		return "5.1.2", "host name unknown", true
	case 69:
		return "5.3.0", "service unavailable", true
	case 70:
		return "5.3.0", "internal software error", true
	case 71:
		return "4.3.0", "system resource problem", true
	case 72:
		return "5.3.0", "critical OS file missing", true
	case 73:
		return "5.2.0", "can't create user output file", true
	case 74:
		return "5.3.0", "input/output error", true
	case 75:
		return "4.3.0", "temporary failure", true
	case 76:
		return "5.5.0", "remote error in protocol", true
	case 77:
		return "5.7.0", "permission denied", true
	case 78:
		return "5.3.5", "local configuration error", true
	}
	return "5.3.0", "unknown mail system error", false
}
