package lookup

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"unicode/utf8"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/lookup/source"
)

// Lister is a Table whose entries can be listed (postmap -s).
type Lister interface {
	// Each calls fn with every entry until fn returns an error.
	Each(fn func(key, value string) error) error
}

// maxValueFile bounds a file that is a table's value (postmap -F).
const maxValueFile = 16 << 20

// encodeFiles makes the value of an entry that names files: the base64 of
// their content, one after the other.
func encodeFiles(names string) (string, error) {
	var all []byte
	for _, n := range config.SplitList(names) {
		f, err := os.Open(n)
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(io.LimitReader(f, maxValueFile+1))
		f.Close()
		if err != nil {
			return "", err
		}
		if len(b) > maxValueFile {
			return "", fmt.Errorf("%s: larger than %d bytes", n, maxValueFile)
		}
		if len(all) > 0 {
			all = append(all, '\n')
		}
		all = append(all, b...)
	}
	if len(all) == 0 {
		return "", errors.New("empty pathname list, or no file content")
	}
	return base64.StdEncoding.EncodeToString(all), nil
}

// EncodeFiles returns the table value that stands for the content of the
// files in a list of names (postmap -F).
func EncodeFiles(names string) (string, error) { return encodeFiles(names) }

func decodeFile(table, v string) (string, bool, error) {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return "", false, &Error{table, fmt.Errorf("malformed BASE64 value: %.30s", v)}
	}
	return string(b), true, nil
}

// memory is a table of fixed strings in memory: texthash, inline, environ.
type memory struct {
	ownership
	name   string
	m      map[string]string
	keys   []string // in the order of the source
	nofold bool
	file   bool
}

func (t *memory) Get(key string) (string, bool, error) {
	if !t.nofold {
		key = address.Fold(key)
	}
	v, ok := t.m[key]
	if ok && t.file {
		return decodeFile(t.name, v)
	}
	return v, ok, nil
}
func (t *memory) Name() string  { return t.name }
func (t *memory) Partial() bool { return true }
func (t *memory) Close() error  { return nil }

func (t *memory) Each(fn func(key, value string) error) error {
	for _, k := range t.keys {
		v := t.m[k]
		if t.file {
			d, _, err := decodeFile(t.name, v)
			if err != nil {
				return err
			}
			v = d
		}
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

// put adds an entry and says whether the key was there. Then its value stays,
// unless replace is set.
func (t *memory) put(key, value string, replace bool) (duplicate bool) {
	if !t.nofold {
		key = address.Fold(key)
	}
	if _, ok := t.m[key]; ok {
		if replace {
			t.m[key] = value
		}
		return true
	}
	t.m[key] = value
	t.keys = append(t.keys, key)
	return false
}

func openTextHash(typ, name string, env *Env, o Options) (Table, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &memory{name: typ + ":" + name, m: map[string]string{}, nofold: o.NoFold, file: o.File}
	t.uid, t.known = fileOwner(f)
	lines := source.NewLines(f)
	lines.Warn = func(n int, text string) { env.warn("%s, line %d: %s", name, n, text) }
	for {
		line, n, err := lines.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, source.Problem(name, n, err)
		}
		err = source.UTF8(line)
		var k, v []byte
		var note string
		if err == nil {
			k, v, note, err = source.Entry(line)
		}
		if err != nil {
			env.warn("%s, line %d: %v", name, n, err)
			continue
		}
		if note != "" {
			env.warn("%s, line %d: %s", name, n, note)
		}
		val := string(v)
		if o.File {
			if val, err = encodeFiles(val); err != nil {
				env.warn("%s, line %d: %v: skipping this entry", name, n, err)
				continue
			}
		}
		if t.put(string(k), val, false) {
			env.warn("%s, line %d: duplicate entry: %q", name, n, k)
		}
	}
}

// braced returns what is between the outer braces of name.
func braced(typ, name, want string) (string, error) {
	n := strings.TrimSpace(name)
	if len(n) < 2 || n[0] != '{' || n[len(n)-1] != '}' {
		return "", fmt.Errorf("bad syntax: \"%s:%s\"; need \"%s:{%s}\"", typ, name, typ, want)
	}
	return n[1 : len(n)-1], nil
}

func openInline(typ, name string, env *Env, o Options) (Table, error) {
	const want = "name=value..."
	text, err := braced(typ, name, want)
	if err != nil {
		return nil, err
	}
	t := &memory{ownership: inMainCF, name: typ + ":" + name, m: map[string]string{}, nofold: o.NoFold, file: o.File}
	for _, item := range splitItems(text) {
		if strings.HasPrefix(item, "{") {
			if item, err = unbrace(item); err != nil {
				return nil, err
			}
		}
		k, v, ok := strings.Cut(item, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, fmt.Errorf("missing '=' after attribute name: %q; need \"%s:{%s}\"", item, typ, want)
		}
		if o.File {
			if v, err = encodeFiles(v); err != nil {
				return nil, err
			}
		}
		if t.put(k, v, true) { // unlike a file's, the last one counts
			env.warn("table %s: duplicate entry: %q", t.name, k)
		}
	}
	if len(t.m) == 0 {
		return nil, fmt.Errorf("empty table; need \"%s:{%s}\"", typ, want)
	}
	return t, nil
}

// splitItems splits at commas and white space outside braces; the braces stay.
func splitItems(s string) []string {
	var out []string
	depth, start := 0, -1
	for i := 0; i < len(s); i++ {
		c := s[i]
		if depth == 0 && (c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n') {
			if start >= 0 {
				out = append(out, s[start:i])
				start = -1
			}
			continue
		}
		if start < 0 {
			start = i
		}
		switch c {
		case '{':
			depth++
		case '}':
			if depth > 0 {
				depth--
			}
		}
	}
	if start >= 0 {
		out = append(out, s[start:])
	}
	return out
}

func unbrace(s string) (string, error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				if rest := s[i+1:]; rest != "" {
					return "", fmt.Errorf("syntax error after '}' in %q", s)
				}
				return strings.TrimSpace(s[1:i]), nil
			}
		}
	}
	return "", fmt.Errorf("missing '}' in %q", s)
}

// static answers every key with the same value.
type static struct {
	name, value string
	file        bool
}

func openStatic(typ, name string, env *Env, o Options) (Table, error) {
	v := name
	if strings.HasPrefix(v, "{") {
		var err error
		if v, err = unbrace(v); err != nil {
			return nil, err
		}
	}
	if o.File {
		var err error
		if v, err = encodeFiles(v); err != nil {
			return nil, err
		}
	}
	return &static{typ + ":" + name, v, o.File}, nil
}

func (t *static) Get(string) (string, bool, error) {
	if t.file {
		return decodeFile(t.name, t.value)
	}
	return t.value, true, nil
}
func (t *static) Name() string  { return t.name }
func (t *static) Partial() bool { return true }
func (t *static) Close() error  { return nil }

// environ is the process environment.
type environ struct{ name string }

func openEnviron(typ, name string, env *Env, o Options) (Table, error) {
	return &environ{typ + ":" + name}, nil
}

func (t *environ) Get(key string) (string, bool, error) {
	v, ok := os.LookupEnv(key)
	if ok && !utf8.ValidString(v) {
		return "", false, nil
	}
	return v, ok, nil
}
func (t *environ) Name() string  { return t.name }
func (t *environ) Partial() bool { return true }
func (t *environ) Close() error  { return nil }

func (t *environ) Each(fn func(key, value string) error) error {
	for _, e := range os.Environ() {
		if k, v, ok := strings.Cut(e, "="); ok {
			if err := fn(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// failing answers every query with an error, for tests of what depends on it.
type failing struct{ name string }

func openFail(typ, name string, env *Env, o Options) (Table, error) {
	return &failing{typ + ":" + name}, nil
}

func (t *failing) Get(string) (string, bool, error) {
	return "", false, &Error{t.name, errors.New("always fails")}
}
func (t *failing) Name() string  { return t.name }
func (t *failing) Partial() bool { return false }
func (t *failing) Close() error  { return nil }

// random answers with one of its values.
type random struct {
	name   string
	values []string
}

func openRandom(typ, name string, env *Env, o Options) (Table, error) {
	text, err := braced(typ, name, "value...")
	if err != nil {
		return nil, err
	}
	t := &random{name: typ + ":" + name}
	for _, v := range splitItems(text) {
		if strings.HasPrefix(v, "{") {
			if v, err = unbrace(v); err != nil {
				return nil, err
			}
		}
		if o.File {
			if v, err = encodeFiles(v); err != nil {
				return nil, err
			}
			if v, _, err = decodeFile(t.name, v); err != nil {
				return nil, err
			}
		}
		t.values = append(t.values, v)
	}
	if len(t.values) == 0 {
		return nil, fmt.Errorf("empty table; need \"%s:{value...}\"", typ)
	}
	return t, nil
}

func (t *random) Get(string) (string, bool, error) {
	return t.values[rand.IntN(len(t.values))], true, nil
}
func (t *random) Name() string  { return t.name }
func (t *random) Partial() bool { return false }
func (t *random) Close() error  { return nil }
