package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/pkg/cdb"
)

// sniTables are tls_server_sni_maps: index files that postmap -F has built. The
// other types of tables are left to programs that need them anyway: what can
// be linked into this one is kept small.
type sniTables struct {
	tables  []*sniTable
	changed func(table string) // told once when a table has been rebuilt
	checked atomic.Int64       // when that was last looked at, Unix seconds
	told    atomic.Bool
}

type sniTable struct {
	name, path string
	r          *cdb.Reader
	st         os.FileInfo
}

// openSNI opens the tables of a list; nil for an empty one.
func openSNI(list []string, changed func(table string)) (*sniTables, error) {
	if len(list) == 0 {
		return nil, nil
	}
	t := &sniTables{changed: changed}
	for _, name := range list {
		typ, path, _ := strings.Cut(name, ":")
		switch typ {
		case "cdb", "hash", "btree", "lmdb", "dbm", "sdbm":
		default:
			return nil, fmt.Errorf("tls_server_sni_maps: %s: login knows indexed tables only (hash:)", name)
		}
		path += ".cdb"
		r, err := cdb.Open(path)
		if err != nil {
			return nil, fmt.Errorf("tls_server_sni_maps: %w", err)
		}
		st, err := r.File().Stat()
		if err != nil {
			return nil, fmt.Errorf("tls_server_sni_maps: %w", err)
		}
		t.tables = append(t.tables, &sniTable{name, path, r, st})
	}
	return t, nil
}

// Get implements tlsconf.Getter.
func (t *sniTables) Get(key string) (value string, ok bool, err error) {
	t.refresh()
	for _, x := range t.tables {
		for _, k := range [...]string{key, key + "\x00"} { // postmap -N ends keys in NUL
			if value, ok, err = x.r.Get(k); err != nil || ok {
				return strings.TrimSuffix(value, "\x00"), ok, err
			}
		}
	}
	return "", false, nil
}

// refresh notices, at most once a second, that a table has been rebuilt.
func (t *sniTables) refresh() {
	now := time.Now().Unix()
	if t.checked.Swap(now) == now || t.told.Load() {
		return
	}
	for _, x := range t.tables {
		st, err := os.Stat(x.path)
		if err == nil && (!os.SameFile(st, x.st) || !st.ModTime().Equal(x.st.ModTime())) && t.told.CompareAndSwap(false, true) {
			t.changed(x.name)
		}
	}
}
