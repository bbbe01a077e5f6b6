// Package pipeargs reads the arguments that a command has in an entry of master.cf
// for pipe(8): name=value, and argv= with the command line. It says what is wrong with
// them; what they do is for pipe to know.
package pipeargs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/macro"
	"posthaste/pkg/mailcopy"
)

// Fold flags change addresses in the command line.
type Fold uint8

const (
	FoldHost Fold = 1 << iota // h: domain and $nexthop in lower case
	FoldUser                  // u: local part in lower case
	Quote                     // q: RFC 5321 quoting
)

// Attrs are the arguments in master.cf.
type Attrs struct {
	Flags      mailcopy.Flags
	Fold       Fold
	Final      bool // X: this is final delivery, for success reports
	User       string
	Group      string
	Dir        string
	EOL        string
	NullSender string
	Size       int64
	Argv       []string
}

// Parse reads the arguments of a master.cf entry: name=value, up to
// argv=, which takes the rest.
func Parse(args []string) (*Attrs, error) {
	a := &Attrs{EOL: "\n", NullSender: "MAILER-DAEMON"}
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

func (a *Attrs) check() error {
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

func (a *Attrs) flags(s string) error {
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
			a.Fold |= FoldHost
		case 'q':
			a.Fold |= Quote
		case 'u':
			a.Fold |= FoldUser
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

// PerRecipient are the macros that make an argument appear once for each
// recipient; perRequest are the others.
var (
	PerRecipient = []string{"recipient", "original_recipient", "user", "extension", "mailbox", "domain"}
	perRequest   = []string{"nexthop", "sender", "size", "client_address", "client_hostname", "client_port",
		"client_protocol", "client_helo", "sasl_method", "sasl_username", "sasl_sender", "queue_id", "envid"}
)

// checkMacros refuses an argument with an unknown name.
func checkMacros(arg string) error {
	names, err := macro.Names(arg)
	if err != nil {
		return fmt.Errorf("argv: %w", err)
	}
	for _, n := range names {
		if !slices.Contains(PerRecipient, n) && !slices.Contains(perRequest, n) {
			return fmt.Errorf("argv: unknown macro name %q in %q", n, arg)
		}
	}
	return nil
}
