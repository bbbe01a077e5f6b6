package lookup

import (
	"fmt"
	"strings"
)

// pipe asks one table after the other, each for the result of the one before.
type pipe struct {
	name   string
	tables []Table
}

func openMembers(typ, name string, env *Env, o Options) ([]Table, error) {
	text, err := braced(typ, name, "type:name...")
	if err != nil {
		return nil, err
	}
	var tables []Table
	for _, spec := range splitItems(text) {
		if strings.HasPrefix(spec, "{") {
			if spec, err = unbrace(spec); err != nil {
				closeAll(tables)
				return nil, err
			}
		}
		if !strings.Contains(spec, ":") {
			closeAll(tables)
			return nil, fmt.Errorf("bad syntax: \"%s:%s\"; need \"%s:{type:name...}\"", typ, name, typ)
		}
		t, err := OpenWith(spec, env, o)
		if err != nil {
			closeAll(tables)
			return nil, err
		}
		tables = append(tables, t)
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf("bad syntax: \"%s:%s\"; need \"%s:{type:name...}\"", typ, name, typ)
	}
	return tables, nil
}

func closeAll(tables []Table) error {
	var first error
	for _, t := range tables {
		if err := t.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func openPipe(typ, name string, env *Env, o Options) (Table, error) {
	tables, err := openMembers(typ, name, env, o)
	if err != nil {
		return nil, err
	}
	return &pipe{typ + ":" + name, tables}, nil
}

func (t *pipe) Get(key string) (string, bool, error) {
	for _, m := range t.tables {
		v, ok, err := m.Get(key)
		if !ok || err != nil {
			return "", false, err
		}
		key = v
	}
	return key, true, nil
}
func (t *pipe) Name() string { return t.name }

// Partial is decided by the first table, which is the one that sees the key.
func (t *pipe) Partial() bool { return t.tables[0].Partial() }
func (t *pipe) Close() error  { return closeAll(t.tables) }

// union joins the results of its tables with commas.
type union struct {
	name    string
	tables  []Table
	partial bool
}

func openUnion(typ, name string, env *Env, o Options) (Table, error) {
	tables, err := openMembers(typ, name, env, o)
	if err != nil {
		return nil, err
	}
	t := &union{typ + ":" + name, tables, true}
	for _, m := range tables {
		t.partial = t.partial && m.Partial()
	}
	return t, nil
}

func (t *union) Get(key string) (string, bool, error) {
	var found []string
	for _, m := range t.tables {
		v, ok, err := m.Get(key)
		if err != nil {
			return "", false, err
		}
		if ok {
			found = append(found, v)
		}
	}
	return strings.Join(found, ","), len(found) > 0, nil
}
func (t *union) Name() string  { return t.name }
func (t *union) Partial() bool { return t.partial }
func (t *union) Close() error  { return closeAll(t.tables) }

// debug logs every query of another table.
type debug struct {
	Table
	name string
	env  *Env
}

func openDebug(typ, name string, env *Env, o Options) (Table, error) {
	if !strings.Contains(name, ":") {
		return nil, fmt.Errorf("bad syntax: \"%s:%s\"; need \"%s:type:name\"", typ, name, typ)
	}
	t, err := OpenWith(name, env, o)
	if err != nil {
		return nil, err
	}
	return &debug{t, typ + ":" + name, env}, nil
}

func (t *debug) Get(key string) (string, bool, error) {
	v, ok, err := t.Table.Get(key)
	if t.env != nil {
		switch {
		case err != nil:
			t.env.Log.Infof("%s: lookup: %q: error: %v", t.Table.Name(), key, err)
		case ok:
			t.env.Log.Infof("%s: lookup: %q = %q", t.Table.Name(), key, v)
		default:
			t.env.Log.Infof("%s: lookup: %q: not found", t.Table.Name(), key)
		}
	}
	return v, ok, err
}
func (t *debug) Name() string { return t.name }
