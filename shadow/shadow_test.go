package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/proto/shadow"
)

// sha512 is "Hello world!" (the vector of the scheme's specification); yes is
// the same by yescrypt.
const (
	sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
	sha256 = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
	yes    = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$42RgPIrXdXSEEs77lDi/4IqKVqFBAVaHJkzw5uD1r57"
	bcrypt = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.z6PrHbuSsMSSwIGFy1JGevQZf6CqJ1y"
)

// world is a passwd and a shadow file.
type world struct {
	t      *testing.T
	dir    string
	passwd string
	shadow string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir()}
	today := time.Now().Unix() / 86400
	for i, l := range []struct{ name, hash, rest string }{
		{"root", sha512, "19000:0:99999:7:::"},
		{"anna", sha512, "19000:0:99999:7:::"},
		{"sha", sha256, "19000::::::"},
		{"yes", yes, "::::::"},
		{"bc", bcrypt, fmt.Sprintf("%d:0:90:7:::", today-90)},
		{"locked", "!" + sha512, "19000:0:99999:7:::"},
		{"none", "*", "19000:0:99999:7:::"},
		{"empty", "", "19000:0:99999:7:::"},
		{"closed", sha512, fmt.Sprintf("19000:0:99999:7::%d:", today)},
		{"open", sha512, fmt.Sprintf("19000:0:99999:7::%d:", today+1)},
		{"old", sha512, fmt.Sprintf("%d:0:90:7:::", today-91)},
		{"older", sha512, fmt.Sprintf("%d:0:90:7:5::", today-96)},
		{"must", sha512, "0:0:99999:7:::"},
		{"des", "ab1234567890x", "19000:0:99999:7:::"},
	} {
		uid := 1000 + i
		if l.name == "root" {
			uid = 0
		}
		w.passwd += fmt.Sprintf("%s:x:%d:%d:%s:/home/%[1]s:/bin/sh\n", l.name, uid, 2000+i, strings.ToUpper(l.name))
		w.shadow += l.name + ":" + l.hash + ":" + l.rest + "\n"
	}
	w.shadow += "ghost:" + sha512 + ":19000:0:99999:7:::\n" // not in passwd
	w.passwd += "nopass:x:1:1::/:/bin/sh\n"                 // not in shadow
	w.replace("passwd", w.passwd)
	w.replace("shadow", w.shadow)
	return w
}

// replace does what passwd(1) does.
func (w *world) replace(name, text string) {
	w.t.Helper()
	p := filepath.Join(w.dir, name)
	if err := os.WriteFile(p+"+", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(p+"+", p); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() *database {
	w.t.Helper()
	d, err := openDatabase(filepath.Join(w.dir, "passwd"), filepath.Join(w.dir, "shadow"))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func TestVerdicts(t *testing.T) {
	d := newWorld(t).open()
	for _, tt := range []struct {
		user, password string
		want           shadow.Status
	}{
		{"anna", "Hello world!", shadow.OK},
		{"ANNA", "Hello world!", shadow.OK},
		{"sha", "Hello world!", shadow.OK},
		{"yes", "Hello world!", shadow.OK},
		{"bc", "Hello world!", shadow.OK},
		{"open", "Hello world!", shadow.OK},
		{"anna", "hello world!", shadow.Mismatch},
		{"anna", "", shadow.Mismatch},
		{"anna", sha512, shadow.Mismatch},
		{"nobody", "Hello world!", shadow.Unknown},
		{"ghost", "Hello world!", shadow.Unknown},
		{"nopass", "x", shadow.Unknown},
		{"", "", shadow.Unknown},
		{"root", "Hello world!", shadow.Superuser},
		{"locked", "Hello world!", shadow.Locked},
		{"none", "*", shadow.Locked},
		{"empty", "", shadow.Locked},
		{"closed", "Hello world!", shadow.AccountExpired},
		{"closed", "wrong", shadow.Mismatch},
		{"older", "Hello world!", shadow.AccountExpired},
		{"old", "Hello world!", shadow.PasswordExpired},
		{"must", "Hello world!", shadow.PasswordExpired},
		{"des", "x", shadow.Trouble},
	} {
		r := d.verify(&shadow.Query{User: tt.user, Password: tt.password})
		if r.Status != tt.want {
			t.Errorf("%s with %q: %d, want %d", tt.user, tt.password, r.Status, tt.want)
		}
		if r.Status != shadow.OK && (r.Name != "" || r.Home != "" || r.UID != 0) || strings.Contains(r.Detail, "ab1234567890x") {
			t.Errorf("%s: tells too much: %+v", tt.user, r)
		}
	}
	if r := d.verify(&shadow.Query{User: "Anna", Password: "Hello world!"}); *r != (shadow.Reply{Name: "anna", UID: 1001, GID: 2001, Home: "/home/anna"}) {
		t.Errorf("%+v", r)
	}
}

// A file that is written in place is read again; one that is replaced is no
// longer ours to judge by.
func TestChanges(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	verify := func(user string) shadow.Status {
		return d.verify(&shadow.Query{User: user, Password: "Hello world!"}).Status
	}
	if s := verify("anna"); s != shadow.OK {
		t.Fatal(s)
	}
	p := filepath.Join(w.dir, "shadow")
	if err := os.WriteFile(p, []byte("anna:!"+sha512+":19000::::::\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := verify("anna"); s != shadow.Locked {
		t.Errorf("after a change in place: %d", s)
	}
	w.replace("shadow", w.shadow)
	if s := verify("anna"); s != shadow.Stale {
		t.Errorf("after a replacement of shadow: %d", s)
	}
	d = w.open()
	if s := verify("anna"); s != shadow.OK {
		t.Errorf("successor: %d", s)
	}
	w.replace("passwd", w.passwd)
	if s := verify("anna"); s != shadow.Stale {
		t.Errorf("after a replacement of passwd: %d", s)
	}
	os.Remove(p)
	if s := verify("anna"); s == shadow.OK {
		t.Errorf("without a file: %d", s)
	}
}
