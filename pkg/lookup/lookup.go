// Package lookup opens and queries tables: indexed files (cdb, and hash,
// btree, lmdb and dbm as other names for it), text tables, patterns, networks,
// system accounts, and tables made of other tables. A table is named TYPE:NAME
// as in main.cf.
//
// Tables of drivers that need large libraries (SQL, LDAP) are not here; the
// programs that offer them say so when such a table is opened.
package lookup

import (
	"errors"
	"fmt"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
)

// Env is what tables need of their surroundings. A nil Env, and nil fields,
// are fine.
type Env struct {
	Config *config.Config
	Log    *maillog.Logger
	// Stale is called, at most once per open table, when an indexed table changed
	// on disk and cannot be opened again from inside a chroot or sandbox. The
	// process goes on with what it has; it should drain, so that its successor
	// opens the new table.
	Stale func(table string)
}

func (e *Env) warn(format string, a ...any) {
	if e != nil {
		e.Log.Warningf(format, a...)
	}
}

// Table maps keys to values. Implementations are safe for concurrent use.
type Table interface {
	// Get returns the value of key. An error is temporary trouble: callers answer
	// 451 or defer, they never take it for "not found".
	Get(key string) (value string, ok bool, err error)
	// Name is the table's name in logs: "hash:/etc/posthaste/transport".
	Name() string
	// Partial says whether the table may be asked for parts of a name (domains of
	// an address, networks, a bare local part). Pattern tables may not: they get
	// full keys only.
	Partial() bool
	// Close gives up files. Get must not be called afterwards.
	Close() error
}

// Options change how a table is opened. The zero value is what daemons use.
type Options struct {
	NoFold bool // do not fold keys to lower case (postmap -f)
	File   bool // values are base64 of a file's content (postmap -F)
	Bulk   bool // many look-ups will follow: trade memory for speed (postmap -q -)
}

// Error is trouble with one table; it names table, file and line.
type Error struct {
	Table string
	Err   error
}

func (e *Error) Error() string { return "table " + e.Table + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ErrUnsupported is in the chain of Open's error for a type that does not
// exist or is not built in.
var ErrUnsupported = errors.New("unsupported table type")

// SplitSpec cuts TYPE:NAME; a name without a type is of defaultType. "proxy:"
// prefixes are taken off, since tables are opened in the process itself.
func SplitSpec(spec, defaultType string) (typ, name string) {
	for {
		rest, ok := strings.CutPrefix(spec, "proxy:")
		if !ok {
			break
		}
		spec = rest
	}
	typ, name, ok := strings.Cut(spec, ":")
	if !ok {
		return defaultType, spec
	}
	return typ, name
}

// Open opens one table, TYPE:NAME. Text tables are read and patterns compiled
// at once, and mistakes in them are errors that name file and line (for
// mistakes that Postfix skips with a warning, so does this). An index that
// cannot be opened is no error here: the table answers each query with one, and
// tries again, until the file is there.
func Open(spec string, env *Env) (Table, error) { return OpenWith(spec, env, Options{}) }

// OpenWith is Open with options.
func OpenWith(spec string, env *Env, o Options) (Table, error) {
	typ, name := SplitSpec(spec, defaultType(env))
	open := openerOf(typ)
	if open == nil {
		return nil, &Error{spec, fmt.Errorf("%w %q", ErrUnsupported, typ)}
	}
	t, err := open(typ, name, env, o)
	if err != nil {
		var le *Error
		if errors.As(err, &le) {
			return nil, err
		}
		return nil, &Error{typ + ":" + name, err}
	}
	return t, nil
}

func defaultType(env *Env) string {
	if env != nil && env.Config != nil {
		if t := env.Config.Get("default_database_type"); t != "" {
			return t
		}
	}
	return "cdb"
}

// opener opens a table of one type.
type opener func(typ, name string, env *Env, o Options) (Table, error)
