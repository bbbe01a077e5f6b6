package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"posthaste/pkg/config"
	"posthaste/pkg/privs"
	"posthaste/test/tools/harness"
)

// TestUsersSubmit: an ordinary user submits mail and lists the queue by means of
// the set-gid commands, and only by them.
func TestUsersSubmit(t *testing.T) {
	needRoot(t)
	group, err := privs.LookupGroup("postdrop")
	if err != nil {
		t.Fatal(err)
	}
	s := harness.New(t)
	bin := s.Path("bin")
	if err := os.Mkdir(bin, 0755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sendmail", "postdrop", "postqueue", "mailq"} {
		b, err := os.ReadFile(filepath.Join(harness.Bin, name))
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(bin, name)
		if err := os.WriteFile(p, b, 0755); err != nil {
			t.Fatal(err)
		}
		if name == "postdrop" || name == "postqueue" {
			os.Chown(p, 0, group)
			if err := os.Chmod(p, 0755|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Append("etc/main.cf", "command_directory = "+bin)
	// /etc is the namespace's own.
	if err := os.MkdirAll(config.DefaultDir, 0755); err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(config.DefaultDir, "main.cf"), "alternate_config_directories = "+s.Etc()+"\n", 0644, 0, 0)
	s.Start()
	run := func(in, name string, args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Env = []string{"MAIL_CONFIG=" + s.Etc()}
		cmd.Dir = "/"
		cmd.Stdin = strings.NewReader(in)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: annUID, Gid: annGID}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("Subject: from a user\n\nx\n", "sendmail", "-f", "phann@example.test", "bob@example.test"); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
	s.WaitMail("bob", 1)
	s.WaitLog(`postfix/pickup\[\d+\]: \w+: uid=62301 from=<phann@example\.test>`)
	s.WaitQueue(0)
	if out, err := run("", "mailq"); err != nil || out != "Mail queue is empty\n" {
		t.Errorf("mailq: %v\n%s", err, out)
	}
	if out, err := run("", "postqueue", "-f"); err != nil {
		t.Errorf("postqueue -f: %v\n%s", err, out)
	}
	// While the system is down mail is still taken.
	s.Stop()
	if out, err := run("Subject: while down\n\nx\n", "sendmail", "bob@example.test"); err != nil {
		t.Fatalf("sendmail while down: %v\n%s", err, out)
	}
	if out, err := run("", "postqueue", "-p"); err == nil {
		t.Errorf("a user reads the queue while the system is down:\n%s", out)
	}
	s.Run("posthaste", "-c", s.Etc(), "start")
	if m := s.WaitMail("bob", 2)[1]; !strings.Contains(m, "Subject: while down\n") || !strings.Contains(m, "phann") {
		t.Errorf("got\n%s", m)
	}
	// Another configuration directory is not believed by what is set-gid.
	file(t, filepath.Join(config.DefaultDir, "main.cf"), "alternate_config_directories =\n", 0644, 0, 0)
	if out, err := run("Subject: x\n\nx\n", "sendmail", "bob@example.test"); err == nil {
		t.Errorf("a foreign configuration is used:\n%s", out)
	}
	// Without the group there is no way in.
	os.Chmod(filepath.Join(bin, "postdrop"), 0755)
	file(t, filepath.Join(config.DefaultDir, "main.cf"), "alternate_config_directories = "+s.Etc()+"\n", 0644, 0, 0)
	if out, err := run("Subject: x\n\nx\n", "sendmail", "bob@example.test"); err == nil {
		t.Errorf("submission without the group succeeds:\n%s", out)
	}
}
