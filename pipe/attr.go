package main

import (
	"fmt"
	"strconv"
	"strings"

	"posthaste/pkg/mailcopy"
	"posthaste/pkg/wire"
)

// fold flags change addresses in the command line.
type fold uint8

const (
	foldHost fold = 1 << iota // h: domain and $nexthop in lower case
	foldUser                  // u: local part in lower case
	quote                     // q: RFC 5321 quoting
)

// attrs are the arguments in master.cf.
type attrs struct {
	Flags      mailcopy.Flags
	Fold       fold
	Final      bool // X: this is final delivery, for success reports
	User       string
	Group      string
	Dir        string
	EOL        string
	NullSender string
	Size       int64
	Argv       []string
}

// parseAttrs reads the arguments of a master.cf entry: name=value, up to
// argv=, which takes the rest.
func parseAttrs(args []string) (*attrs, error) {
	a := &attrs{EOL: "\n", NullSender: "MAILER-DAEMON"}
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("unknown attribute %q", arg)
		}
		var err error
		switch strings.ToLower(name) {
		case "flags":
			err = a.flags(value)
		case "user":
			a.User, a.Group, _ = strings.Cut(value, ":")
		case "directory":
			a.Dir = value
		case "chroot":
			err = fmt.Errorf("chroot= is not supported: use directory=, or a command that confines itself")
		case "eol":
			a.EOL, err = unescape(value)
		case "null_sender":
			a.NullSender = value
		case "size":
			a.Size, err = size(value)
		case "argv":
			a.Argv = append([]string{value}, args[i+1:]...)
			return a, a.check()
		default:
			err = fmt.Errorf("unknown attribute name: %s", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, a.check()
}

func (a *attrs) check() error {
	switch {
	case a.User == "":
		return fmt.Errorf("missing user= command-line attribute")
	case len(a.Argv) == 0 || a.Argv[0] == "":
		return fmt.Errorf("missing argv= command-line attribute")
	}
	for _, arg := range a.Argv {
		if err := checkMacros(arg); err != nil {
			return err
		}
	}
	return nil
}

func (a *attrs) flags(s string) error {
	for _, c := range s {
		switch c {
		case 'B':
			a.Flags |= mailcopy.Blank
		case 'D':
			a.Flags |= mailcopy.DeliveredTo
		case 'F':
			a.Flags |= mailcopy.From
		case 'O':
			a.Flags |= mailcopy.OrigTo
		case 'R':
			a.Flags |= mailcopy.ReturnPath
		case 'X':
			a.Final = true
		case '.':
			a.Flags |= mailcopy.Dot
		case '>':
			a.Flags |= mailcopy.Quote
		case 'h':
			a.Fold |= foldHost
		case 'q':
			a.Fold |= quote
		case 'u':
			a.Fold |= foldUser
		default:
			return fmt.Errorf("unknown flag: %c", c)
		}
	}
	return nil
}

// size reads a number of bytes with an optional k, m or g.
func size(s string) (int64, error) {
	shift := 0
	num := s
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift, num = 10, s[:len(s)-1]
		case 'm', 'M':
			shift, num = 20, s[:len(s)-1]
		case 'g', 'G':
			shift, num = 30, s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("bad size= value: %s", s)
	}
	return n << shift, nil
}

// unescape resolves \a \b \f \n \r \t \v \nnn \\ .
func unescape(s string) (string, error) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i++; i == len(s) {
			return "", fmt.Errorf("eol=%s ends in a backslash", s)
		}
		switch c := s[i]; {
		case strings.IndexByte("abfnrtv", c) >= 0:
			b = append(b, "\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)])
		case c >= '0' && c <= '7':
			n := 0
			j := i
			for ; j < len(s) && j < i+3 && s[j] >= '0' && s[j] <= '7'; j++ {
				n = n*8 + int(s[j]-'0')
			}
			b = append(b, byte(n))
			i = j - 1
		default:
			b = append(b, c)
		}
	}
	return string(b), nil
}

// order is what a worker is asked to run.
type order struct {
	Argv        []string
	Env         []string
	Dir         string
	EOL         string
	Flags       mailcopy.Flags
	Sender      string // external forms, for the header lines
	OrigTo      string
	DeliveredTo string
	Loop        string // internal recipient to look for in Delivered-To:, "" for none
	Limit       int64  // nanoseconds
	Offset      int64
	Length      int64
}

func (o *order) encode() []byte {
	var e wire.Encoder
	e.Strings(o.Argv)
	e.Strings(o.Env)
	for _, s := range []string{o.Dir, o.EOL, o.Sender, o.OrigTo, o.DeliveredTo, o.Loop} {
		e.String(s)
	}
	e.Uint(uint64(o.Flags))
	e.Int(o.Limit)
	e.Int(o.Offset)
	e.Int(o.Length)
	return e.B
}

func decodeOrder(p []byte) (*order, error) {
	d := wire.NewDecoder(p)
	o := &order{Argv: d.Strings(), Env: d.Strings()}
	for _, s := range []*string{&o.Dir, &o.EOL, &o.Sender, &o.OrigTo, &o.DeliveredTo, &o.Loop} {
		*s = d.String()
	}
	o.Flags = mailcopy.Flags(d.Uint())
	o.Limit, o.Offset, o.Length = d.Int(), d.Int(), d.Int()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(o.Argv) == 0 || o.Offset < 0 || o.Length < 0 {
		return nil, wire.ErrMalformed
	}
	return o, nil
}
