package lookup

import (
	"fmt"

	"posthaste/pkg/params"
)

// Maps is an ordered list of tables, the value of a parameter like
// virtual_alias_maps. A nil *Maps is empty.
type Maps struct {
	param  string
	tables []Table
}

// OpenMaps opens the tables listed in value, which is the value of param (for
// messages). It returns nil for an empty list.
func OpenMaps(param, value string, env *Env) (*Maps, error) {
	return OpenMapsWith(param, value, env, Options{})
}

// Single makes a list of one open table.
func Single(t Table) *Maps { return &Maps{tables: []Table{t}} }

// Empty says whether there is no table at all.
func (m *Maps) Empty() bool { return m == nil || len(m.tables) == 0 }

// Tables returns the open tables.
func (m *Maps) Tables() []Table {
	if m == nil {
		return nil
	}
	return m.tables
}

// Close closes all tables.
func (m *Maps) Close() error {
	var first error
	for _, t := range m.Tables() {
		if err := t.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Get asks each table for the full key and returns the first value.
func (m *Maps) Get(key string) (value string, ok bool, err error) { return m.get(key, false) }

// GetPartial is Get for a key that is only a part of a name: pattern tables
// are not asked.
func (m *Maps) GetPartial(key string) (value string, ok bool, err error) { return m.get(key, true) }

func (m *Maps) get(key string, partial bool) (string, bool, error) {
	if m == nil || key == "" {
		return "", false, nil
	}
	for _, t := range m.tables {
		if partial && !t.Partial() {
			continue
		}
		if v, ok, err := t.Get(key); ok || err != nil {
			return v, ok, err
		}
	}
	return "", false, nil
}

// OpenMapsWith is OpenMaps with options.
//
// A table that cannot be opened is an error only with
// daemon_table_open_error_is_fatal = yes. Otherwise it is logged, and the table
// answers every query with that error, so that mail is deferred rather than
// treated as if the table were empty.
func OpenMapsWith(param, value string, env *Env, o Options) (*Maps, error) {
	var m *Maps
	for _, spec := range splitItems(value) {
		t, err := OpenWith(spec, env, o)
		if err != nil {
			if env != nil && env.Config != nil && params.DaemonTableOpenErrorIsFatal.In(env.Config) {
				m.Close()
				return nil, fmt.Errorf("%s: %w", param, err)
			}
			env.warn("%s: %v", param, err)
			t = &unusable{spec, err}
		}
		if m == nil {
			m = &Maps{param: param}
		}
		m.tables = append(m.tables, t)
	}
	return m, nil
}

// unusable stands for a table that could not be opened.
type unusable struct {
	name string
	err  error
}

func (t *unusable) Get(string) (string, bool, error) { return "", false, t.err }
func (t *unusable) Name() string                     { return t.name }
func (t *unusable) Partial() bool                    { return true }
func (t *unusable) Close() error                     { return nil }
