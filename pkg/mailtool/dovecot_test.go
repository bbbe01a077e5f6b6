package mailtool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/maildir/store"
)

// doveadm runs Dovecot's tool on a Maildir, as this user.
func doveadm(t *testing.T, root string, args ...string) string {
	t.Helper()
	return doveadmAt(t, "maildir:"+root, root, args...)
}

// doveadmAt is doveadm for any mail location, whose files are below root.
func doveadmAt(t *testing.T, location, root string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65534, 65534 // Dovecot does not serve root
	}
	conf := dir + "/dovecot.conf"
	os.WriteFile(conf, fmt.Appendf(nil, "base_dir = %s\nstate_dir = %s\nlog_path = /dev/stderr\nssl = no\nmail_location = %s\nfirst_valid_uid = 0\nfirst_valid_gid = 0\nmail_uid = %d\nmail_gid = %d\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", dir, dir, location, uid, gid), 0o644)
	cmd := exec.Command("doveadm", append([]string{"-c", conf}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "USER=x")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		for _, d := range []string{filepath.Dir(root), dir} { // temporary directories
			os.Chmod(filepath.Dir(d), 0o711)
			own := func(uid, gid int) {
				filepath.Walk(d, func(p string, _ os.FileInfo, _ error) error { return os.Lchown(p, uid, gid) })
			}
			own(uid, gid)
			defer own(0, 0) // our tool becomes the owner
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm %v: %v\n%s", args, err, out)
	}
	return string(out)
}

var fetched = regexp.MustCompile(`uid: (\d+)\nflags: (.*)\nsize.virtual: (\d+)\n`)

func summary(t *testing.T, b mailbox.Mailbox) (list []string) {
	for _, m := range b.View().Messages {
		var f []string
		for _, x := range []struct {
			f mailbox.Flags
			n string
		}{{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`}, {mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`}} {
			if m.Flags&x.f != 0 {
				f = append(f, x.n)
			}
		}
		n, err := b.Size(m)
		if err != nil {
			t.Error(err)
		}
		f = append(f, m.Keywords...)
		slices.Sort(f)
		list = append(list, fmt.Sprint(m.UID, " ", f, " ", n))
	}
	return list
}

func theirs(out string) (list []string) {
	for _, m := range fetched.FindAllStringSubmatch(out, -1) {
		flags := strings.Fields(m[2])
		flags = deleteRecent(flags)
		slices.Sort(flags)
		list = append(list, fmt.Sprint(m[1], " ", flags, " ", m[3]))
	}
	return list
}

func deleteRecent(f []string) []string {
	out := []string{}
	for _, s := range f {
		if s != `\Recent` {
			out = append(out, s)
		}
	}
	return out
}

// TestDovecotPeer: Dovecot sees our UIDs, flags and keywords after an export,
// and we see Dovecot's at first sight.
func TestDovecotPeer(t *testing.T) {
	if _, err := exec.LookPath("doveadm"); err != nil {
		t.Skip("SKIPPED: no doveadm")
	}
	root := filepath.Join(t.TempDir(), "Maildir")
	s := open(t, root)
	s.Create("Projekte/2024 & mehr", mailbox.UseNone)
	for _, name := range []string{"INBOX", "Projekte/2024 & mehr"} {
		uids := mailboxtest.Add(t, s, name, "Subject: a\r\n\r\na\r\n", "Subject: b\r\n\r\nb\r\n", "Subject: c\r\n\r\nc\r\n", "Subject: d\r\n\r\nd\r\n")
		b := mailboxtest.Open(t, s, name)
		b.Store(uids[1:3], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged | mailbox.Answered, Keywords: []string{"red", "$Forwarded"}})
		b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
		b.Expunge(nil)
		mailboxtest.Sync(t, b)
		must(t, "export", root, name)
		out := doveadm(t, root, "fetch", "uid flags size.virtual", "mailbox", name, "ALL")
		if got, want := theirs(out), summary(t, b); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: Dovecot sees %q, we %q\n%s", name, got, want, out)
		}
		status := doveadm(t, root, "mailbox", "status", "uidvalidity uidnext", name)
		if want := fmt.Sprintf("uidnext=%d uidvalidity=%d", b.View().UIDNext, b.View().UIDValidity); !strings.Contains(status, want) {
			t.Errorf("%s: Dovecot has %s, we %s", name, status, want)
		}
	}

	// The other way, from a Maildir that only Dovecot knew.
	other := filepath.Join(t.TempDir(), "Maildir")
	doveadm(t, other, "mailbox", "create", "Ablage/Entwürfe")
	for i := range 5 {
		name := fmt.Sprintf("%s/.Ablage.Entw&APw-rfe/new/17000000%02d.M%dP1.host", other, 20-i, i)
		os.WriteFile(name, fmt.Appendf(nil, "Subject: %d\n\nbody\n", i), 0o600)
		doveadm(t, other, "fetch", "uid", "mailbox", "Ablage/Entwürfe", "ALL") // one UID after the other
	}
	doveadm(t, other, "flags", "add", `\Seen blue \Flagged`, "mailbox", "Ablage/Entwürfe", "uid", "2:3")
	doveadm(t, other, "expunge", "mailbox", "Ablage/Entwürfe", "uid", "4")
	out := doveadm(t, other, "fetch", "uid flags size.virtual", "mailbox", "Ablage/Entwürfe", "ALL")
	status := doveadm(t, other, "mailbox", "status", "uidvalidity uidnext", "Ablage/Entwürfe")
	b := mailboxtest.Open(t, open(t, other), "Ablage/Entwürfe")
	if got, want := summary(t, b), theirs(out); len(want) != 4 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("we see %q, Dovecot %q", got, want)
	}
	if want := fmt.Sprintf("uidnext=%d uidvalidity=%d", b.View().UIDNext, b.View().UIDValidity); !strings.Contains(status, want) {
		t.Errorf("Dovecot has %s, we %s", status, want)
	}
}

// TestDovecotMbox: the fields in an mbox file are all that either server needs to show
// the other's UIDs, flags and keywords.
func TestDovecotMbox(t *testing.T) {
	if _, err := exec.LookPath("doveadm"); err != nil {
		t.Skip("SKIPPED: no doveadm")
	}
	root := filepath.Join(t.TempDir(), "mail")
	at := location.Location{Mbox: true, Root: root, Inbox: root + "/inbox"}
	open := func() mailbox.Store {
		m, err := store.NewManager(store.Options{Host: "mx.test", Create: []mailbox.Folder{}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		s, err := m.OpenAt(at, store.UserOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	dovecot := func(args ...string) string { return doveadmAt(t, "mbox:"+root, root, args...) }
	const name = "Projekte/Entwürfe"
	s := open()
	s.Create(name, mailbox.UseNone)
	b := mailboxtest.Open(t, s, name)
	uids := mailboxtest.Add(t, s, name, "Subject: a\r\n\r\na\r\n", "Subject: b\r\n\r\nb\r\n", "Subject: c\r\n\r\nc\r\n", "Subject: d\r\n\r\nd\r\n")
	mailboxtest.Sync(t, b)
	b.Store(uids[1:3], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged | mailbox.Answered, Keywords: []string{"red"}})
	b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
	b.Expunge(nil)
	mailboxtest.Sync(t, b)
	b.Close()
	compare := func(what string, b mailbox.Mailbox) {
		t.Helper()
		out := dovecot("fetch", "uid flags size.virtual", "mailbox", name, "ALL")
		if got, want := theirs(out), summary(t, b); fmt.Sprint(got) != fmt.Sprint(want) || len(got) < 3 {
			t.Errorf("%s: Dovecot sees %q, we %q\n%s", what, got, want, out)
		}
		status := dovecot("mailbox", "status", "uidvalidity uidnext", name)
		if want := fmt.Sprintf("uidnext=%d uidvalidity=%d", b.View().UIDNext, b.View().UIDValidity); !strings.Contains(status, want) {
			t.Errorf("%s: Dovecot has %s, we %s", what, status, want)
		}
	}
	compare("ours", b)
	// Dovecot changes it, beside our index.
	dovecot("flags", "add", `\Seen blue`, "mailbox", name, "uid", fmt.Sprint(uids[3]))
	dovecot("expunge", "mailbox", name, "uid", fmt.Sprint(uids[1]))
	dovecot("copy", name, "mailbox", name, "uid", fmt.Sprint(uids[2]))
	b = mailboxtest.Open(t, s, name)
	compare("after Dovecot's changes", b)
	if v := b.View(); len(v.Messages) != 3 || v.Messages[0].UID != uids[2] || !v.Messages[1].HasKeyword("blue") || v.Messages[2].UID <= uids[3] {
		t.Errorf("%+v", v)
	}
	b.Close()
	// What only Dovecot knows.
	os.RemoveAll(root + "/.posthaste")
	compare("at first sight", mailboxtest.Open(t, open(), name))
}
