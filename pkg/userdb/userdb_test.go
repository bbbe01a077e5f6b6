package userdb

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	pw, gr := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	os.WriteFile(pw, []byte("root:x:0:0:r:/root:/bin/sh\n+nis::::::\nbad line\nanna:x:1000:1000:& A., Room 1:/home/anna:/bin/zsh\nanna:x:1:1:second:/:/\nminus:x:4294967295:1:::\n"), 0o644)
	os.WriteFile(gr, []byte("users:x:1000:\nmail:x:8:bert,anna\nlp:x:7:anna\n"), 0o644)
	d := New(pw, gr)
	u, err := d.Lookup("anna")
	if err != nil || u == nil || u.UID != 1000 || u.Home != "/home/anna" || u.FullName() != "Anna A." {
		t.Fatalf("%+v, %v", u, err)
	}
	if g, _ := d.Groups(u); !slices.Equal(g, []uint32{1000, 8, 7}) {
		t.Errorf("groups %v", g)
	}
	for _, n := range []string{"zoe", "minus", "+nis", ""} {
		if u, err := d.Lookup(n); u != nil || err != nil {
			t.Errorf("%q: %v, %v", n, u, err)
		}
	}
	if u, _ := d.LookupUID(0); u == nil || u.Name != "root" {
		t.Errorf("uid 0: %v", u)
	}
	if g, ok, _ := d.LookupGroup("mail"); !ok || g != 8 {
		t.Errorf("mail: %d %v", g, ok)
	}
	os.WriteFile(pw, []byte("zoe:x:1001:1001::/home/zoe:/bin/sh\n"), 0o644)
	os.Chtimes(pw, time.Now(), time.Now().Add(time.Minute))
	if u, _ := d.Lookup("zoe"); u == nil {
		t.Error("a changed file was not read again")
	}
	if u, _ := d.Lookup("anna"); u != nil {
		t.Error("a removed user is still there")
	}
	os.Remove(pw)
	if _, err := d.Lookup("zoe"); err == nil {
		t.Error("a missing file is no error: mail would bounce")
	}
}
