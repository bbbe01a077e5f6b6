package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// syncer keeps Maildirs below ~/mail like the folders of an account.
type syncer struct {
	name, program string
	file, config  string   // its configuration
	args          []string // for one run
	utf8          bool     // its directories have their names in UTF-8
	remove        string   // what removes a message here, for setFlags
	stalls        bool     // may have to be started again
}

const mbsyncrc = `IMAPStore remote
Host localhost
User %U
Pass test
CertificateFile %C
SystemCertificates no
SSLType `

const mbsyncRest = `

MaildirStore local
Path %H/mail/
Inbox %H/mail/INBOX
SubFolders Verbatim

Channel all
Far :remote:
Near :local:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
CopyArrivalDate yes
`

const offlineimaprc = `[general]
accounts = a
metadata = %H/state
[Account a]
localrepository = here
remoterepository = there
utf8foldernames = yes
[Repository here]
type = Maildir
localfolders = %H/mail
sep = /
[Repository there]
type = IMAP
remotehost = localhost
remoteuser = %U
remotepass = test
sslcacertfile = %C
`

var syncers = []syncer{
	{"mbsync by STARTTLS", "mbsync", "mbsyncrc", mbsyncrc + "STARTTLS\nPort %imap" + mbsyncRest, []string{"-c", "%H/mbsyncrc", "-V", "all"}, false, "FT", false},
	{"mbsync by TLS", "mbsync", "mbsyncrc", mbsyncrc + "IMAPS\nPort %imaps" + mbsyncRest, []string{"-c", "%H/mbsyncrc", "-V", "all"}, false, "FT", false},
	{"offlineimap by STARTTLS", "offlineimap", "offlineimaprc", offlineimaprc + "ssl = no\nstarttls = yes\nremoteport = %imap\n", []string{"-c", "%H/offlineimaprc", "-o", "-u", "basic"}, true, gone, true},
	{"offlineimap by TLS", "offlineimap", "offlineimaprc", offlineimaprc + "ssl = yes\nremoteport = %imaps\n", []string{"-c", "%H/offlineimaprc", "-o", "-u", "basic"}, true, gone, false},
}

// syncs changes mail on both sides and has it made the same.
func (st *stage) syncs(fs, cs []fixture) {
	for _, s := range syncers {
		st.read(s.name+": folders, flags, new and deleted mail, changed on both sides", func(r *reader) error {
			if err := needs(s.program); err != nil {
				return err
			}
			return r.syncs(s, fs, cs)
		})
	}
}

func (r *reader) syncs(s syncer, fs, cs []fixture) error {
	inner := projects7 + "/&fqqJgQ- &- &g0l6Pw-"
	gb2312, gbk, gb18030, big5, hz, utf8 := cs[0], cs[1], cs[2], cs[3], cs[4], cs[5]
	v, err := r.st.view(r.user)
	if err != nil {
		return err
	}
	defer v.close()
	for _, c := range []string{"CREATE " + `"` + meetings7 + `"`, `CREATE "` + inner + `"`} {
		if _, err := v.cmd("%s", c); err != nil {
			return err
		}
	}
	if err := v.append("INBOX", "", append(append([]fixture{}, fs[:7]...), gb2312, hz, gb18030)...); err != nil {
		return err
	}
	if err := v.append(inner, `\Flagged`, gbk, big5); err != nil {
		return err
	}
	if err := r.put(s.file, s.config); err != nil {
		return err
	}
	if err := r.put("mail/.made", ""); err != nil {
		return err
	}
	sync := func() error {
		if err := r.sync(s); err != nil {
			return err
		}
		return r.alike(s, v, append(slices.Clone(fs), cs...))
	}
	if err := sync(); err != nil {
		return fmt.Errorf("first run: %w", err)
	}
	uids, err := v.box("INBOX")
	if err != nil {
		return err
	}

	// Here: read, flag, delete, file, and file in a new folder.
	local := func(folder string) string { return filepath.Join(r.home, "mail", s.dir(folder)) }
	for _, c := range []struct{ folder, id, flags string }{{"INBOX", "plain", "S"}, {"INBOX", "dots", "FS"}, {inner, "gbk", s.remove}} {
		if err := setFlags(local(c.folder), c.id, c.flags); err != nil {
			return err
		}
	}
	if err := r.file(local(meetings7), utf8); err != nil {
		return err
	}
	if err := r.file(local("&X1JoYw-"), fs[0]); err != nil { // 归档
		return err
	}
	// There: answer, expunge, append, unflag, a new folder.
	for _, c := range []string{"SELECT INBOX", fmt.Sprintf(`UID STORE %d +FLAGS (\Answered)`, uids.uids()["gb18030"]), fmt.Sprintf(`UID STORE %d +FLAGS (\Deleted)`, uids.uids()["hz"]), "EXPUNGE",
		`SELECT "` + inner + `"`, `STORE 2 -FLAGS (\Flagged)`, `CREATE "&ZbA-"`} {
		if _, err := v.cmd("%s", c); err != nil {
			return err
		}
	}
	if err := v.append("INBOX", `\Seen`, cs[6]); err != nil {
		return err
	}
	for _, run := range []string{"second", "third"} {
		if err := sync(); err != nil {
			return fmt.Errorf("%s run: %w", run, err)
		}
	}
	if err := r.expectFolders(meetings7, inner, "&X1JoYw-", "&ZbA-"); err != nil {
		return err
	}
	for folder, want := range map[string]string{
		"INBOX":   `dots(\Flagged \Seen) eai(\Seen) eight() every() gb18030(\Answered) gb2312() l100k() l998() noend() plain(\Seen)`,
		meetings7: "utf8()", inner: "big5()", "&X1JoYw-": "plain()", "&ZbA-": "",
	} {
		b, err := v.box(folder)
		if err == nil {
			err = same(folder, b.sorted(), want)
		}
		if err != nil {
			return err
		}
		if folder == "INBOX" {
			now := b.uids()
			for id, uid := range uids.uids() {
				if id != "hz" && now[id] != uid {
					return fmt.Errorf("%s had UID %d, now %d", id, uid, now[id])
				}
			}
		}
	}
	return nil
}

// sync runs the program once. offlineimap reads and writes its TLS connection
// from two threads at a time; after STARTTLS it now and then sends nothing any
// more (to Dovecot as well), so it gets another chance.
func (r *reader) sync(s syncer) (err error) {
	for range 4 {
		if !s.stalls {
			_, err = r.run(append([]string{s.program}, s.args...)...)
			return err
		}
		if _, err = r.runLimit(30*time.Second, append([]string{s.program}, s.args...)...); err == nil {
			return nil
		}
	}
	return err
}

// dir is the directory of a folder.
func (s syncer) dir(folder string) string {
	if !s.utf8 {
		return folder
	}
	return strings.NewReplacer(meetings7, meetings, projects7, projects, "&fqqJgQ- &- &g0l6Pw-", "纪要 & 草稿", "&X1JoYw-", "归档", "&ZbA-", "新").Replace(folder)
}

// alike compares every folder of the server with its Maildir.
func (r *reader) alike(s syncer, v *view, fs []fixture) error {
	folders, err := v.folders("LIST")
	if err != nil {
		return err
	}
	for _, f := range folders {
		there, err := v.box(f)
		if err != nil {
			return err
		}
		here, err := maildir(filepath.Join(r.home, "mail", s.dir(f)))
		if err != nil {
			return err
		}
		if err := same(f+" here, compared with the server", here.sorted(), there.sorted()); err != nil {
			return err
		}
		for _, b := range []box{here, there} {
			if err := intact(b, fs); err != nil {
				return err
			}
		}
	}
	return nil
}

// maildirFlags are the letters in file names.
var maildirFlags = []struct{ letter, flag string }{{"D", `\Draft`}, {"F", `\Flagged`}, {"R", `\Answered`}, {"S", `\Seen`}, {"T", `\Deleted`}}

// maildir reads a client's Maildir.
func maildir(dir string) (b box, err error) {
	for _, sub := range []string{"new", "cur"} {
		es, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return b, err
		}
		for _, e := range es {
			text, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
			if err != nil {
				return b, err
			}
			m := message{body: string(text)}
			if id := messageID.FindStringSubmatch(m.body); id != nil {
				m.id = id[1]
			}
			_, letters, _ := strings.Cut(e.Name(), ":2,")
			for _, x := range maildirFlags {
				if strings.Contains(letters, x.letter) {
					m.flags += " " + x.flag
				}
			}
			m.flags = sortFlags(m.flags)
			b.messages = append(b.messages, m)
		}
	}
	return b, nil
}

// gone is what setFlags takes to remove the file.
const gone = "-"

// setFlags gives a message of a client's Maildir other letters.
func setFlags(dir, id, letters string) error {
	for _, sub := range []string{"new", "cur"} {
		es, _ := os.ReadDir(filepath.Join(dir, sub))
		for _, e := range es {
			old := filepath.Join(dir, sub, e.Name())
			text, err := os.ReadFile(old)
			if err != nil {
				return err
			}
			if m := messageID.FindSubmatch(text); m != nil && string(m[1]) == id {
				if letters == gone {
					return os.Remove(old)
				}
				base, _, _ := strings.Cut(e.Name(), ":2,")
				return os.Rename(old, filepath.Join(dir, "cur", base+":2,"+letters))
			}
		}
	}
	return fmt.Errorf("no message %s in %s", id, dir)
}

// file puts a message into a client's Maildir, which is made if there is none,
// with the line ends of files.
func (r *reader) file(dir string, f fixture) error {
	rel, err := filepath.Rel(r.home, dir)
	if err != nil {
		return err
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := r.put(rel+"/"+sub+"/.made", ""); err != nil {
			return err
		}
		os.Remove(filepath.Join(dir, sub, ".made"))
	}
	name := fmt.Sprintf("%s/new/%d.%s.client.test", rel, time.Now().Unix(), f.file)
	return r.put(name, strings.ReplaceAll(string(f.data), "\r\n", "\n"))
}
