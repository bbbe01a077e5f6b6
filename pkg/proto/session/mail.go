package session

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultMail is the mail location of a user whose Grant names none.
const DefaultMail = "maildir:~/Maildir"

// Maildir is the absolute path of the user's Maildir, from Mail and Home. Mail
// may have "~/" for the home directory and Dovecot's %u (login name), %n (its
// part before "@"), %d (the part behind it) and %h (home directory); what follows
// a colon behind the path is Dovecot's (INDEX=…) and not used here.
func (g *Grant) Maildir() (string, error) {
	loc := g.Mail
	if loc == "" {
		loc = DefaultMail
	}
	path, ok := strings.CutPrefix(loc, "maildir:")
	if !ok {
		return "", fmt.Errorf("mail location %q: only maildir:PATH is known", loc)
	}
	path, _, _ = strings.Cut(path, ":")
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = "%h" + path[1:]
	}
	var b strings.Builder
	local, domain, _ := strings.Cut(g.User, "@")
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		i++
		v := ""
		switch {
		case i < len(path) && path[i] == 'u':
			v = g.User
		case i < len(path) && path[i] == 'n':
			v = local
		case i < len(path) && path[i] == 'd':
			v = domain
		case i < len(path) && path[i] == '%':
			b.WriteByte('%')
			continue
		case i < len(path) && path[i] == 'h':
			if g.Home == "" {
				return "", fmt.Errorf("mail location %q: user %q has no home directory", loc, g.User)
			}
			b.WriteString(g.Home) // the administrator's word, like the rest of the path
			continue
		default:
			return "", fmt.Errorf("mail location %q: unknown variable", loc)
		}
		// A name never chooses another directory.
		if v == "" || v == "." || v == ".." || strings.Contains(v, "/") {
			return "", fmt.Errorf("mail location %q: user name %q does not fit in", loc, g.User)
		}
		b.WriteString(v)
	}
	p := b.String()
	if !filepath.IsAbs(p) {
		return "", fmt.Errorf("mail location %q of %q is not an absolute path", loc, g.User)
	}
	return filepath.Clean(p), nil
}

// Quota is what the user may store, from the quota_rule fields for all mailboxes
// ("quota_rule=*:bytes=1G:messages=1000", storage= counting KiB as Dovecot does);
// 0 means no limit.
func (g *Grant) Quota() (bytes, messages int64, err error) {
	for _, f := range g.Extra {
		rule, ok := strings.CutPrefix(f, "quota_rule=")
		if !ok {
			continue
		}
		box, limits, _ := strings.Cut(rule, ":")
		if box != "*" {
			continue // rules for single folders are not known here
		}
		for _, l := range strings.Split(limits, ":") {
			key, v, _ := strings.Cut(l, "=")
			unit := int64(1)
			if key == "storage" {
				unit = 1024
			}
			n, ok := size(v, unit)
			switch {
			case !ok || key != "bytes" && key != "storage" && key != "messages":
				return 0, 0, fmt.Errorf("bad %q", f)
			case key == "messages":
				messages = n
			default:
				bytes = n
			}
		}
	}
	return bytes, messages, nil
}

// size reads a number with an optional unit B, K, M, G, T; unit is that of a
// bare number.
func size(s string, unit int64) (int64, bool) {
	if s == "" {
		return 0, false
	}
	i := strings.IndexByte("bkmgt", s[len(s)-1]|0x20)
	if i >= 0 {
		unit = 1 << (10 * i)
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, false
	}
	return n * unit, true
}
