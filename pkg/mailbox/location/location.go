// Package location finds out where a user's mail is, and in which format: as
// Dovecot's mail_location says it, or as local(8) delivers it.
package location

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
	"posthaste/pkg/userdb"
)

// Location is where a user's mail is.
type Location struct {
	Mbox bool
	// Root is the Maildir, or the directory of the mbox folders.
	Root string
	// Inbox is the mbox file of INBOX; it need not exist.
	Inbox string
}

// String is the location as Parse reads it.
func (l Location) String() string {
	if l.Mbox {
		return "mbox:" + l.Root + ":INBOX=" + l.Inbox
	}
	return "maildir:" + l.Root
}

// Parse reads a mail location: "maildir:PATH" or "mbox:PATH[:INBOX=PATH]". Paths may
// have "~/" for the home directory and Dovecot's %u (login name), %n (its part before
// "@"), %d (the part behind it) and %h (home directory). Without INBOX= that is PATH/inbox.
// INDEX= and CONTROL= behind a Maildir are Dovecot's own and not used; what would
// put mail elsewhere is an error.
func Parse(spec, user, home string) (l Location, err error) {
	format, rest, _ := strings.Cut(spec, ":")
	if format != "maildir" && format != "mbox" {
		return l, fmt.Errorf("mail location %q: only maildir:PATH and mbox:PATH are known", spec)
	}
	l.Mbox = format == "mbox"
	path, options, _ := strings.Cut(rest, ":")
	e := expander{spec, user, home}
	if l.Root, err = e.path(path); err != nil {
		return Location{}, err
	}
	if l.Mbox {
		l.Inbox = filepath.Join(l.Root, "inbox")
	}
	for _, o := range strings.Split(options, ":") {
		key, v, _ := strings.Cut(o, "=")
		switch {
		case key == "" || key == "INDEX" || key == "CONTROL" || key == "VOLATILEDIR" || key == "UTF-8":
		case key == "INBOX" && l.Mbox:
			if l.Inbox, err = e.path(v); err != nil {
				return Location{}, err
			}
		case key == "LAYOUT" && (v == "fs" && l.Mbox || v == "maildir++" && !l.Mbox):
		default:
			return Location{}, fmt.Errorf("mail location %q: %s is not supported", spec, key)
		}
	}
	return l, nil
}

type expander struct{ spec, user, home string }

func (e *expander) path(path string) (string, error) {
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = "%h" + path[1:]
	}
	var b strings.Builder
	local, domain, _ := strings.Cut(e.user, "@")
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		i++
		v := ""
		switch {
		case i < len(path) && path[i] == 'u':
			v = e.user
		case i < len(path) && path[i] == 'n':
			v = local
		case i < len(path) && path[i] == 'd':
			v = domain
		case i < len(path) && path[i] == '%':
			b.WriteByte('%')
			continue
		case i < len(path) && path[i] == 'h':
			if e.home == "" {
				return "", fmt.Errorf("mail location %q: user %q has no home directory", e.spec, e.user)
			}
			b.WriteString(e.home) // the administrator's word, like the rest of the path
			continue
		default:
			return "", fmt.Errorf("mail location %q: unknown variable", e.spec)
		}
		// A name never chooses another directory.
		if v == "" || v == "." || v == ".." || strings.Contains(v, "/") {
			return "", fmt.Errorf("mail location %q: user name %q does not fit in", e.spec, e.user)
		}
		b.WriteString(v)
	}
	p := b.String()
	if !filepath.IsAbs(p) {
		return "", fmt.Errorf("mail location %q of %q is not an absolute path", e.spec, e.user)
	}
	return filepath.Clean(p), nil
}

// Finder knows what the configuration says.
type Finder struct {
	Default     string // mail_location
	HomeMailbox string
	Spool       string // mail_spool_directory
	Users       *userdb.DB
}

// New reads the configuration.
func New(cfg *config.Config) *Finder {
	return &Finder{Default: params.MailLocation.In(cfg), HomeMailbox: params.HomeMailbox.In(cfg), Spool: params.MailSpoolDirectory.In(cfg), Users: userdb.New("", "")}
}

// Find returns where the mail of a user is, whose line in the password file says mail
// ("" for nothing), as docs/internals/mbox.md describes: that line, mail_location, and
// then, for a user of the system, the place that local(8) delivers to, unless there is a
// ~/Maildir and nothing is configured; everybody else has a ~/Maildir.
func (f *Finder) Find(user, home, mail string, uid uint32) (Location, error) {
	for _, spec := range []string{mail, f.Default} {
		if spec != "" {
			return Parse(spec, user, home)
		}
	}
	const maildir = "maildir:~/Maildir"
	u, err := f.Users.Lookup(user)
	if err != nil {
		return Location{}, err
	}
	if u == nil || u.UID != uid || strings.Contains(user, "/") {
		return Parse(maildir, user, home)
	}
	if home == "" {
		home = u.Home
	}
	folders := "mbox:~/mail:INBOX="
	if !isDir(home+"/mail") && isDir(home+"/Mail") {
		folders = "mbox:~/Mail:INBOX="
	}
	escape := func(s string) string { return strings.ReplaceAll(s, "%", "%%") }
	switch h, s := escape(f.HomeMailbox), escape(f.Spool); {
	case strings.HasSuffix(h, "/"):
		return Parse("maildir:~/"+h, user, home)
	case h != "":
		return Parse(folders+"~/"+h, user, home)
	case strings.HasSuffix(s, "/"):
		return Parse("maildir:"+s+"%u", user, home)
	case isDir(home + "/Maildir/cur"):
		return Parse(maildir, user, home)
	default:
		return Parse(folders+s+"/%u", user, home)
	}
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
