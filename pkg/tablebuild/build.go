// Package tablebuild compiles the text of tables and alias files into indexed
// files, and changes such files: what postmap(1) and postalias(1) do. A build
// is atomic and durable, and daemons that have the old file open go on with it
// until they notice the new one.
package tablebuild

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"posthaste/pkg/address"
	"posthaste/pkg/cdb"
	"posthaste/pkg/lookup"
	"posthaste/pkg/lookup/source"
)

// Options say how a table is built. The zero value is what the tools do
// without options, but for OwnerRights.
type Options struct {
	Alias       bool // the source is an alias file: "name: value, value"
	NoFold      bool // -f: keep the case of keys
	Replace     bool // -r: a later entry replaces an earlier one
	Ignore      bool // -w: say nothing of an entry that is there already
	NUL         bool // -N: keys and values end in NUL
	Files       bool // -F: values are lists of files whose content is the value
	Bytes       bool // -u: do not ask for UTF-8
	OwnerRights bool // run with the rights of the source's owner if this is root
	PlainMode   bool // -p: do not copy the source's permissions
	Warn        func(format string, a ...any)

	skip func(key []byte) bool // entries of the old index that are left out
}

func (o *Options) warn(format string, a ...any) {
	if o.Warn != nil {
		o.Warn(format, a...)
	}
}

// indexPath returns the file of an indexed table.
func indexPath(typ, name string) (string, error) {
	if !lookup.IsIndexed(typ) {
		return "", fmt.Errorf("unsupported map type for this operation: %s", typ)
	}
	return name + lookup.IndexSuffix, nil
}

// Build makes the index of the source file name.
func Build(typ, name string, o Options) error {
	path, err := indexPath(typ, name)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	restore, err := o.become(st, name)
	if err != nil {
		return err
	}
	defer restore()
	unlock, err := lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	b := builder{o: o, source: name}
	if b.w, err = cdb.Create(path, o.mode(st)); err != nil {
		return err
	}
	if err := b.lines(f); err != nil {
		b.w.Abort()
		return err
	}
	if o.Alias {
		// The mark of a complete alias file, for Sendmail's sake.
		if err := b.put([]byte("@"), []byte("@"), 0, cdb.KeepFirst); err != nil {
			b.w.Abort()
			return err
		}
	}
	return b.w.Commit()
}

// mode is the new index's permissions: those of the source, as far as reading
// goes.
func (o *Options) mode(st os.FileInfo) os.FileMode {
	if o.PlainMode || !st.Mode().IsRegular() {
		return 0o644
	}
	return 0o644 &^ (^st.Mode() & 0o077)
}

// become takes on the rights of a file's owner, so that the result belongs to
// the same user and a bug here does not hand out root's rights. The returned
// function takes the old rights back.
func (o *Options) become(st os.FileInfo, name string) (func(), error) {
	nothing := func() {}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !o.OwnerRights || os.Getuid() != 0 {
		return nothing, nil
	}
	if sys.Uid == 0 {
		dir := filepath.Dir(name)
		if d, err := os.Stat(dir); err == nil {
			if ds, ok := d.Sys().(*syscall.Stat_t); ok && ds.Uid != 0 {
				o.warn("Creating root-owned database file(s) %s.* in non-root-owned directory %s. Files %s, %s.*, and directory %s should have the same owner. Please fix ownership to avoid a privilege-escalation attack.",
					name, dir, name, name, dir)
			}
		}
		return nothing, nil
	}
	groups, err := syscall.Getgroups()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(syscall.Setgroups([]int{int(sys.Gid)}), syscall.Setegid(int(sys.Gid)), syscall.Seteuid(int(sys.Uid))); err != nil {
		return nil, fmt.Errorf("cannot become the owner of %s: %w", name, err)
	}
	return func() {
		if err := errors.Join(syscall.Seteuid(0), syscall.Setegid(os.Getgid()), syscall.Setgroups(groups)); err != nil {
			panic(fmt.Sprintf("cannot take root's rights back: %v", err))
		}
	}, nil
}

// lock keeps other builds of the same index away while this one reads and
// replaces it. An index that does not exist yet needs no lock.
func lock(path string) (unlock func(), err error) {
	for {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return func() {}, nil
		}
		if err != nil {
			return nil, err
		}
		for {
			if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
				break
			}
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		have, err1 := f.Stat()
		now, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(have, now) {
			return func() { f.Close() }, nil
		}
		f.Close() // replaced while we waited
	}
}

// builder puts entries into a new index.
type builder struct {
	o      Options
	w      *cdb.Writer
	source string
	buf    []byte
}

// lines adds the entries of a source.
func (b *builder) lines(r io.Reader) error {
	lines := source.NewLines(r)
	lines.Warn = func(n int, text string) { b.o.warn("%s, line %d: %s", b.source, n, text) }
	dup := cdb.KeepFirst
	if b.o.Replace {
		dup = cdb.Replace
	}
	for {
		line, n, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return source.Problem(b.source, n, err)
		}
		if !b.o.Bytes {
			if err := source.UTF8(line); err != nil {
				b.o.warn("%s, line %d: %v", b.source, n, err)
				continue
			}
		}
		key, value, err := b.entry(line, n)
		if err != nil {
			b.o.warn("%s, line %d: %v", b.source, n, err)
			continue
		}
		if err := b.put(key, value, n, dup); err != nil {
			return err
		}
	}
}

// entry reads one line of the source.
func (b *builder) entry(line []byte, n int) (key, value []byte, err error) {
	if b.o.Alias {
		k, v, err := source.Alias(line)
		return []byte(k), []byte(v), err
	}
	key, value, note, err := source.Entry(line)
	if err != nil {
		return nil, nil, err
	}
	if note != "" {
		b.o.warn("%s, line %d: %s", b.source, n, note)
	}
	if b.o.Files {
		v, err := lookup.EncodeFiles(string(value))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: skipping this entry", err)
		}
		value = []byte(v)
	}
	return key, value, nil
}

// put adds one entry, folded, and says if its key was there before.
func (b *builder) put(key, value []byte, n int, dup cdb.Duplicate) error {
	if !b.o.NoFold {
		key = fold(key)
	}
	if b.o.NUL {
		b.buf = append(append(b.buf[:0], key...), 0)
		b.buf = append(append(b.buf, value...), 0)
		key, value = b.buf[:len(key)+1], b.buf[len(key)+1:]
	}
	was, err := b.w.Put(key, value, dup)
	if err != nil {
		return fmt.Errorf("%s: %w", b.source, err)
	}
	if was && dup == cdb.KeepFirst && !b.o.Ignore && n > 0 {
		b.o.warn("%s, line %d: duplicate entry: \"%s\"", b.source, n, bytes.TrimSuffix(key, []byte{0}))
	}
	return nil
}

// fold folds a key, in place if it is ASCII.
func fold(key []byte) []byte {
	for i, c := range key {
		if c >= 0x80 {
			return []byte(address.Fold(string(key)))
		}
		if 'A' <= c && c <= 'Z' {
			key[i] = c + 'a' - 'A'
		}
	}
	return key
}

// Update adds the entries in r to an index, which is made if it is not there
// (postmap -i). inName is what messages call r.
func Update(typ, name string, r io.Reader, inName string, o Options) error {
	_, err := change(typ, name, true, o, func(b *builder) error {
		b.source = inName
		return b.lines(r)
	})
	return err
}

// Delete removes keys from an index (postmap -d) and says whether any was
// there.
func Delete(typ, name string, keys []string, o Options) (found bool, err error) {
	gone := make(map[string]bool, len(keys))
	for _, k := range keys {
		if !o.NoFold {
			k = address.Fold(k)
		}
		gone[k], gone[k+"\x00"] = true, true
	}
	o.skip = func(key []byte) bool { return gone[string(key)] }
	return change(typ, name, false, o, nil)
}

// change rewrites an index: its entries but those that o.skip names, then what
// more adds.
func change(typ, name string, create bool, o Options, more func(*builder) error) (changed bool, err error) {
	path, err := indexPath(typ, name)
	if err != nil {
		return false, err
	}
	mode := os.FileMode(0o644)
	st, err := os.Stat(path)
	if err == nil {
		mode = st.Mode().Perm()
	} else if !create || !errors.Is(err, os.ErrNotExist) {
		return false, err
	} else if st, err = os.Stat(filepath.Dir(path)); err != nil {
		return false, err
	}
	restore, err := o.become(st, name)
	if err != nil {
		return false, err
	}
	defer restore()
	unlock, err := lock(path)
	if err != nil {
		return false, err
	}
	defer unlock()
	b := builder{o: o, source: path}
	if b.w, err = cdb.Create(path, mode); err != nil {
		return false, err
	}
	if changed, err = b.copyOld(path, create); err == nil && more != nil {
		changed, err = true, more(&b)
	}
	if err != nil || !changed {
		b.w.Abort()
		return false, err
	}
	return true, b.w.Commit()
}

// copyOld copies the entries that stay, and says whether any went.
func (b *builder) copyOld(path string, create bool) (removed bool, err error) {
	old, err := cdb.Open(path)
	if err != nil {
		if create && errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	defer old.Close()
	err = old.Each(func(k, v []byte) error {
		if b.o.skip != nil && b.o.skip(k) {
			removed = true
			return nil
		}
		_, err := b.w.Put(k, v, cdb.KeepFirst)
		return err
	})
	return removed, err
}
