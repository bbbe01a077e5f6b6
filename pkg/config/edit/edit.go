// Package edit changes main.cf and master.cf for postconf. Comments, blank
// lines and the order of entries stay. A file is replaced as a whole, durably,
// under a lock: a reader sees the old text or the new one.
package edit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"

	"posthaste/pkg/config"
)

// Op is what happens to an entry.
type Op int

const (
	Set     Op = iota // replace it, or add it at the end
	Comment           // put # before its lines
	Remove            // remove it
)

// File replaces the file at path by what fn makes of its text. Edits of one
// directory's files wait for each other. A missing file reads as empty if
// create is true.
func File(path string, create bool, fn func(text string) (string, error)) error {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		path = p
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	// The lock is the directory's, since the file itself is replaced.
	for {
		if err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	text, err := config.ReadFile(path)
	if err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	next, err := fn(text)
	if err != nil || next == text {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir.Name()), renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if st, err := os.Stat(path); err == nil {
		if s, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			if err := f.Chown(int(s.Uid), int(s.Gid)); err != nil {
				return err
			}
		}
	}
	if _, err := f.WriteString(next); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return dir.Sync()
}

// entry is one logical line, or the comments and blank lines before the next.
type entry struct {
	lines []string // with their line ends
	text  string   // logical text; "" for comments
}

// split cuts a file into logical lines and what lies between them. The lines
// of comments inside an entry belong to it.
func split(text string) []entry {
	var out []entry
	open := false // an entry can be continued
	for _, l := range strings.SplitAfter(text, "\n") {
		if l == "" {
			continue
		}
		t := strings.TrimSpace(l)
		comment := t == "" || t[0] == '#'
		switch {
		case comment, !isContinuation(l):
			open = open && comment
			e := entry{lines: []string{l}}
			if !comment {
				e.text, open = t, true
			}
			out = append(out, e)
		case open:
			// The comments between belong to the entry that they interrupt.
			i := len(out) - 1
			for out[i].text == "" {
				i--
			}
			for _, c := range out[i+1:] {
				out[i].lines = append(out[i].lines, c.lines...)
			}
			out = out[:i+1]
			out[i].lines = append(out[i].lines, l)
			out[i].text += " " + t
		default:
			out = append(out, entry{lines: []string{l}})
		}
	}
	return out
}

func isContinuation(l string) bool { return l[0] == ' ' || l[0] >= '\t' && l[0] <= '\r' }

// comments returns the comment lines inside an entry.
func (e *entry) comments() []string {
	return slices.DeleteFunc(slices.Clone(e.lines), func(l string) bool {
		t := strings.TrimSpace(l)
		return t != "" && t[0] != '#'
	})
}

// commented returns the entry with # before each of its lines.
func (e *entry) commented() string {
	var b strings.Builder
	for _, l := range e.lines {
		if t := strings.TrimSpace(l); t != "" && t[0] != '#' {
			b.WriteByte('#')
		}
		b.WriteString(l)
	}
	return b.String()
}

// edits writes a file: change returns for each entry's logical text whether it
// is to be changed, how, and the new text (without line end).
func edits(text string, change func(logical string) (op Op, next string, ok bool)) *strings.Builder {
	b := &strings.Builder{}
	for _, e := range split(text) {
		op, next, ok := Set, "", false
		if e.text != "" {
			op, next, ok = change(e.text)
		}
		switch {
		case !ok:
			for _, l := range e.lines {
				b.WriteString(l)
			}
		case op == Comment:
			b.WriteString(e.commented())
		default:
			if op == Set && next != "" {
				b.WriteString(next + "\n")
			}
			for _, l := range e.comments() {
				b.WriteString(l)
			}
		}
	}
	if s := b.String(); s != "" && s[len(s)-1] != '\n' {
		b.WriteByte('\n')
	}
	return b
}

// Setting is one change of main.cf.
type Setting struct {
	Op          Op
	Name, Value string
}

// Main applies settings to the text of a main.cf. Of several entries of one
// name the first is replaced and the others are removed, since the last one
// would win.
func Main(text string, settings []Setting) string {
	done := map[string]bool{}
	find := func(name string) *Setting {
		for i := len(settings) - 1; i >= 0; i-- {
			if settings[i].Name == name {
				return &settings[i]
			}
		}
		return nil
	}
	b := edits(text, func(logical string) (Op, string, bool) {
		name, _, problem := config.SplitSetting(logical)
		s := find(name)
		if problem != "" || s == nil {
			return 0, "", false
		}
		if s.Op == Set && !done[name] {
			done[name] = true
			return Set, assignment(s), true
		}
		if s.Op == Set {
			return Remove, "", true
		}
		return s.Op, "", true
	})
	for i := range settings {
		s := &settings[i]
		if s.Op == Set && !done[s.Name] && find(s.Name) == s {
			done[s.Name] = true
			b.WriteString(assignment(s) + "\n")
		}
	}
	return b.String()
}

func assignment(s *Setting) string { return strings.TrimRight(s.Name+" = "+s.Value, " ") }

// Service is one change of master.cf.
type Service struct {
	Op         Op
	Name, Type string
	Line       string // the new entry, formatted
}

// Master applies changes to the text of a master.cf.
func Master(text string, changes []Service) string {
	done := map[int]bool{}
	b := edits(text, func(logical string) (Op, string, bool) {
		f := strings.Fields(logical)
		if len(f) < 2 {
			return 0, "", false
		}
		for i := len(changes) - 1; i >= 0; i-- {
			if c := &changes[i]; c.Name == f[0] && c.Type == f[1] {
				if c.Op == Set && done[i] {
					return Remove, "", true
				}
				done[i] = true
				return c.Op, c.Line, true
			}
		}
		return 0, "", false
	})
	for i, c := range changes {
		if c.Op == Set && !done[i] {
			b.WriteString(c.Line + "\n")
		}
	}
	return b.String()
}
