package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"posthaste/pkg/envelope"
)

type mode int

const (
	modeMail mode = iota
	modeList
	modeAliases
	modeSMTP
	modeDaemon
	modeFlush
	modeFlushID
	modeFlushSite
	modeNothing
)

// options are the parsed command line.
type options struct {
	mode        mode
	config      string // directory
	sender      string
	senderSet   bool
	fullName    string
	fullNameSet bool
	dots        bool // a line with only a dot is text
	extract     bool
	notify      envelope.Notify
	ret, envid  string
	body        string
	gateway     bool
	utf8        bool
	verifyOnly  bool
	verbose     int
	interval    bool // -q TIME
	flush       string
	aliases     []string
	rcpts       []string
	warnings    []string // what is wrong with options that do not matter
}

// Letters that take an argument, and that do not.
const (
	withArg    = "ABCFLNOQRVXbefhopqr"
	withoutArg = "GIUcimnstvx"
)

// parse reads the command line of sendmail, or of mailq and newaliases by
// name.
func parse(name string, args []string) (*options, error) {
	o := &options{}
	switch name {
	case "mailq":
		o.mode = modeList
	case "newaliases":
		o.mode = modeAliases
	}
	// Parsing goes on after a mistake, since -C may follow, which says where
	// the log is.
	var bad error
	mistake := func(err error) {
		if bad == nil {
			bad = err
		}
	}
	i := 0
	for ; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			i++
			break
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		if a == "-q" { // alone it takes no argument
			o.mode = modeFlush
			continue
		}
	letters:
		for j := 1; j < len(a); j++ {
			c := a[j]
			switch {
			case strings.IndexByte(withoutArg, c) >= 0:
				mistake(o.letter(c, ""))
			case strings.IndexByte(withArg, c) < 0:
				mistake(fmt.Errorf("usage: %s [options]: unknown option -%c", name, c))
			default:
				v := a[j+1:]
				if v == "" {
					if i++; i >= len(args) {
						mistake(fmt.Errorf("usage: %s [options]: option -%c needs an argument", name, c))
						break letters
					}
					v = args[i]
				}
				mistake(o.letter(c, v))
				break letters
			}
		}
	}
	o.rcpts = args[min(i, len(args)):]
	mistake(o.check())
	return o, bad
}

// check refuses combinations that make no sense.
func (o *options) check() error {
	if o.verifyOnly {
		switch {
		case o.extract:
			return fmt.Errorf("-t option cannot be used with -bv")
		case o.notify != 0:
			return fmt.Errorf("-N option cannot be used with -bv")
		case o.ret != "":
			return fmt.Errorf("-R option cannot be used with -bv")
		case o.verbose > 0:
			return fmt.Errorf("-v option cannot be used with -bv")
		}
	}
	what, other := map[mode]string{modeList: "display queue", modeAliases: "alias initialization", modeSMTP: "stand-alone", modeDaemon: "daemon",
		modeFlush: "flush queue", modeFlushID: "flush queue", modeFlushSite: "flush queue"}[o.mode]
	switch {
	case other && len(o.rcpts) > 0:
		return fmt.Errorf("%s mode requires no recipient", what)
	case other && o.extract:
		return fmt.Errorf("-t option can be used only in delivery mode")
	case o.mode == modeMail && o.interval && len(o.rcpts) == 0 && !o.extract:
		o.mode = modeNothing // the queue manager has its own interval
	}
	return nil
}

func (o *options) letter(c byte, v string) error {
	switch c {
	case 'A', 'L', 'Q', 'U', 'c', 'e', 'h', 'm', 'p', 's', 'x':
	case 'B':
		if v = strings.ToUpper(v); v != "7BIT" && v != "8BITMIME" {
			return fmt.Errorf("-B option needs 7BIT or 8BITMIME")
		}
		o.body = v
	case 'C':
		o.config = v
		if st, err := os.Stat(v); err != nil || !st.IsDir() {
			o.config = filepath.Dir(v)
		}
	case 'F':
		o.fullName, o.fullNameSet = v, true
	case 'G':
		o.gateway = true
	case 'I':
		o.mode = modeAliases
	case 'N':
		o.setNotify(v)
	case 'O':
		name, val, _ := strings.Cut(v, "=")
		if strings.EqualFold(name, "smtputf8") {
			o.utf8 = strings.EqualFold(val, "yes")
		}
	case 'R':
		switch strings.ToLower(v) {
		case "full":
			o.ret = "FULL"
		case "hdrs":
			o.ret = "HDRS"
		default:
			o.warnings = append(o.warnings, "bad -R option value -- ignored")
		}
	case 'V':
		o.envid = v
	case 'X':
		if strings.HasPrefix(v, "V") {
			return fmt.Errorf("-XV: variable envelope return paths are not supported")
		}
		return fmt.Errorf("-X option not supported")
	case 'n':
		return fmt.Errorf("-n option not supported")
	case 'b':
		return o.setMode(v)
	case 'f', 'r':
		o.sender, o.senderSet = v, true
	case 'i':
		o.dots = true
	case 'o':
		switch {
		case v == "i":
			o.dots = true
		case v == "A":
			return fmt.Errorf("-oA requires pathname")
		case v[0] == 'A':
			o.aliases = append(o.aliases, v[1:])
		}
	case 'q':
		switch v[0] {
		case 'I':
			o.mode, o.flush = modeFlushID, v[1:]
		case 'R':
			o.mode, o.flush = modeFlushSite, v[1:]
		case 'S':
			return fmt.Errorf("-qS queue selection is not implemented")
		default:
			if v[0] < '0' || v[0] > '9' {
				return fmt.Errorf("-q%s is not implemented", v)
			}
			o.interval = true
		}
		if (v[0] == 'I' || v[0] == 'R') && o.flush == "" {
			return fmt.Errorf("-q%c needs a value", v[0])
		}
	case 't':
		o.extract = true
	case 'v':
		o.verbose++
	}
	return nil
}

func (o *options) setMode(v string) error {
	switch v[0] {
	case 'm':
		o.mode = modeMail
	case 'p':
		o.mode = modeList
	case 'i':
		o.mode = modeAliases
	case 's':
		o.mode = modeSMTP
	case 'd', 'l':
		o.mode = modeDaemon
	case 'v':
		o.mode, o.verifyOnly = modeMail, true
	case 'h', 'H':
		o.mode = modeNothing
	default:
		return fmt.Errorf("unsupported: -b%s", v)
	}
	return nil
}

// setNotify reads the value of -N. A bad one costs the reports that were wanted,
// but not the mail.
func (o *options) setNotify(v string) {
	var n envelope.Notify
	for _, w := range strings.FieldsFunc(strings.ToLower(v), func(r rune) bool { return r == ',' || r == ' ' }) {
		switch w {
		case "never":
			n |= envelope.NotifyNever
		case "success":
			n |= envelope.NotifySuccess
		case "failure":
			n |= envelope.NotifyFailure
		case "delay":
			n |= envelope.NotifyDelay
		default:
			o.warnings = append(o.warnings, fmt.Sprintf("unknown DSN NOTIFY command value %q in %q", w, v))
			n = 0
		}
		if n == 0 {
			break
		}
	}
	if n == 0 || n&envelope.NotifyNever != 0 && n != envelope.NotifyNever {
		o.warnings = append(o.warnings, "bad -N option value -- ignored")
		return
	}
	o.notify = n
}
