package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"posthaste/test/tools/harness"
)

// smallDisk mounts a file system of its own over a directory of the instance,
// keeping what is in it. It needs root.
func smallDisk(t *testing.T, s *harness.System, name, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount a small file system")
	}
	dir := s.Path(name)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: mount tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	copyTree(t, away, dir)
	return dir
}

// copyTree copies directories and small files with their owners and modes.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.Walk(from, func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		dst := filepath.Join(to, strings.TrimPrefix(p, from))
		switch {
		case fi.IsDir():
			err = os.MkdirAll(dst, 0700)
		case fi.Mode().IsRegular():
			var b []byte
			if b, err = os.ReadFile(p); err == nil {
				err = os.WriteFile(dst, b, 0600)
			}
		}
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		if err := os.Chown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return os.Chmod(dst, fi.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fill takes all space of the file system that dir is on, and returns how to
// give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	return func() { os.Remove(name) }
}

// queueFiles lists all files in the message directories of the queue.
func queueFiles(t *testing.T, s *harness.System) (l []string) {
	t.Helper()
	for _, q := range []string{"maildrop", "incoming", "active", "deferred", "hold", "corrupt"} {
		filepath.Walk(s.Path("spool", q), func(p string, fi os.FileInfo, err error) error {
			if err == nil && fi.Mode().IsRegular() {
				l = append(l, p)
			}
			return nil
		})
	}
	return l
}

// TestQueueDiskFull: with no space for queue files a client is told to come
// back, at MAIL or at the end of data; nothing half accepted stays; and mail
// flows again by itself.
func TestQueueDiskFull(t *testing.T) {
	t.Parallel()
	// Without limits on sizes, the space that is free is no reason to say no at MAIL.
	// Notices to the postmaster would be mail in the queue.
	s := harness.New(t, "message_size_limit = 0", "virtual_mailbox_limit = 0", "mailbox_size_limit = 0", "smtpd_error_sleep_time = 0", "smtpd_hard_error_limit = 10000", "notify_classes =")
	disk := smallDisk(t, s, "spool", "size=4m,mode=755")
	s.Start()
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("before")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 1)
	s.WaitQueue(0)

	// A message larger than what is free: at the latest the end of data says so.
	big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 6<<20/72)
	if got := code(s.Send("sender@client.example", []string{"bob@example.test"}, big)); got != "452 4.3.1" {
		t.Errorf("a message larger than the disk: got %s, want 452 4.3.1", got)
	}
	if l := queueFiles(t, s); len(l) > 0 {
		t.Errorf("left in the queue: %v", l)
	}

	d := s.Talk() // a session from before the disk is full
	free := fill(t, disk)
	for i := range 3 {
		if got := code(s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("full"))); got != "452 4.3.1" {
			t.Errorf("%d: on a full disk: got %s, want 452 4.3.1", i, got)
		}
	}
	// smtpd looks at the disk once a second at most.
	s.Until("MAIL is refused on a full disk", func() bool {
		reply := d.Say("MAIL FROM:<sender@client.example> SIZE=1000000")
		d.Say("RSET")
		return strings.HasPrefix(reply, "452 4.3.1")
	})
	if l := queueFiles(t, s); len(l) > 0 {
		t.Errorf("left in the queue: %v", l)
	}
	// sendmail(1) says so, too.
	if out, err := s.TryInput("Subject: x\n\ny\n", "sendmail", "-f", "alice@example.test", "bob@example.test"); err == nil {
		t.Errorf("sendmail on a full disk succeeds: %s", out)
	}
	free()
	s.Until("MAIL is taken again", func() bool { return strings.HasPrefix(d.Say("MAIL FROM:<sender@client.example>"), "250") })
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Want("250", "Subject: after", "", "same session", ".")
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("afterwards")); err != nil {
		t.Errorf("after the disk has space again: %v", err)
	}
	s.WaitMail("bob", 3)
	s.WaitQueue(0)
	if n := len(s.Mail("bob")); n != 3 {
		t.Errorf("bob has %d messages, want 3", n)
	}
}

// TestQueueDiskFillsWhileReceiving: space that ends in the middle of a message.
func TestQueueDiskFillsWhileReceiving(t *testing.T) {
	t.Parallel()
	s := harness.New(t, "message_size_limit = 2000000", "smtpd_error_sleep_time = 0", "smtpd_hard_error_limit = 10000")
	disk := smallDisk(t, s, "spool", "size=4m,mode=755")
	s.Start()
	d := s.Talk()
	d.Want("250", "MAIL FROM:<sender@client.example>")
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Send("Subject: half", "")
	line := strings.Repeat("x", 70)
	for range 2000 { // more than any buffer
		d.Send(line)
	}
	free := fill(t, disk)
	for range 2000 {
		d.Send(line)
	}
	if got := d.Say("."); !strings.HasPrefix(got, "452 4.3.1") {
		t.Errorf("end of data: got %q, want 452 4.3.1", got)
	}
	s.Until("the half message is gone", func() bool { return len(queueFiles(t, s)) == 0 })
	free()
	s.Until("MAIL is taken again", func() bool { return strings.HasPrefix(d.Say("MAIL FROM:<sender@client.example>"), "250") })
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Want("250", "Subject: whole", "", line, ".")
	if m := s.WaitMail("bob", 1)[0]; !strings.Contains(m, "Subject: whole\n") {
		t.Errorf("got\n%.500s", m)
	}
}

// TestQueueInodesExhausted: space without inodes is no better.
func TestQueueInodesExhausted(t *testing.T) {
	t.Parallel()
	s := harness.New(t, "message_size_limit = 2000000", "smtpd_error_sleep_time = 0", "smtpd_hard_error_limit = 10000")
	disk := smallDisk(t, s, "spool", "size=16m,nr_inodes=120,mode=755")
	s.Start()
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("before")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 1)
	s.WaitQueue(0)
	var made []string
	for i := 0; ; i++ {
		name := filepath.Join(disk, fmt.Sprintf("ballast%d", i))
		if err := os.WriteFile(name, nil, 0600); err != nil {
			break
		}
		made = append(made, name)
	}
	if got := code(s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("no inode"))); got != "452 4.3.1" {
		t.Errorf("without inodes: got %s, want 452 4.3.1", got)
	}
	for _, n := range made {
		os.Remove(n)
	}
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("after")); err != nil {
		t.Errorf("with inodes again: %v", err)
	}
	s.WaitMail("bob", 2)
	s.WaitQueue(0)
}

// TestMailboxDiskFull: mail for a full mailbox disk waits, leaves nothing half
// written in the Maildir, and arrives when there is space.
func TestMailboxDiskFull(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	disk := smallDisk(t, s, "mail", "size=2m,mode=755")
	s.Start()
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("before")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 1)
	free := fill(t, disk)
	long := harness.Message("full") + strings.Repeat("0123456789\r\n", 1000)
	if err := s.Send("sender@client.example", []string{"bob@example.test", "alice@example.test"}, long); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(`to=<bob@example.test>, .*dsn=4\.\d\.\d, status=deferred`)
	s.WaitLog(`to=<alice@example.test>, .*dsn=4\.\d\.\d, status=deferred`)
	s.WaitQueue(1)
	if n := len(s.Mail("bob")); n != 1 {
		t.Errorf("bob has %d messages while the disk is full", n)
	}
	free()
	s.Run("postqueue", "-f")
	m := s.WaitMail("bob", 2)
	s.WaitMail("alice", 1)
	s.WaitQueue(0)
	if !strings.HasSuffix(m[1], strings.Repeat("0123456789\n", 1000)) {
		t.Errorf("the message is not complete: %d bytes", len(m[1]))
	}
	tmp, _ := filepath.Glob(s.Path("mail/*/Maildir/tmp/*"))
	if len(tmp) > 0 {
		t.Errorf("left in tmp: %v", tmp)
	}
}
