package lookup

import (
	"os"
	"syscall"
)

// Owner returns the user who decides what a table says: the owner of the file
// that was opened. Tables that are part of the configuration are root's. A table
// made of others belongs to the first owner other than root among them. known is
// false for tables whose content comes from elsewhere (accounts, servers, the
// environment) or that are not open.
//
// local(8) runs commands, and writes files, of an alias with this user's rights.
func Owner(t Table) (uid uint32, known bool) {
	if o, ok := t.(interface{ owner() (uint32, bool) }); ok {
		return o.owner()
	}
	return 0, false
}

// fileOwner is the owner of an open file.
func fileOwner(f *os.File) (uint32, bool) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0, false
	}
	return st.Uid, true
}

// ownership is embedded in tables that know their owner from the start.
type ownership struct {
	uid   uint32
	known bool
}

func (o ownership) owner() (uint32, bool) { return o.uid, o.known }

// inMainCF is the ownership of tables that stand in main.cf itself.
var inMainCF = ownership{0, true}

func (t *indexed) owner() (uint32, bool) {
	v, err := t.acquire()
	if err != nil {
		return 0, false
	}
	defer v.release()
	return fileOwner(v.r.File())
}

func (t *static) owner() (uint32, bool) { return inMainCF.owner() }
func (t *random) owner() (uint32, bool) { return inMainCF.owner() }
func (t *pipe) owner() (uint32, bool)   { return ownerOfAll(t.tables) }
func (t *union) owner() (uint32, bool)  { return ownerOfAll(t.tables) }
func (t *debug) owner() (uint32, bool)  { return Owner(t.Table) }

func ownerOfAll(tables []Table) (uid uint32, known bool) {
	for _, t := range tables {
		u, ok := Owner(t)
		if !ok {
			return 0, false
		}
		if uid == 0 {
			uid = u
		}
	}
	return uid, true
}
