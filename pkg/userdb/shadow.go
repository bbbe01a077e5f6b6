package userdb

import (
	"strconv"
	"strings"
)

// Shadow is one line of shadow(5). Days are counted from 1970-01-01; -1 stands
// for an empty field.
type Shadow struct {
	Name       string
	Hash       string // as crypt(5) writes it; "*…" or "!…" fits no password
	LastChange int64  // day of the last change of the password; 0 asks for one at the next login
	Max        int64  // days after which the password must be changed
	Inactive   int64  // days after that in which it still can be
	Expire     int64  // first day on which the account is closed
}

// Expiry is what dates say about an account.
type Expiry int

const (
	Valid           Expiry = iota
	AccountExpired         // closed, or the password has expired too long ago
	PasswordExpired        // the password must be changed before it can be used
)

// Expiry judges the account on a day, by the rules of pam_unix. A password whose
// last change lies in the future counts as fresh.
func (s *Shadow) Expiry(day int64) Expiry {
	if s.Expire >= 0 && day >= s.Expire {
		return AccountExpired
	}
	age := day - s.LastChange
	switch {
	case s.LastChange == 0:
		return PasswordExpired
	case s.LastChange < 0 || s.Max < 0 || age <= s.Max:
		return Valid
	case s.Inactive >= 0 && age > s.Max+s.Inactive:
		return AccountExpired
	}
	return PasswordExpired
}

// ParseShadow reads shadow(5); malformed lines, NIS lines and comments are
// skipped, and the first line of a name wins, as in the C library.
func ParseShadow(s string) map[string]*Shadow {
	users := map[string]*Shadow{}
	for line := range strings.Lines(s) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) != 9 || f[0] == "" || strings.ContainsAny(f[0][:1], "#+-") || users[f[0]] != nil {
			continue
		}
		u := &Shadow{Name: f[0], Hash: f[1]}
		ok := true
		for i, dst := range map[int]*int64{2: &u.LastChange, 4: &u.Max, 6: &u.Inactive, 7: &u.Expire} {
			*dst = -1
			if f[i] == "" {
				continue
			}
			n, err := strconv.ParseInt(f[i], 10, 32)
			if err != nil {
				ok = false // who knows what it should say: nobody gets in by it
			}
			*dst = max(n, -1)
		}
		if ok {
			users[u.Name] = u
		}
	}
	return users
}

// ParsePasswd reads passwd(5); malformed lines, NIS lines and comments are
// skipped, and the first line of a name wins, as in the C library.
func ParsePasswd(s string) map[string]*User {
	users, _ := parsePasswd(s)
	return users
}
