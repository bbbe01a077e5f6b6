package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"posthaste/pkg/privs"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/sasl/passwd"
)

// grant announces a session of a user to master and returns the cookie, in
// hexadecimal.
func (a *auth) grant(ctx context.Context, program string, u *passwd.User) (cookie string, err error) {
	g := session.Grant{Program: program, User: u.Name, Home: u.Home}
	if g.UID, err = number("uid", u.UID, func(s string) (int, error) { ids, err := privs.LookupUser(s); return ids.UID, err }); err != nil {
		return "", err
	}
	if g.GID, err = number("gid", u.GID, privs.LookupGroup); err != nil {
		return "", err
	}
	for _, f := range u.Extra {
		name, ok := strings.CutPrefix(f, "userdb_")
		if !ok {
			continue
		}
		if m, ok := strings.CutPrefix(name, "mail="); ok {
			g.Mail = m
		} else {
			g.Extra = append(g.Extra, name)
		}
	}
	if g.Home == "" && (g.Mail == "" || strings.Contains(g.Mail, "~")) {
		return "", fmt.Errorf("no home directory")
	}
	b := make([]byte, session.CookieSize)
	rand.Read(b)
	g.Cookie = string(b)
	if err := a.sessions.Grant(ctx, &g); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

// number reads an ID, or the name of one.
func number(what, s string, lookup func(string) (int, error)) (uint32, error) {
	if s == "" {
		return 0, fmt.Errorf("no %s", what)
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(n), nil
	}
	n, err := lookup(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s %q: %v", what, s, err)
	}
	return uint32(n), nil
}
