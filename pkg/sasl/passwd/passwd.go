// Package passwd reads password files in Dovecot's passwd-file form,
//
//	user:{SCHEME}hash:uid:gid:gecos:home:shell:extra=fields
//
// and verifies passwords against their hashes: PLAIN, yescrypt, SHA-256-crypt,
// SHA-512-crypt, bcrypt, argon2id, SCRAM-SHA-256 and SCRAM-SHA-1. How many hashes run at a
// time is bounded, since some cost 60 ms and 16 MB; a check of a user who does
// not exist costs as much as one of a user who does.
package passwd

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"posthaste/pkg/sasl"
)

// User is one line of a password file.
type User struct {
	Name   string
	Scheme string // PLAIN, CRYPT, SCRAM-SHA-256, …; upper case
	Hash   string // without the {SCHEME}
	UID    string
	GID    string
	Home   string
	Extra  []string // key=value
	Line   int
}

// errForm is a line that is none: at best a mistake, at worst half of a file.
var errForm = errors.New("expected user:{SCHEME}hash:uid:gid:gecos:home:shell:extra")

// maxFile bounds a password file.
const maxFile = 64 << 20

// Parse reads a password file. Mistakes in lines are problems that name the line,
// name being the file's; they keep nobody out but the user of that line. Lines
// that begin with "#" and empty ones are skipped; of two lines for one user the
// first counts.
func Parse(name string, r io.Reader) (users map[string]*User, order []*User, problems []error, err error) {
	users = map[string]*User{}
	sc := bufio.NewScanner(io.LimitReader(r, maxFile))
	sc.Buffer(nil, 64<<10)
	for n := 1; sc.Scan(); n++ {
		l := strings.TrimRight(sc.Text(), "\r")
		if l == "" || l[0] == '#' {
			continue
		}
		f := strings.SplitN(l, ":", 8)
		if f[0] == "" || len(f) < 2 {
			problems = append(problems, fmt.Errorf("%s, line %d: %w", name, n, errForm))
			continue
		}
		u := &User{Name: f[0], Line: n}
		u.Scheme, u.Hash = splitScheme(f[1])
		if !known[u.Scheme] {
			problems = append(problems, fmt.Errorf("%s, line %d: unknown password scheme {%s}: user %q cannot log in", name, n, u.Scheme, u.Name))
		}
		get := func(i int) string {
			if i < len(f) {
				return f[i]
			}
			return ""
		}
		u.UID, u.GID, u.Home = get(2), get(3), get(5)
		for _, e := range strings.Fields(get(7)) {
			switch k, v, _ := strings.Cut(e, "="); k {
			case "userdb_uid":
				u.UID = v
			case "userdb_gid":
				u.GID = v
			case "userdb_home":
				u.Home = v
			default:
				u.Extra = append(u.Extra, e)
			}
		}
		if _, dup := users[u.Name]; !dup {
			users[u.Name] = u
			order = append(order, u)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return users, order, problems, nil
}

var known = map[string]bool{"PLAIN": true, "CLEARTEXT": true, "CRYPT": true, "SHA256-CRYPT": true, "SHA512-CRYPT": true,
	"BLF-CRYPT": true, "ARGON2ID": true, "ARGON2I": true, "SCRAM-SHA-256": true, "SCRAM-SHA-1": true}

// splitScheme takes {SCHEME} off. A hash without one is CRYPT, as it is in
// /etc/shadow.
func splitScheme(s string) (scheme, hash string) {
	if strings.HasPrefix(s, "{") {
		if i := strings.IndexByte(s, '}'); i > 0 {
			return strings.ToUpper(s[1:i]), s[i+1:]
		}
	}
	return "CRYPT", s
}

var decoder = sync.OnceValues(func() (*crypt.Decoder, error) {
	d := crypt.NewDecoder()
	for _, reg := range []func() error{
		func() error { return argon2.RegisterDecoder(d) },
		func() error { return bcrypt.RegisterDecoder(d) },
		func() error { return scrypt.RegisterDecoder(d) }, // holds yescrypt
		func() error { return shacrypt.RegisterDecoder(d) },
	} {
		if err := reg(); err != nil {
			return nil, err
		}
	}
	return d, nil
})

// hashing bounds the checks that run at a time.
var hashing = make(chan struct{}, max(2, runtime.NumCPU()))

// locked tells that no password fits.
func (u *User) locked() bool {
	switch u.Scheme {
	case "PLAIN", "CLEARTEXT", "SCRAM-SHA-256", "SCRAM-SHA-1":
		return false
	}
	return u.Hash == "" || u.Hash[0] == '*' || u.Hash[0] == '!'
}

// Match checks a password against a user's hash. An error is a hash that
// cannot be read.
func (u *User) Match(password string) (ok bool, err error) {
	switch u.Scheme {
	case "PLAIN", "CLEARTEXT":
		a, b := sha256.Sum256([]byte(u.Hash)), sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1, nil
	case "SCRAM-SHA-256", "SCRAM-SHA-1":
		return u.matchScram(password)
	}
	h := u.Hash
	if u.locked() {
		return false, nil
	}
	if !known[u.Scheme] {
		return false, fmt.Errorf("line %d: unknown password scheme {%s}", u.Line, u.Scheme)
	}
	if h[0] != '$' {
		return false, fmt.Errorf("line %d: not a known hash", u.Line) // DES
	}
	d, err := decoder()
	if err != nil {
		return false, err
	}
	hashing <- struct{}{}
	defer func() { <-hashing }()
	dig, err := d.Decode(h)
	if err != nil {
		return false, err
	}
	return dig.MatchAdvanced(password)
}

// File is a password file that is read again when it changes. It implements
// sasl.Verifier and is safe for concurrent use.
type File struct {
	// Realm is the domain that a login name may have or lack: where the file has
	// USER, USER@Realm is that user too, and the other way round. Empty for none.
	// It must not change once the file is in use.
	Realm string

	path   string
	stale  func(error) // told when a changed file cannot be read
	line   func(error) // told of lines that are of no use
	secret []byte      // makes the salts of users who do not exist

	mu      sync.Mutex
	users   map[string]*User
	folded  map[string]*User // by name in lower case
	dummy   *User            // what a check of an unknown user costs
	scram   map[string]*scramOffer
	checked time.Time
	id      string
}

// Open reads the file. stale, which may be nil, is called with the trouble
// when the file has changed and cannot be read again; the old content stays.
// line, which may be nil, is told of each mistake in a line.
func Open(path string, stale, line func(error)) (*File, error) {
	f := &File{path: path, stale: stale, line: line, secret: make([]byte, 32)}
	rand.Read(f.secret)
	return f, f.load()
}

func (f *File) load() error {
	fd, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer fd.Close()
	st, err := fd.Stat()
	if err != nil {
		return err
	}
	users, order, problems, err := Parse(f.path, fd)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if f.users != nil && errors.Is(p, errForm) {
			return p // somebody may be writing: what was read before is better
		}
		if f.line != nil {
			f.line(p)
		}
	}
	f.users, f.id = users, fileID(st)
	f.folded = make(map[string]*User, len(users))
	for _, u := range order {
		if low := strings.ToLower(u.Name); f.folded[low] == nil {
			f.folded[low] = u
		}
	}
	f.scram = scramOffers(order)
	f.dummy = &User{Scheme: "SCRAM-SHA-256", Hash: f.fakeHash("SHA-256", "dummy", Iterations)}
	for _, u := range order {
		if !u.locked() && known[u.Scheme] {
			f.dummy = u
			break
		}
	}
	return nil
}

func fileID(st os.FileInfo) string {
	id := fmt.Sprint(st.ModTime().UnixNano(), st.Size())
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		id += fmt.Sprint(" ", s.Ino)
	}
	return id
}

// refresh reads the file again if it changed; at most once a second it looks.
func (f *File) refresh() {
	if now := time.Now(); now.Sub(f.checked) >= time.Second {
		f.checked = now
		st, err := os.Stat(f.path)
		if err == nil && fileID(st) == f.id {
			return
		}
		if err == nil {
			err = f.load()
		}
		if err != nil && f.stale != nil {
			f.stale(err)
		}
	}
}

func (f *File) find(user string) (u, dummy *User) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	if u = f.users[user]; u != nil {
		return u, f.dummy
	}
	// A name is often written with other case, or with or without the domain.
	low := strings.ToLower(user)
	if u = f.folded[low]; u != nil || f.Realm == "" {
		return u, f.dummy
	}
	if local, domain, ok := strings.Cut(low, "@"); !ok {
		u = f.folded[low+"@"+strings.ToLower(f.Realm)]
	} else if strings.EqualFold(domain, f.Realm) {
		u = f.folded[local]
	}
	return u, f.dummy
}

// Lookup returns a user, nil if there is none.
func (f *File) Lookup(user string) *User {
	u, _ := f.find(user)
	return u
}

// Verify implements sasl.Verifier.
func (f *File) Verify(user, password string) (string, error) {
	u, dummy := f.find(user)
	if u == nil {
		dummy.Match(password) // only its time matters
		return "", sasl.ErrUnknownUser
	}
	ok, err := u.Match(password)
	if err != nil {
		return "", fmt.Errorf("%w: %s, user %q: %v", sasl.ErrTemporary, f.path, u.Name, err)
	}
	switch {
	case !ok && u.locked():
		dummy.Match(password)
		return "", sasl.ErrLocked
	case !ok:
		return "", sasl.ErrMismatch
	}
	return u.Name, nil
}
