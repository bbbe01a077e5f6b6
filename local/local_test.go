package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/envelope"
	"posthaste/pkg/proto/cleanup"
)

func TestMaildir(t *testing.T) {
	f := newFixture(t, "", "")
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "delivered to maildir")
	l := f.maildir(f.dir + "/home/alice/Maildir")
	if len(l) != 1 {
		t.Fatalf("%d files in new/, want 1", len(l))
	}
	want := "Return-Path: <sender@example.org>\nX-Original-To: alice@mx.test\nDelivered-To: alice@mx.test\nSubject: hello\n\nbody\n"
	if got := read(t, l[0]); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var st syscall.Stat_t
	syscall.Stat(l[0], &st)
	if int(st.Uid) != f.uids["alice"] || st.Mode&0o777 != 0o600 {
		t.Errorf("owner %d, mode %o; want %d, 600", st.Uid, st.Mode&0o777, f.uids["alice"])
	}
	if !strings.Contains(f.log.String(), "to=<alice@mx.test>, relay=local, ") || !strings.Contains(f.log.String(), "dsn=2.0.0, status=sent (delivered to maildir)") {
		t.Errorf("log: %s", f.log)
	}
}

// TestRepeat: the same queue id and recipient number make no second copy, be
// the first in new/ or moved to cur/ by a reader; torn copies are replaced.
func TestRepeat(t *testing.T) {
	f := newFixture(t, "", "")
	md := f.dir + "/home/alice/Maildir"
	f.one(simple, "alice@mx.test")
	first := f.maildir(md)[0]
	f.want(f.send(simple, "alice@mx.test")[0], envelope.Sent, "2.0.0", "maildir")
	if l := f.maildir(md); len(l) != 1 || l[0] != first {
		t.Errorf("repeated delivery: %v, want %s alone", l, first)
	}
	if err := os.Truncate(first, 20); err != nil {
		t.Fatal(err)
	}
	f.want(f.send(simple, "alice@mx.test")[0], envelope.Sent, "2.0.0", "maildir")
	if got := read(t, first); !strings.HasSuffix(got, "body\n") {
		t.Errorf("torn copy was not replaced: %q", got)
	}
	cur := filepath.Join(md, "cur", filepath.Base(first)+":2,S")
	if err := os.Rename(first, cur); err != nil {
		t.Fatal(err)
	}
	f.want(f.send(simple, "alice@mx.test")[0], envelope.Sent, "2.0.0", "maildir")
	if l := f.maildir(md); len(l) != 0 {
		t.Errorf("second copy of a message that was read: %v", l)
	}
	if l, _ := filepath.Glob(md + "/tmp/*"); len(l) != 0 {
		t.Errorf("left in tmp/: %v", l)
	}
	f.one(simple, "alice@mx.test")
	if l := f.maildir(md); len(l) != 1 {
		t.Errorf("another message: %d files", len(l))
	}
}

func TestEveryByte(t *testing.T) {
	f := newFixture(t, "", "")
	all := make([]byte, 0, 256)
	for i := 1; i < 256; i++ {
		if i != '\r' && i != '\n' {
			all = append(all, byte(i))
		}
	}
	all = append(all, 0)
	body := "Subject: x\r\n\r\n" + string(all) + "\r\n" + strings.Repeat("a", 998) + "\r\n" + strings.Repeat("b", 100000) + "\r\n.dot\r\n..\r\nFrom here\r\nbare\rcr\r\n" + strings.Repeat("0123456789\r\n", 60000) + "last"
	f.want(f.one(body, "alice@mx.test"), envelope.Sent, "2.0.0", "")
	got := read(t, f.maildir(f.dir + "/home/alice/Maildir")[0])
	_, got, _ = strings.Cut(got, "Delivered-To: alice@mx.test\n")
	if want := strings.ReplaceAll(body, "\r\n", "\n") + "\n"; got != want {
		t.Errorf("content differs: %d bytes, want %d", len(got), len(want))
	}
}

func TestMboxAndSpool(t *testing.T) {
	for _, mode := range []os.FileMode{0o755, 0o775, 0o777} {
		t.Run(fmt.Sprintf("%o", mode), func(t *testing.T) {
			f := newFixture(t, "home_mailbox =", "")
			os.Chmod(f.dir+"/var/mail", mode|os.ModeSticky)
			for range 2 {
				f.want(f.one("Subject: x\r\n\r\nFrom here\r\n>From\r\n", "alice@mx.test"), envelope.Sent, "2.0.0", "delivered to mailbox")
			}
			box := read(t, f.dir+"/var/mail/alice")
			if n := strings.Count(box, "\n>From here\n>From\n\n"); n != 2 || strings.Count(box, "From sender@example.org  ") != 2 {
				t.Errorf("mailbox: %q", box)
			}
			var st syscall.Stat_t
			syscall.Stat(f.dir+"/var/mail/alice", &st)
			if int(st.Uid) != f.uids["alice"] || st.Mode&0o777 != 0o600 {
				t.Errorf("owner %d, mode %o", st.Uid, st.Mode&0o777)
			}
			if _, err := os.Lstat(f.dir + "/var/mail/alice.lock"); err == nil {
				t.Error("dotlock left behind")
			}
		})
	}
}

func TestMailboxAttacks(t *testing.T) {
	f := newFixture(t, "home_mailbox =", "")
	os.Chmod(f.dir+"/var/mail", 0o777|os.ModeSticky)
	victim := f.dir + "/victim"
	write(t, victim, "precious\n", 0o666, f.uids["alice"])
	box := f.dir + "/var/mail/alice"
	if os.Geteuid() != 0 { // a root-owned link in root's directory is allowed
		os.Symlink(victim, box)
		f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "symbolic link")
	} else {
		os.Symlink(victim, box)
		os.Lchown(box, f.uids["bob"], f.uids["bob"])
		f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "symbolic link")
	}
	os.Remove(box)
	if err := os.Link(victim, box); err != nil {
		t.Fatal(err)
	}
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "hard links")
	os.Remove(box)
	os.Mkdir(box, 0o777)
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "")
	os.Remove(box)
	unix.Mkfifo(box, 0o666)
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "")
	os.Remove(box)
	os.Symlink(f.dir+"/nothing", box)
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "")
	if _, err := os.Lstat(f.dir + "/nothing"); err == nil {
		t.Error("created through a dangling link")
	}
	os.Remove(box)
	if os.Geteuid() == 0 {
		write(t, box, "", 0o666, f.uids["bob"])
		f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "not owned by recipient")
		os.Remove(box)
	}
	if got := read(t, victim); got != "precious\n" {
		t.Errorf("the file behind the link was changed: %q", got)
	}
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "delivered to mailbox")
}

func TestLocks(t *testing.T) {
	f := newFixture(t, "home_mailbox = mbox\nstale_lock_time = 1h", "")
	lock := f.dir + "/home/alice/mbox.lock"
	write(t, lock, "", 0o600, f.uids["alice"])
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "unable to create lock file")
	os.Remove(lock)
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "delivered to mailbox")
}

// TestUnwritable: a mailbox that cannot be written is tried again and then
// succeeds.
func TestUnwritable(t *testing.T) {
	f := newFixture(t, "", "")
	md := f.dir + "/home/alice/Maildir"
	os.MkdirAll(md+"/tmp", 0o755)
	chown(t, md, 0)
	chown(t, md+"/tmp", 0)
	os.Chmod(md+"/tmp", 0o500)
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.2.0", "permission denied")
	os.Chmod(md+"/tmp", 0o700)
	chown(t, md, f.uids["alice"])
	chown(t, md+"/tmp", f.uids["alice"])
	f.want(f.send(simple, "alice@mx.test")[0], envelope.Sent, "2.0.0", "delivered to maildir")
}

func TestSizeLimits(t *testing.T) {
	f := newFixture(t, "home_mailbox = mbox\nmessage_size_limit = 2000\nmailbox_size_limit = 3000", "")
	body := "Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 120)
	f.want(f.one(body, "alice@mx.test"), envelope.Sent, "2.0.0", "")
	size := len(read(t, f.dir+"/home/alice/mbox"))
	f.want(f.one(body, "alice@mx.test"), envelope.Sent, "2.0.0", "")
	f.want(f.one(body, "alice@mx.test"), envelope.Bounced, "5.2.2", "")
	if n := len(read(t, f.dir+"/home/alice/mbox")); n != 2*size {
		t.Errorf("mailbox of %d bytes after a failed delivery, want %d", n, 2*size)
	}
}

func TestQuota(t *testing.T) {
	f := newFixture(t, "", "")
	md := f.dir + "/home/alice/Maildir"
	f.one(simple, "alice@mx.test")
	write(t, md+"/maildirsize", "300S\n100 1\n", 0o644, f.uids["alice"])
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "")
	f.want(f.one("Subject: x\r\n\r\n"+strings.Repeat("x", 200)+"\r\n", "alice@mx.test"), envelope.Deferred, "4.2.2", "quota")
	// An old file is counted anew: the two messages are all there is.
	write(t, md+"/maildirsize", "700S\n600 9\n", 0o644, f.uids["alice"])
	old := time.Now().Add(-time.Hour)
	os.Chtimes(md+"/maildirsize", old, old)
	f.want(f.one("Subject: x\r\n\r\n"+strings.Repeat("x", 200)+"\r\n", "alice@mx.test"), envelope.Sent, "2.0.0", "")
}

// TestFullProbe: a full mailbox is not deliverable, unless mail is forwarded.
func TestFullProbe(t *testing.T) {
	probe := func(f *fixture, want envelope.Status, dsn string) {
		t.Helper()
		r, file := f.request(simple, "alice@mx.test")
		r.Message.VerifyOnly = true
		if o := f.exchange(r, file)[0]; o.Status != want || dsn != "" && o.DSN != dsn {
			t.Errorf("%+v, want %v %s", o, want, dsn)
		}
	}
	f := newFixture(t, "", "")
	f.one(simple, "alice@mx.test")
	probe(f, envelope.Deliverable, "")
	write(t, f.dir+"/home/alice/Maildir/maildirsize", "0S,1C\n100 1\n", 0o644, f.uids["alice"])
	probe(f, envelope.Deferred, "4.2.2")
	if l := f.log.String(); !strings.Contains(l, "dsn=4.2.2, status=undeliverable (") {
		t.Errorf("a probe is not put off: %s", l)
	}
	write(t, f.dir+"/home/alice/.forward", "carol@elsewhere.test\n", 0o644, f.uids["alice"])
	probe(f, envelope.Deliverable, "")

	f = newFixture(t, "home_mailbox = mbox\nmessage_size_limit = 100\nmailbox_size_limit = 100", "")
	probe(f, envelope.Deliverable, "")
	write(t, f.dir+"/home/alice/mbox", strings.Repeat("x", 100), 0o600, f.uids["alice"])
	probe(f, envelope.Undeliverable, "5.2.2")
}

func TestUnknownUser(t *testing.T) {
	f := newFixture(t, "", "")
	f.want(f.one(simple, "zoe@mx.test"), envelope.Bounced, "5.1.1", `unknown user: "zoe"`)
	f.want(f.one(simple, "postmaster@mx.test"), envelope.Sent, "2.0.0", "discarded")
	f.want(f.one(simple, "alice+x/../y@mx.test"), envelope.Sent, "2.0.0", "maildir")
	f.want(f.one(simple, "../../etc/passwd@mx.test"), envelope.Bounced, "5.1.1", "unknown user")
	g := newFixture(t, "luser_relay = $user+unknown@other.example", "")
	g.want(g.one(simple, "zoe@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	if got := g.mail.all()[0].rcpts[0].Address; got != "zoe+unknown@other.example" {
		t.Errorf("luser_relay: %s", got)
	}
	h := newFixture(t, "luser_relay = alice", "")
	h.want(h.one(simple, "zoe@mx.test"), envelope.Sent, "2.0.0", "maildir")
}

func TestAliases(t *testing.T) {
	f := newFixture(t, "alias_maps = texthash:DIR/etc/aliases.txt\nallow_mail_to_files = alias, include", `
one: alice
Upper: alice
two: alice, bob, alice
chain: two, one
self: self
alice2: \alice
remote: alice, someone@other.example, else@other.example
staff: alice, bob, ann@other.example
owner-staff: bob
cmd: "|cat > DIR/home/nobody/out; echo $USER $RECIPIENT $EXTENSION >> DIR/home/nobody/out"
file: /DIR/home/nobody/file
dir: DIR/home/nobody/Md/
null: /dev/null
inc: :include:DIR/list
empty: ,
loop1: loop2
loop2: loop1
partly: nobody-here@mx.test, someone@other.example
`)
	home := func(u string) int { return len(f.maildir(f.dir + "/home/" + u + "/Maildir")) }
	f.want(f.one(simple, "one@mx.test"), envelope.Sent, "2.0.0", "maildir")
	if !strings.Contains(f.log.String(), "to=<alice@mx.test>, orig_to=<one@mx.test>, relay=local") {
		t.Errorf("log: %s", f.log)
	}
	f.want(f.one(simple, "ONE@mx.test"), envelope.Sent, "2.0.0", "maildir")
	f.want(f.one(simple, "UPPER@mx.test"), envelope.Sent, "2.0.0", "maildir")
	f.want(f.one(simple, "two@mx.test"), envelope.Sent, "2.0.0", "maildir")
	if home("alice") != 4 || home("bob") != 1 {
		t.Errorf("alice has %d, bob %d; want 4, 1", home("alice"), home("bob"))
	}
	f.want(f.one(simple, "chain@mx.test"), envelope.Sent, "2.0.0", "maildir")
	if home("alice") != 5 || home("bob") != 2 {
		t.Errorf("alice has %d, bob %d; want 5, 2", home("alice"), home("bob"))
	}
	f.want(f.one(simple, "self@mx.test"), envelope.Bounced, "5.1.1", `unknown user: "self"`)
	f.want(f.one(simple, "alice2@mx.test"), envelope.Sent, "2.0.0", "maildir")
	f.want(f.one(simple, "remote@mx.test"), envelope.Sent, "2.0.0", "")
	got := f.mail.all()
	if len(got) != 1 || len(got[0].rcpts) != 2 || got[0].begin.Message.Sender != "sender@example.org" || got[0].begin.Flags != cleanup.Internal|cleanup.Map {
		t.Fatalf("forwarded: %+v", got)
	}
	if d := got[0].data.String(); d != "Delivered-To: remote@mx.test\r\n"+simple {
		t.Errorf("forwarded content %q", d)
	}
	f.want(f.one(simple, "staff@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	got = f.mail.all()
	if len(got) != 2 || len(got[1].rcpts) != 3 || got[1].begin.Message.Sender != "owner-staff@mx.test" {
		t.Errorf("list with an owner: %+v", got[1])
	}
	// A member that does not exist does not keep the mail from the others.
	f.want(f.one(simple, "partly@mx.test"), envelope.Bounced, "5.1.1", "unknown user")
	if got = f.mail.all(); len(got) != 3 || len(got[2].rcpts) != 1 || got[2].rcpts[0].Address != "someone@other.example" {
		t.Errorf("list with an unknown member: %+v", got)
	}
	f.want(f.one(simple, "cmd+ext@mx.test"), envelope.Sent, "2.0.0", "delivered to command: cat")
	out := read(t, f.dir+"/home/nobody/out")
	if !strings.HasPrefix(out, "From sender@example.org  ") || !strings.HasSuffix(out, "body\ncmd cmd+ext@mx.test ext\n") {
		t.Errorf("command got %q", out)
	}
	f.want(f.one(simple, "file@mx.test"), envelope.Sent, "2.0.0", "delivered to file: /")
	f.want(f.one(simple, "dir@mx.test"), envelope.Sent, "2.0.0", "delivered to maildir")
	f.want(f.one(simple, "null@mx.test"), envelope.Sent, "2.0.0", "delivered to file: /dev/null")
	var st syscall.Stat_t
	syscall.Stat(f.dir+"/home/nobody/file", &st)
	if int(st.Uid) != f.uids["nobody"] {
		t.Errorf("file owned by %d, want default_privs", st.Uid)
	}
	f.want(f.one(simple, "empty@mx.test"), envelope.Deferred, "4.3.0", "")
	f.want(f.one(simple, "loop1@mx.test"), envelope.Bounced, "5.4.6", "")
	write(t, f.dir+"/list", "# comment\nalice\nbob, x@other.example\n", 0o644, 0)
	f.want(f.one(simple, "inc@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	os.Chmod(f.dir+"/list", 0o666)
	f.want(f.one(simple, "inc@mx.test"), envelope.Bounced, "5.3.5", "configuration error")
}

func TestRestrictions(t *testing.T) {
	f := newFixture(t, "allow_mail_to_commands = forward\nallow_mail_to_files = include", `
cmd: "|/bin/cat"
file: /tmp/never
`)
	f.want(f.one(simple, "cmd@mx.test"), envelope.Bounced, "5.7.1", "mail to command is restricted")
	f.want(f.one(simple, "file@mx.test"), envelope.Bounced, "5.7.1", "mail to file is restricted")
}

func TestLoop(t *testing.T) {
	f := newFixture(t, "", "list: x@other.example\n")
	looped := "Received: x\r\nDelivered-To: other@x\r\nDelivered-To: Alice@MX.test\r\nDELIVERED-TO:\r\n list@mx.test\r\n\r\nDelivered-To: bob@mx.test\r\n"
	f.want(f.one(looped, "alice@mx.test"), envelope.Bounced, "5.4.6", "mail forwarding loop for alice@mx.test")
	f.want(f.one(looped, "list@mx.test"), envelope.Bounced, "5.4.6", "mail forwarding loop for list@mx.test")
	f.want(f.one(looped, "bob@mx.test"), envelope.Sent, "2.0.0", "maildir")
}

// TestBomb: aliases that multiply end within bounds, with one bounce.
func TestBomb(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "b%d: b%d, b%d, b%d, b%d+x\n", i, i+1, i+1, i+2, i+1)
	}
	b.WriteString("b40: alice\nb41: bob\n")
	f := newFixture(t, "duplicate_filter_limit = 1", b.String())
	o := f.one(simple, "b0@mx.test")
	if o.Status == envelope.Deferred {
		t.Errorf("%+v", o)
	}
	if n := len(f.maildir(f.dir + "/home/alice/Maildir")); n > 1 {
		t.Errorf("%d copies", n)
	}
}

func TestForward(t *testing.T) {
	f := newFixture(t, "propagate_unmatched_extensions = forward", "team: alice\n")
	fw := f.dir + "/home/alice/.forward"
	md := func() int { return len(f.maildir(f.dir + "/home/alice/Maildir")) }
	set := func(text string) { write(t, fw, text, 0o644, f.uids["alice"]) }
	set("# mine\n\\alice, bob@other.example\n\"|cat > DIR/home/alice/out\"\n")
	set(strings.ReplaceAll(read(t, fw), "DIR", f.dir))
	f.want(f.one(simple, "alice+ext@mx.test"), envelope.Sent, "2.0.0", "")
	if md() != 1 || !strings.Contains(read(t, f.dir+"/home/alice/out"), "Delivered-To: alice+ext@mx.test\n") {
		t.Errorf("%d in the maildir; log:\n%s", md(), f.log)
	}
	if got := f.mail.all(); len(got) != 1 || got[0].rcpts[0].Address != "bob+ext@other.example" || got[0].rcpts[0].Orig != "alice+ext@mx.test" {
		t.Fatalf("forwarded: %+v", got)
	}
	set("bob\n") // another local user: a new message
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	if got := f.mail.all(); len(got) != 2 || got[1].rcpts[0].Address != "bob@mx.test" {
		t.Errorf("forwarded: %+v", got)
	}
	set("alice, team, ~/copy/\n") // himself, and again through an alias
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "")
	if md() != 2 || len(f.maildir(f.dir+"/home/alice/copy")) != 1 {
		t.Errorf("%d in the maildir, want 2", md())
	}
	set("")
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "maildir")
	write(t, f.dir+"/home/alice/.forward+work", "/"+strings.TrimPrefix(f.dir, "/")+"/home/alice/work\n", 0o600, f.uids["alice"])
	f.want(f.one(simple, "alice+work@mx.test"), envelope.Sent, "2.0.0", "delivered to file")
	f.mail.refuse(&cleanup.Result{Status: cleanup.NoSpace})
	set("x@other.example\n")
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.3.0", "unable to forward message")
	f.mail.refuse(&cleanup.Result{Status: cleanup.TooManyHops})
	f.want(f.one(simple, "alice@mx.test"), envelope.Bounced, "5.4.0", "too many hops")
}

// TestForwardSecurity: files that could be somebody else's are not followed.
func TestForwardSecurity(t *testing.T) {
	f := newFixture(t, "", "")
	fw := f.dir + "/home/alice/.forward"
	mailbox := func(why string) {
		t.Helper()
		f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "delivered to maildir")
		if !strings.Contains(f.log.String(), why) {
			t.Errorf("no warning %q in:\n%s", why, f.log)
		}
	}
	write(t, fw, "x@other.example\n", 0o646, f.uids["alice"])
	mailbox("is world writable")
	os.Remove(fw)
	write(t, f.dir+"/elsewhere", "x@other.example\n", 0o644, f.uids["alice"])
	os.Symlink(f.dir+"/elsewhere", fw)
	mailbox("is not a regular file")
	os.Remove(fw)
	unix.Mkfifo(fw, 0o644)
	mailbox("is not a regular file")
	os.Remove(fw)
	os.Mkdir(fw, 0o755)
	mailbox("is not a regular file")
	os.Remove(fw)
	if os.Geteuid() == 0 {
		write(t, fw, "x@other.example\n", 0o644, f.uids["bob"])
		mailbox("bad owner uid")
		write(t, fw, "x@other.example\n", 0o644, 0)
		f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	}
	write(t, fw, strings.Repeat("x", 5000)+"\n", 0o644, f.uids["alice"])
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.3.0", "error reading forwarding file")
}

func TestCommands(t *testing.T) {
	f := newFixture(t, "mailbox_command = DIR/cmd\ncommand_time_limit = 2s", "")
	cmd := f.dir + "/cmd"
	for _, c := range []struct {
		script string
		status envelope.Status
		dsn    string
		text   string
	}{
		{"cat >/dev/null", envelope.Sent, "2.0.0", "delivered to command: "},
		{"exit 0", envelope.Sent, "2.0.0", "delivered to command: "}, // without reading a large message
		{"cat >/dev/null; exit 64", envelope.Bounced, "5.3.0", "command line usage error"},
		{"cat >/dev/null; exit 65", envelope.Bounced, "5.6.0", "data format error"},
		{"cat >/dev/null; exit 66", envelope.Bounced, "5.3.0", ""},
		{"cat >/dev/null; echo no such person; exit 67", envelope.Bounced, "5.1.1", "user unknown. Command output: no such person"},
		{"cat >/dev/null; exit 68", envelope.Bounced, "5.1.2", ""},
		{"cat >/dev/null; exit 69", envelope.Bounced, "5.3.0", "service unavailable"},
		{"cat >/dev/null; exit 70", envelope.Bounced, "5.3.0", ""},
		{"cat >/dev/null; exit 71", envelope.Deferred, "4.3.0", ""},
		{"cat >/dev/null; exit 72", envelope.Bounced, "5.3.0", ""},
		{"cat >/dev/null; exit 73", envelope.Bounced, "5.2.0", ""},
		{"cat >/dev/null; exit 74", envelope.Bounced, "5.3.0", ""},
		{"cat >/dev/null; exit 75", envelope.Deferred, "4.3.0", "temporary failure"},
		{"cat >/dev/null; exit 76", envelope.Bounced, "5.5.0", ""},
		{"cat >/dev/null; exit 77", envelope.Bounced, "5.7.0", "permission denied"},
		{"cat >/dev/null; exit 78", envelope.Bounced, "5.3.5", ""},
		{"cat >/dev/null; exit 1", envelope.Bounced, "5.3.0", "Command died with status 1: "},
		{"cat >/dev/null; echo 4.2.2 full; exit 1", envelope.Deferred, "4.2.2", "full"},
		{"cat >/dev/null; echo 5.7.1 go away; exit 75", envelope.Bounced, "5.7.1", "go away"},
		{"cat >/dev/null; kill -9 $$", envelope.Deferred, "4.3.0", "Command died with signal 9: "},
		{"cat >/dev/null; sleep 100 & sleep 100", envelope.Bounced, "5.3.0", "Command time limit exceeded: "},
	} {
		write(t, cmd, "#!/bin/sh\n"+c.script+"\n", 0o755, 0)
		body := simple
		if c.script == "exit 0" {
			body += strings.Repeat("0123456789\r\n", 50000)
		}
		o := f.one(body, "alice@mx.test")
		if o.Status != c.status || o.DSN != c.dsn || !strings.Contains(o.Reason, c.text) {
			t.Errorf("%s: status %d %s (%s), want %d %s (%s)", c.script, o.Status, o.DSN, o.Reason, c.status, c.dsn, c.text)
		}
	}
	os.Remove(cmd)
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.3.0", "temporary failure. Command output: ")
}

func TestCommandEnvironment(t *testing.T) {
	f := newFixture(t, "mailbox_command = env > $HOME/env; pwd > $HOME/pwd\ncommand_execution_directory = $home\nexport_environment = FOO=bar", "")
	r, file := f.request(simple, "alice+e;x@mx.test")
	r.Message.Sender = "a`id`$(x)\"'@example.org"
	r.Message.Client = envelope.Client{Name: "h.example", Address: "192.0.2.1", Protocol: "ESMTP", Helo: "h;rm -rf"}
	f.want(f.exchange(r, file)[0], envelope.Sent, "2.0.0", "")
	env := read(t, f.dir+"/home/alice/env")
	for _, l := range []string{"FOO=bar", "HOME=" + f.dir + "/home/alice", "USER=alice", "LOGNAME=alice", "SHELL=/bin/sh", "LOCAL=alice+e_x", "EXTENSION=e_x", "DOMAIN=mx.test",
		"SENDER=a_id___x___@example.org", "RECIPIENT=alice+e_x@mx.test", "CLIENT_ADDRESS=192.0.2.1", "CLIENT_HELO=h_rm_-rf", "PATH=/usr/bin:/bin"} {
		if !strings.Contains("\n"+env, "\n"+l+"\n") {
			t.Errorf("no %s in\n%s", l, env)
		}
	}
	if got := strings.TrimSpace(read(t, f.dir+"/home/alice/pwd")); got != f.dir+"/home/alice" {
		t.Errorf("working directory %s", got)
	}
	if strings.Contains(env, "GOMAXPROCS") || strings.Contains(env, ordinary) {
		t.Errorf("environment leaks:\n%s", env)
	}
}

func TestVerifyOnly(t *testing.T) {
	f := newFixture(t, "", "team: alice\n")
	for rcpt, want := range map[string]envelope.Status{"alice@mx.test": envelope.Deliverable, "team@mx.test": envelope.Deliverable, "zoe@mx.test": envelope.Undeliverable} {
		r, file := f.request(simple, rcpt)
		r.Message.VerifyOnly = true
		if o := f.exchange(r, file)[0]; o.Status != want {
			t.Errorf("%s: %+v", rcpt, o)
		}
	}
	if _, err := os.Stat(f.dir + "/home/alice/Maildir"); err == nil {
		t.Error("verification delivered")
	}
}

func FuzzForwardFile(f *testing.F) {
	for _, s := range []string{"alice\n", "\\alice, \"|/usr/bin/vacation alice\"\n", ":include:/x\n# c\n~/m/ /f\n", "\"\n", "a(b\n<c>d,;:\n", "\x00\r\n", strings.Repeat("a,", 3000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := readTokens(bytes.NewReader(b), 2048)
		if err != nil {
			return
		}
		if len(l) > maxTokens || len(l) > len(b) {
			t.Fatalf("%d destinations from %d bytes", len(l), len(b))
		}
		for _, s := range l {
			if s == "" || strings.ContainsAny(s, "\r\n\x00") {
				t.Fatalf("destination %q", s)
			}
		}
	})
}
