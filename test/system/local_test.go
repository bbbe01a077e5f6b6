package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthaste/test/tools/harness"
)

// file makes a file that belongs to a user.
func file(t *testing.T, path, text string, mode os.FileMode, uid, gid int) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

// content waits until a file has something and returns it.
func content(s *harness.System, path string) string {
	s.T.Helper()
	var b []byte
	s.Until(path+" is written", func() bool {
		b, _ = os.ReadFile(path)
		return len(b) > 0
	})
	return string(b)
}

// maildir lists the messages in a user's Maildir.
func maildir(user string) []string {
	l, _ := filepath.Glob(filepath.Join(home(user), "Maildir/new/*"))
	return l
}

// clean empties the homes when the test ends, for the next one.
func clean(t *testing.T) {
	t.Cleanup(func() {
		for _, u := range []string{"phann", "phben"} {
			l, _ := filepath.Glob(filepath.Join(home(u), "*"))
			h, _ := filepath.Glob(filepath.Join(home(u), ".[a-z]*"))
			for _, f := range append(l, h...) {
				os.RemoveAll(f)
			}
		}
	})
}

func send(t *testing.T, s *harness.System, subject string, to ...string) {
	t.Helper()
	if err := s.Send("sender@client.example", to, harness.Message(subject)); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
}

// TestMaildirs: mail for system users in their Maildirs, as theirs.
func TestMaildirs(t *testing.T) {
	needRoot(t)
	clean(t)
	s := harness.Start(t, "home_mailbox = Maildir/", "recipient_delimiter = +")
	send(t, s, "hello", "phann@localhost", "phben+tag@localhost")
	for user, id := range map[string][2]uint32{"phann": {annUID, annGID}, "phben": {benUID, benGID}} {
		s.Until("mail for "+user, func() bool { return len(maildir(user)) == 1 })
		f := maildir(user)[0]
		b, _ := os.ReadFile(f)
		if !strings.Contains(string(b), "Subject: hello\n") || !strings.Contains(string(b), "Delivered-To: "+user) {
			t.Errorf("%s:\n%s", user, b)
		}
		for _, p := range []string{f, filepath.Dir(f), filepath.Dir(filepath.Dir(f))} {
			if u, g, m := owner(t, p); u != id[0] || g != id[1] || m&0077 != 0 {
				t.Errorf("%s: %d:%d %v", p, u, g, m)
			}
		}
	}
	s.WaitLog(`postfix/local\[\d+\]: \w+: to=<phann@localhost>, relay=local, delay=\S+, delays=\S+, dsn=2\.0\.0, status=sent \(delivered to maildir\)`)
	if err := s.Send("sender@client.example", []string{"nobodyatall@localhost"}, harness.Message("x")); err == nil || !strings.Contains(err.Error(), "unknown in local recipient table") {
		t.Errorf("an unknown user: %v", err)
	}
	s.WaitQueue(0)

	// A home that cannot be written puts mail off.
	away := home("phann") + ".away"
	if err := os.Rename(home("phann"), away); err != nil {
		t.Fatal(err)
	}
	file(t, home("phann"), "", 0600, 0, 0)
	send(t, s, "waits", "phann@localhost")
	s.WaitLog(`to=<phann@localhost>, .*dsn=4\.\d\.\d, status=deferred`)
	os.Remove(home("phann"))
	if err := os.Rename(away, home("phann")); err != nil {
		t.Fatal(err)
	}
	s.Run("postqueue", "-f")
	s.Until("the second message", func() bool { return len(maildir("phann")) == 2 })
	s.WaitQueue(0)
}

// TestMbox: mbox files in the mail spool, and in the home.
func TestMbox(t *testing.T) {
	needRoot(t)
	clean(t)
	s := harness.New(t)
	spool := s.Path("mbox")
	if err := os.Mkdir(spool, 0755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(spool, 0777|os.ModeSticky)
	s.Append("etc/main.cf", "mail_spool_directory = "+spool)
	s.Start()
	for i := range 3 {
		send(t, s, fmt.Sprintf("mbox %d", i), "phann@localhost")
	}
	box := filepath.Join(spool, "phann")
	s.Until("three messages", func() bool { return strings.Count(content(s, box), "\nSubject: mbox ") == 3 })
	s.WaitQueue(0)
	b := content(s, box)
	if strings.Count(b, "From sender@client.example ") != 3 || !strings.HasPrefix(b, "From sender@client.example ") || !strings.HasSuffix(b, "\n\n") {
		t.Errorf("mbox:\n%s", b)
	}
	if u, _, m := owner(t, box); u != annUID || m&0077 != 0 && m&0077 != 0060 {
		t.Errorf("%s: user %d, %v", box, u, m)
	}
	s.WaitLog(`to=<phann@localhost>, relay=local, .*status=sent \(delivered to mailbox\)`)
	if l, _ := filepath.Glob(box + ".*"); len(l) > 0 {
		t.Errorf("left: %v", l)
	}
}

// TestAliases: what aliases and .forward files can name, each with the right
// identity.
func TestAliases(t *testing.T) {
	needRoot(t)
	clean(t)
	s := harness.New(t, "home_mailbox = Maildir/", "myorigin = localhost", "allow_mail_to_files = alias, forward, include", "allow_mail_to_commands = alias, forward, include")
	nobody := s.Path("nobody")
	if err := os.Mkdir(nobody, 0755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(nobody, 0777|os.ModeSticky)
	script := s.Path("command")
	file(t, script, "#!/bin/sh\n{ id -u; id -G; cat; } > \"$1.new\" && mv \"$1.new\" \"$1\"\n", 0755, 0, 0)
	list := s.Path("list")
	file(t, list, "phann@localhost\n# a comment\nphben@localhost\n", 0644, 0, 0)
	s.Append("etc/aliases",
		`prog: "|`+script+" "+nobody+`/prog"`,
		`file: `+nobody+`/file`,
		`list: :include:`+list,
		`fails: "|exit 75"`,
		`dies: "|echo 5.2.1 not here; exit 69"`,
		`two: phann@localhost, phben@localhost`,
		`phann-alias: phann@localhost`)
	s.Run("newaliases")
	s.Start()

	nobodyID := idOf(t, "nobody")
	send(t, s, "to a command", "prog@localhost")
	if b := content(s, nobody+"/prog"); !strings.HasPrefix(b, nobodyID+"\n") || !strings.Contains(b, "Subject: to a command\n") || strings.Contains(strings.SplitN(b, "\n", 3)[1], "0 ") {
		t.Errorf("|command ran as:\n%s", b)
	}
	s.WaitLog(`to=<prog@localhost>, .*status=sent \(delivered to command: `)
	send(t, s, "to a file", "file@localhost")
	if b := content(s, nobody+"/file"); !strings.Contains(b, "Subject: to a file\n") {
		t.Errorf("/file:\n%s", b)
	}
	if u, _, m := owner(t, nobody+"/file"); fmt.Sprint(u) != nobodyID || m&0077 != 0 {
		t.Errorf("/file belongs to %d, %v", u, m)
	}
	send(t, s, "to a list", "list@localhost")
	s.Until("both have it", func() bool { return len(maildir("phann")) == 1 && len(maildir("phben")) == 1 })
	send(t, s, "to two", "two@localhost", "phann-alias@localhost")
	s.Until("both have it", func() bool { return len(maildir("phann")) >= 2 && len(maildir("phben")) == 2 })
	s.WaitQueue(0)

	// .forward: a copy for himself and a command, which runs as the user.
	file(t, filepath.Join(home("phann"), ".forward"), `\phann, "|`+script+" "+home("phann")+`/ran", phben@localhost`+"\n", 0644, annUID, annGID)
	ann, ben := len(maildir("phann")), len(maildir("phben"))
	send(t, s, "forwarded", "phann@localhost")
	if b := content(s, filepath.Join(home("phann"), "ran")); !strings.HasPrefix(b, fmt.Sprintf("%d\n%d\n", annUID, annGID)) || !strings.Contains(b, "Subject: forwarded\n") {
		t.Errorf("the command in .forward ran as:\n%s", b)
	}
	s.Until("his own copy and the forwarded one", func() bool { return len(maildir("phann")) == ann+1 && len(maildir("phben")) == ben+1 })
	s.WaitLog(`to=<phann@localhost>, .*status=sent \(forwarded as \w+\)`)

	// A file of somebody else's is none of his: it may name, but not write.
	foreign := filepath.Join(home("phben"), "diary")
	file(t, foreign, "private\n", 0600, benUID, benGID)
	file(t, filepath.Join(home("phann"), ".forward"), foreign+"\n", 0644, annUID, annGID)
	send(t, s, "into a foreign file", "phann@localhost")
	s.WaitLog(`to=<phann@localhost>, .*status=(deferred|bounced) \(.*diary`)
	if b, _ := os.ReadFile(foreign); string(b) != "private\n" {
		t.Errorf("phann's .forward wrote to phben's file:\n%s", b)
	}
	// One that everybody can write is not believed.
	file(t, filepath.Join(home("phann"), ".forward"), foreign+"\n", 0666, annUID, annGID)
	ann = len(maildir("phann"))
	send(t, s, "unsafe", "phann@localhost")
	s.Until("ignored or put off", func() bool {
		return len(maildir("phann")) > ann || strings.Contains(s.Log(), "forward") && strings.Count(s.Log(), "to=<phann@localhost>") > 4
	})
	if b, _ := os.ReadFile(foreign); string(b) != "private\n" {
		t.Errorf("an unsafe .forward was followed:\n%s", b)
	}

	// Exit codes of commands.
	send(t, s, "fails", "fails@localhost")
	s.WaitLog(`to=<fails@localhost>, .*dsn=4\.3\.0, status=deferred`)
	send(t, s, "dies", "dies@localhost")
	s.WaitLog(`to=<dies@localhost>, .*dsn=5\.2\.1, status=bounced`)
}

// idOf is the numeric ID of a user in /etc/passwd.
func idOf(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Split(l, ":"); len(f) > 2 && f[0] == name {
			return f[2]
		}
	}
	t.Fatalf("no user %s", name)
	return ""
}
