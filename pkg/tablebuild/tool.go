package tablebuild

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
)

// Tool is postmap or postalias: one program with two sorts of source.
type Tool struct {
	Name   string
	Alias  bool
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// run holds what the options of one call say.
type run struct {
	*Tool
	o                     Options
	dir, query, del       string
	haveQuery, haveDelete bool
	update, list, json    bool
	header, body, mime    bool
	verbose               int
	cfg                   *config.Config
	env                   *lookup.Env
	out                   *bufio.Writer
	mail                  *maillog.Logger // the mail log, once the configuration is known
}

// Main runs the tool with the arguments after the program's name and returns
// its exit status: 0, or 1 for an error or a query that found nothing.
func (t *Tool) Main(args []string) (status int) {
	r := &run{Tool: t, out: bufio.NewWriter(t.Stdout)}
	defer func() {
		if p := recover(); p != nil {
			var ve *config.ValueError
			if err, ok := p.(error); !ok || !errors.As(err, &ve) {
				panic(p)
			}
			status = r.fatal(ve)
		}
	}()
	found, err := r.main(args)
	if ferr := r.out.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("write error: %w", ferr)
	}
	if err != nil {
		return r.fatal(err)
	}
	if !found {
		return 1
	}
	return 0
}

func (r *run) fatal(err error) int {
	fmt.Fprintf(r.Stderr, "%s: fatal: %v\n", r.Name, err)
	r.mail.Fatalf("%v", err)
	return 1
}

func (r *run) warn(format string, a ...any) {
	fmt.Fprintf(r.Stderr, "%s: warning: %s\n", r.Name, maillog.Printable(fmt.Sprintf(format, a...)))
	r.mail.Warningf(format, a...)
}

// logSink prints what packages log, as this tool's warnings, and logs it.
type logSink struct {
	r    *run
	sink maillog.Sink
}

func (s logSink) Write(sev maillog.Severity, tag string, pid int, text string) {
	s.sink.Write(sev, tag, pid, text)
	fmt.Fprintf(s.r.Stderr, "%s: %s\n", s.r.Name, text)
}

func (r *run) options(args []string) ([]string, error) {
	spec := "bc:d:fFhijmnNopq:rsuUvw"
	usage := "[-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."
	if r.Alias {
		spec = "c:d:fijnNopq:rsuvw"
		usage = "[-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."
	}
	r.o = Options{Alias: r.Alias, OwnerRights: true, Warn: r.warn}
	mode := 0
	rest, err := getopt(args, spec, func(opt byte, value string) error {
		switch opt {
		case 'b':
			r.body = true
		case 'c':
			r.dir = value
		case 'd':
			r.del, r.haveDelete = value, true
			mode++
		case 'f':
			r.o.NoFold = true
		case 'F':
			r.o.Files = true
		case 'h':
			r.header = true
		case 'i':
			r.update = true
			mode++
		case 'j':
			r.json = true
		case 'm':
			r.mime = true
		case 'n':
			r.o.NUL = false
		case 'N':
			r.o.NUL = true
		case 'o':
			r.o.OwnerRights = false
		case 'p':
			r.o.PlainMode = true
		case 'q':
			r.query, r.haveQuery = value, true
			mode++
		case 'r':
			r.o.Replace, r.o.Ignore = true, false
		case 's':
			r.list = true
			mode++
		case 'u':
			r.o.Bytes = true
		case 'U':
			r.o.Bytes = false
		case 'v':
			r.verbose++
		case 'w':
			r.o.Ignore, r.o.Replace = true, false
		}
		if mode > 1 {
			return errors.New("specify only one of -d -i -q or -s")
		}
		return nil
	})
	if err != nil {
		if mode > 1 {
			return nil, err
		}
		return nil, fmt.Errorf("%w\nusage: %s %s", err, r.Name, usage)
	}
	if (r.header || r.body || r.mime) && (!r.haveQuery || r.query != "-") {
		return nil, errors.New("specify -b -h or -m only with \"-q -\"")
	}
	if r.mime && !r.header && !r.body {
		r.warn("ignoring -m option without -b or -h")
		r.mime = false
	}
	if len(rest) == 0 && !r.Alias {
		return nil, fmt.Errorf("usage: %s %s", r.Name, usage)
	}
	return rest, nil
}

func (r *run) main(args []string) (found bool, err error) {
	rest, err := r.options(args)
	if err != nil {
		return false, err
	}
	if r.cfg, err = config.Load(config.Options{Dir: r.dir, Known: params.All, Program: r.Name}); err != nil {
		return false, err
	}
	sink := maillog.OpenSink(r.cfg, r.Name)
	tag := params.SyslogName.In(r.cfg) + "/" + r.Name
	r.mail = maillog.New(tag, sink)
	log := maillog.New(tag, logSink{r, sink})
	log.Verbose = r.verbose
	r.env = &lookup.Env{Config: r.cfg, Log: log}
	if len(rest) == 0 {
		if rest = params.AliasDatabase.List(r.cfg); len(rest) == 0 {
			return false, errors.New("no alias file given, and alias_database is empty")
		}
	}
	defaultType := params.DefaultDatabaseType.In(r.cfg)
	switch {
	case r.haveQuery:
		return r.queries(rest)
	case r.haveDelete:
		return r.deletes(rest, defaultType)
	case r.list:
		return true, r.lists(rest)
	}
	for _, spec := range rest {
		if strings.HasPrefix(spec, "proxy:") {
			return false, errors.New("can't create maps via the proxy service")
		}
		typ, name := lookup.SplitSpec(spec, defaultType)
		if r.update {
			err = Update(typ, name, r.Stdin, "stdin", r.o)
		} else {
			err = Build(typ, name, r.o)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// lazyTables opens tables when they are first asked.
type lazyTables struct {
	r      *run
	specs  []string
	tables []lookup.Table
}

// get asks the tables one after the other.
func (l *lazyTables) get(key string) (value string, ok bool, err error) {
	for i, spec := range l.specs {
		if i == len(l.tables) {
			t, err := lookup.OpenWith(spec, l.r.env, lookup.Options{NoFold: l.r.o.NoFold, File: l.r.o.Files, Bulk: l.r.query == "-"})
			if err != nil {
				return "", false, err
			}
			l.tables = append(l.tables, t)
		}
		t := l.tables[i]
		if value, ok, err = t.Get(key); err != nil {
			var te *lookup.Error
			if errors.As(err, &te) {
				err = te.Err
			}
			return "", false, fmt.Errorf("table %s: query error: %w", t.Name(), err)
		}
		if ok {
			if value == "" {
				l.r.warn("table %s: key %s: empty string result is not allowed", t.Name(), key)
				l.r.warn("table %s should return NO RESULT in case of NOT FOUND", t.Name())
			}
			return value, true, nil
		}
	}
	return "", false, nil
}

func (r *run) print(key, value string, withKey bool) error {
	if r.json {
		k, err1 := json.Marshal(key)
		v, err2 := json.Marshal(value)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		_, err := fmt.Fprintf(r.out, "{%s: %s}\n", k, v)
		return err
	}
	if withKey {
		r.out.WriteString(key)
		if r.Alias {
			r.out.WriteByte(':')
		}
		r.out.WriteByte('\t')
	}
	r.out.WriteString(value)
	return r.out.WriteByte('\n') // errors stick to a bufio.Writer
}

func (r *run) queries(specs []string) (found bool, err error) {
	tables := &lazyTables{r: r, specs: specs}
	ask := func(key string, withKey bool) error {
		v, ok, err := tables.get(key)
		if !ok || err != nil {
			return err
		}
		found = true
		return r.print(key, v, withKey)
	}
	switch {
	case r.query != "-":
		err = ask(r.query, false)
	case r.header || r.body:
		err = scanMessage(r.Stdin, r.header, r.body, r.mime, func(text string) error { return ask(text, true) })
	default:
		err = eachLine(r.Stdin, func(line string) error { return ask(line, true) })
	}
	return found, err
}

// eachLine calls fn with each line without its end.
func eachLine(in io.Reader, fn func(line string) error) error {
	br := bufio.NewReader(in)
	for {
		line, err := br.ReadString('\n')
		if line != "" {
			if err := fn(strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *run) deletes(specs []string, defaultType string) (found bool, err error) {
	keys := []string{r.del}
	if r.del == "-" {
		keys = nil
		if err := eachLine(r.Stdin, func(line string) error { keys = append(keys, line); return nil }); err != nil {
			return false, err
		}
	}
	for _, spec := range specs {
		typ, name := lookup.SplitSpec(spec, defaultType)
		ok, err := Delete(typ, name, keys, r.o)
		if err != nil {
			return false, err
		}
		found = found || ok
	}
	return found, nil
}

func (r *run) lists(specs []string) error {
	for _, spec := range specs {
		t, err := lookup.OpenWith(spec, r.env, lookup.Options{NoFold: r.o.NoFold, File: r.o.Files})
		if err != nil {
			return err
		}
		l, ok := t.(lookup.Lister)
		if !ok {
			return fmt.Errorf("table %s: sequence operation is not supported", t.Name())
		}
		if err := l.Each(func(k, v string) error { return r.print(k, v, true) }); err != nil {
			return err
		}
		if err := t.Close(); err != nil {
			return err
		}
	}
	return nil
}
