package passwd

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"

	"posthaste/pkg/sasl"
)

// Iterations is the work factor of hashes that HashScram makes.
const Iterations = 4096

// scramHashes are SCRAM's hash functions, by the end of the mechanism's name.
var scramHashes = map[string]func() hash.Hash{"SHA-256": sha256.New, "SHA-1": sha1.New}

// HashScram makes the {SCRAM-SHA-256} value of a password: the one scheme with
// which PLAIN, LOGIN and SCRAM-SHA-256 all work and no password is kept.
func HashScram(password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	k, err := deriveScram("SHA-256", prepare(password), salt, Iterations)
	if err != nil {
		return "", err
	}
	return "{SCRAM-SHA-256}" + formatScram(&k), nil
}

func formatScram(k *sasl.ScramKeys) string {
	e := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%d,%s,%s,%s", k.Iterations, e(k.Salt), e(k.StoredKey), e(k.ServerKey))
}

// parseScram reads "iterations,salt,storedkey,serverkey", base64 each, as
// Dovecot's doveadm pw writes it.
func parseScram(hash, s string) (k sasl.ScramKeys, err error) {
	bad := fmt.Errorf("bad SCRAM-%s value", hash)
	f := strings.Split(s, ",")
	if len(f) != 4 {
		return k, bad
	}
	if k.Iterations, err = strconv.Atoi(f[0]); err != nil || k.Iterations < 1 || k.Iterations > 10_000_000 {
		return k, fmt.Errorf("bad SCRAM-%s iteration count", hash)
	}
	for i, dst := range []*[]byte{&k.Salt, &k.StoredKey, &k.ServerKey} {
		if *dst, err = base64.StdEncoding.DecodeString(f[i+1]); err != nil {
			return k, bad
		}
	}
	if n := scramHashes[hash]().Size(); len(k.StoredKey) != n || len(k.ServerKey) != n || len(k.Salt) == 0 {
		return k, bad
	}
	return k, nil
}

// prepare is SASLprep (RFC 4013), which SCRAM clients apply to a password before
// they hash it. What it forbids stays as it is.
func prepare(password string) string {
	if p, err := stringprep.SASLprep.Prepare(password); err == nil {
		return p
	}
	return password
}

// deriveScram computes keys; it takes its turn among the hashes.
func deriveScram(name, password string, salt []byte, iter int) (k sasl.ScramKeys, err error) {
	hashing <- struct{}{}
	defer func() { <-hashing }()
	h := scramHashes[name]
	salted, err := pbkdf2.Key(h, password, salt, iter, h().Size())
	if err != nil {
		return k, err
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := h()
	stored.Write(mac(salted, "Client Key"))
	return sasl.ScramKeys{Salt: salt, Iterations: iter, StoredKey: stored.Sum(nil), ServerKey: mac(salted, "Server Key")}, nil
}

// matchScram checks a password against SCRAM keys. Dovecot hashes a password as
// it was typed, others as SASLprep makes it; both count.
func (u *User) matchScram(password string) (bool, error) {
	name := strings.TrimPrefix(u.Scheme, "SCRAM-")
	k, err := parseScram(name, u.Hash)
	if err != nil {
		return false, err
	}
	ok := 0
	for i, p := range [...]string{password, prepare(password)} {
		if i > 0 && p == password {
			break
		}
		got, err := deriveScram(name, p, k.Salt, k.Iterations)
		if err != nil {
			return false, err
		}
		ok |= subtle.ConstantTimeCompare(got.StoredKey, k.StoredKey)
	}
	return ok == 1, nil
}

// scramOffer is what a file can do for SCRAM with one hash function.
type scramOffer struct {
	all    bool // all users can use it
	plain  bool // keys are derived for some, which takes time
	iter   int  // iterations of a user of the file, for those without keys of their own
	salted int  // bytes of his salt
}

func scramOffers(order []*User) map[string]*scramOffer {
	m := map[string]*scramOffer{}
	for name := range scramHashes {
		o := &scramOffer{all: len(order) > 0}
		for _, u := range order {
			switch u.Scheme {
			case "PLAIN", "CLEARTEXT":
				o.plain = true
			case "SCRAM-" + name:
				if k, err := parseScram(name, u.Hash); err == nil && o.iter == 0 {
					o.iter, o.salted = k.Iterations, len(k.Salt)
				}
			default:
				o.all = false
			}
		}
		if o.iter == 0 {
			o.iter, o.salted = Iterations, 16
		}
		m[name] = o
	}
	return m
}

// ScramForAll tells whether every user of the file can use SCRAM with a hash
// function ("SHA-256", "SHA-1"). Only then is it wise to offer it: clients prefer
// it to PLAIN.
func (f *File) ScramForAll(hash string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.scram[hash] != nil && f.scram[hash].all
}

// Scram implements sasl.Verifier.
func (f *File) Scram(user, hash string) (sasl.ScramKeys, error) {
	u, _ := f.find(user)
	f.mu.Lock()
	o := f.scram[hash]
	f.mu.Unlock()
	if o == nil {
		return sasl.ScramKeys{}, sasl.ErrTemporary
	}
	if u != nil {
		switch u.Scheme {
		case "SCRAM-" + hash:
			k, err := parseScram(hash, u.Hash)
			if err != nil {
				return k, fmt.Errorf("%w: %s, user %q: %v", sasl.ErrTemporary, f.path, u.Name, err)
			}
			if o.plain {
				deriveScram(hash, "", k.Salt, o.iter) // only its time matters
			}
			return k, nil
		case "PLAIN", "CLEARTEXT":
			return deriveScram(hash, prepare(u.Hash), f.salt(user, o.salted), o.iter)
		}
	}
	if o.plain {
		deriveScram(hash, "", f.salt(user, o.salted), o.iter)
	}
	k, err := parseScram(hash, f.fakeHash(hash, user, o.iter))
	if err != nil {
		return k, errors.Join(sasl.ErrTemporary, err)
	}
	k.Salt = f.salt(user, o.salted)
	return k, nil
}

// salt makes the salt of a user who has none of his own. It stays the same while
// the process lives.
func (f *File) salt(user string, size int) []byte {
	var b []byte
	for n := byte(0); len(b) < size; n++ {
		h := hmac.New(sha256.New, f.secret)
		h.Write([]byte{n})
		h.Write([]byte(user))
		b = h.Sum(b)
	}
	return b[:size]
}

// fakeHash is the same for each question about a user who does not exist, as
// the real one of a user who does would be. Nobody knows its password.
func (f *File) fakeHash(name, user string, iter int) string {
	key := func(what string) []byte {
		h := hmac.New(scramHashes[name], f.secret)
		h.Write([]byte(what + user))
		return h.Sum(nil)
	}
	return formatScram(&sasl.ScramKeys{Iterations: iter, Salt: f.salt(user, 16), StoredKey: key("stored key "), ServerKey: key("server key ")})
}
