package passwd

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/sasl"
)

// Hashes of "Hello world!" made by libxcrypt and argon2(1).
const hashes = `
# comment
yes:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$42RgPIrXdXSEEs77lDi/4IqKVqFBAVaHJkzw5uD1r57:1:2::/home/yes:/bin/sh:userdb_quota=1G x=y
sha512:{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1
sha256:{CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5::::::
bcrypt:{BLF-CRYPT}$2b$05$CCCCCCCCCCCCCCCCCCCCC.z6PrHbuSsMSSwIGFy1JGevQZf6CqJ1y
plain:{PLAIN}Hello world!
locked:*
`

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestVerify(t *testing.T) {
	h, err := HashScram("Hello world!")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(write(t, hashes+"scram:"+h+"\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{"yes", "sha512", "sha256", "bcrypt", "plain", "scram"} {
		if name, err := f.Verify(u, "Hello world!"); err != nil || name != u {
			t.Errorf("%s: %q %v", u, name, err)
		}
		for _, p := range []string{"Hello world", "", "hello world!"} {
			if _, err := f.Verify(u, p); !errors.Is(err, sasl.ErrCredentials) {
				t.Errorf("%s with %q: %v", u, p, err)
			}
		}
	}
	if _, err := f.Verify("nobody", "Hello world!"); !errors.Is(err, sasl.ErrCredentials) {
		t.Error(err)
	}
	if _, err := f.Verify("locked", "*"); err == nil {
		t.Error("a locked user got in")
	}
	if name, err := f.Verify("YES", "Hello world!"); name != "yes" || err != nil {
		t.Error(name, err)
	}
	u := f.Lookup("yes")
	if u.UID != "1" || u.GID != "2" || u.Home != "/home/yes" || len(u.Extra) != 2 {
		t.Errorf("%+v", u)
	}
	if f.ScramForAll("SHA-256") {
		t.Error("SCRAM is offered although crypt users cannot use it")
	}
}

func TestArgon2(t *testing.T) {
	u := User{Scheme: "ARGON2ID", Hash: "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"}
	if ok, err := u.Match("password"); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, _ := u.Match("passwore"); ok {
		t.Error("wrong password")
	}
}

// TestMistakes: a line with a mistake keeps nobody out but its own user.
func TestMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"just a name\n": "line 2: expected user:",
		":x\n":          "line 2: expected user:",
		"b:{ROT13}x\n":  "line 2: unknown password scheme {ROT13}: user \"b\" cannot log in",
		"b:{MD5-CRYPT}$1$DbZqhz/p$ce92ZqobeMDFkiC2cgg1D/\n": "line 2: unknown password scheme {MD5-CRYPT}",
	} {
		name := write(t, "a:{PLAIN}x\n"+in+"c:{PLAIN}y\n")
		var got []error
		f, err := Open(name, nil, func(err error) { got = append(got, err) })
		if err != nil || len(got) != 1 || !strings.HasPrefix(got[0].Error(), name+", "+want) {
			t.Errorf("%q: %v, %v", in, err, got)
			continue
		}
		for user, password := range map[string]string{"a": "x", "c": "y"} {
			if _, err := f.Verify(user, password); err != nil {
				t.Errorf("%q: user %s: %v", in, user, err)
			}
		}
		if f.Lookup("b") != nil {
			if _, err := f.Verify("b", "x"); !errors.Is(err, sasl.ErrTemporary) || !strings.Contains(err.Error(), "line 2") {
				t.Errorf("%q: %v", in, err)
			}
		}
	}
}

func TestUserdbFields(t *testing.T) {
	users, _, _, err := Parse("f", strings.NewReader("a:{PLAIN}x:1:2::/h::userdb_uid=8 userdb_home=/elsewhere nologin userdb_gid=9\n"))
	want := &User{Name: "a", Scheme: "PLAIN", Hash: "x", UID: "8", GID: "9", Home: "/elsewhere", Extra: []string{"nologin"}, Line: 1}
	if err != nil || !reflect.DeepEqual(users["a"], want) {
		t.Errorf("%+v %v", users["a"], err)
	}
}

func TestReload(t *testing.T) {
	name := write(t, "a:{PLAIN}one\n")
	var trouble error
	f, err := Open(name, func(err error) { trouble = err }, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := func(text string) {
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.checked = time.Time{} // as if a second had passed
		f.mu.Unlock()
	}
	again("a:{PLAIN}two\n")
	if _, err := f.Verify("a", "two"); err != nil {
		t.Error(err)
	}
	again("broken\n")
	if _, err := f.Verify("a", "two"); err != nil || trouble == nil {
		t.Errorf("after a mistake: %v, reported %v", err, trouble)
	}
}

func TestScramOfUnknownUsers(t *testing.T) {
	h, _ := HashScram("x")
	f, err := Open(write(t, "a:"+h+"\nb:{PLAIN}x\n"), nil, nil)
	if err != nil || !f.ScramForAll("SHA-256") {
		t.Fatal(err, f.ScramForAll("SHA-256"))
	}
	k1, err1 := f.Scram("nobody", "SHA-256")
	k2, err2 := f.Scram("nobody", "SHA-256")
	if err1 != nil || err2 != nil || string(k1.Salt) != string(k2.Salt) || len(k1.StoredKey) != 32 || k1.Iterations != Iterations {
		t.Errorf("%+v %+v %v %v", k1, k2, err1, err2)
	}
	a, _ := f.Scram("a", "SHA-256")
	if len(a.Salt) != len(k1.Salt) || a.Iterations != k1.Iterations {
		t.Error("an unknown user can be told from a known one")
	}
}

// Keys of "pencil": with the salts of the examples of RFC 5802 and RFC 7677, and
// as doveadm pw of Dovecot 2.3.19 made them.
const scrams = `one:{SCRAM-SHA-1}4096,QSXCR+Q6sek8bf92,6dlGYMOdZcOPutkcNY8U2g7vK9Y=,D+CSWLOshSulAsxiupA+qs2/fTE=
two:{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=
three:{SCRAM-SHA-1}4096,+unnmtIskg2I/wZUaLiYDw==,Ef5x2hj80e906WdYX0QXAhCB1BI=,yQZLIcrM8SH6jfyAQLskg1+Nhx0=
four:{SCRAM-SHA-256}4096,okPBFljysqgODeMbr/6QEQ==,KByMl018DxBZNlbOCCk8KLLcprO2Vb7whDnHWH71PZs=,j9Kt385Jgm5kjWu2C1FMpIMC/Ff8W0pd9zuTbkD/yOU=
`

func TestScramValues(t *testing.T) {
	f, err := Open(write(t, scrams), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{"one", "two", "three", "four"} {
		if _, err := f.Verify(u, "pencil"); err != nil {
			t.Errorf("%s: %v", u, err)
		}
		if _, err := f.Verify(u, "pencils"); !errors.Is(err, sasl.ErrMismatch) {
			t.Errorf("%s: %v", u, err)
		}
	}
	if f.ScramForAll("SHA-1") || f.ScramForAll("SHA-256") {
		t.Error("a mechanism is offered that not everybody can use")
	}
	// Each hash function has the iterations and the length of salt that the file
	// has, for users who are not in it, too.
	for hash, salt := range map[string]int{"SHA-1": 12, "SHA-256": 16} {
		k, err := f.Scram("nobody", hash)
		if err != nil || len(k.Salt) != salt || k.Iterations != 4096 || len(k.StoredKey) != scramHashes[hash]().Size() {
			t.Errorf("%s: %+v, %v", hash, k, err)
		}
	}
	if _, err := f.Scram("one", "MD5"); err == nil {
		t.Error("SCRAM-MD5")
	}
}

// SASLprep makes U+2168 into "IX"; a client that types either gets in, by PLAIN
// and, by its own SASLprep, with SCRAM.
func TestPreparedPasswords(t *testing.T) {
	h, err := HashScram("I\u00adX")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(write(t, "a:"+h+"\nb:{PLAIN}\u2168\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"IX", "\u2168"} {
		if _, err := f.Verify("a", p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	k, err := f.Scram("b", "SHA-1")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := deriveScram("SHA-1", "IX", k.Salt, k.Iterations)
	if string(k.StoredKey) != string(want.StoredKey) {
		t.Error("keys of a plain password are not those of the prepared one")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(hashes)
	f.Add("a:{SCRAM-SHA-256}4096,YQ==,YQ==,YQ==\n")
	f.Fuzz(func(t *testing.T, s string) {
		users, order, _, err := Parse("f", strings.NewReader(s))
		if err == nil && len(users) != len(order) {
			t.Fatal(len(users), len(order))
		}
		for _, u := range order {
			if u.Scheme == "SCRAM-SHA-256" {
				parseScram("SHA-256", u.Hash)
			}
		}
	})
}
