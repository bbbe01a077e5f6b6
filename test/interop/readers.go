package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// Names of folders, and how modified UTF-7 (RFC 3501, section 5.1.3) has them.
const (
	meetings     = "会议"
	meetings7    = "&TxqLrg-"
	minutes      = "会议/纪要 & 草稿"
	minutes7     = "&TxqLrg-/&fqqJgQ- &- &g0l6Pw-"
	projects     = "项目"
	projects7    = "&mHl27g-"
	defaultBoxes = "Drafts INBOX Junk Sent Trash"
)

// readers has mail clients read, sort and answer mail.
func (st *stage) readers(fs []fixture) {
	cs, err := st.chinese()
	for _, g := range []func([]fixture, []fixture){st.libraries, st.mutts, st.filters, st.syncs, st.fetchers, st.webmail, st.dovecot} {
		if err != nil {
			st.try("messages in Chinese charsets", func() error { return err })
			return
		}
		g(fs, cs)
		stopAll()
	}
}

// aftermath looks at what all the others left behind.
func (st *stage) aftermath() {
	st.try("posthaste mailbox verify finds nothing in the mailboxes used", func() error {
		for i := 3; i <= st.used; i++ {
			if out, err := st.s.Run("posthaste", "-c", st.s.Conf(), "mailbox", "verify", fmt.Sprintf("user%d", i)); err != nil {
				return fmt.Errorf("user%d: %w: %s", i, err, out)
			}
		}
		return nil
	})
	st.try("our log has no errors of our own", func() error {
		b, err := os.ReadFile(st.s.Log)
		if err != nil {
			return err
		}
		if bad := regexp.MustCompile(`.*\]: (panic|fatal|error): .*`).FindAll(b, 3); bad != nil {
			return fmt.Errorf("%s", bytes.Join(bad, []byte(" / ")))
		}
		return nil
	})
}

// chinese has Python write messages in Chinese charsets.
func (st *stage) chinese() ([]fixture, error) {
	if needs("python3") != nil {
		return nil, skip{"python3 is not installed"}
	}
	// The clients run as another user, who may not get at the sources.
	if err := command(time.Minute, "sh", "-c", `cp "$0"/*.py "$0"/*.rb "$0"/*.php "$1" && chmod a+r "$1"/*.py "$1"/*.rb "$1"/*.php && python3 "$1/chinese.py" "$1"`, st.tools, st.dir); err != nil {
		return nil, err
	}
	var fs []fixture
	for _, n := range []string{"gb2312", "gbk", "gb18030", "big5", "hz", "utf8", "eai"} {
		b, err := os.ReadFile(filepath.Join(st.dir, n))
		if err != nil {
			return nil, err
		}
		fs = append(fs, fixture{name: n, file: n, data: b})
	}
	return fs, nil
}

// addr is a port of the instance, by the standard number of its service.
func (st *stage) addr(port int) string {
	return net.JoinHostPort("127.0.0.1", st.port(port))
}

func (st *stage) port(n int) string { return strconv.Itoa(st.s.Base + n) }

// reader is somebody who uses a mail client: a fresh mailbox of ours, and a
// home directory.
type reader struct {
	st   *stage
	user string // also the password file's name; the password is "test"
	home string
}

// reader gives out a mailbox that nobody used yet.
func (st *stage) reader() (*reader, error) {
	st.used++
	r := &reader{st: st, user: fmt.Sprintf("user%d", st.used)}
	r.home = filepath.Join(st.dir, "home-"+r.user)
	if err := os.Mkdir(r.home, 0700); err != nil {
		return nil, err
	}
	return r, r.own(r.home)
}

// client is the user ID of mail clients, where it can be chosen.
const clientID = 65534

func (r *reader) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, clientID, clientID)
}

// put writes a file below the home directory: %H in text means the home, %U the
// user, %C the file of the server's certificate, and %<service> its port:
// %imap, %imaps, %pop3, %pop3s, %submission, %submissions.
func (r *reader) put(name, text string) error {
	path := filepath.Join(r.home, name)
	for d := filepath.Dir(path); d != r.home; d = filepath.Dir(d) {
		if err := os.MkdirAll(d, 0700); err != nil {
			return err
		}
		if err := r.own(d); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, []byte(r.expand(text)), 0600); err != nil {
		return err
	}
	return r.own(path)
}

func (r *reader) expand(text string) string {
	p := r.st.port
	return strings.NewReplacer("%H", r.home, "%U", r.user, "%C", r.st.cert(), "%T", r.st.dir, "%imaps", p(993), "%imap", p(143), "%pop3s", p(995), "%pop3", p(110),
		"%submissions", p(465), "%submission", p(587)).Replace(text)
}

// debianPath is where Debian has its programs: others of the same name are not
// meant, such as a Python in somebody's home directory.
const debianPath = "/usr/bin:/bin:/usr/sbin:/sbin"

func debian(program string) string {
	for _, d := range strings.Split(debianPath, ":") {
		if p := filepath.Join(d, program); !strings.Contains(program, "/") {
			if _, err := os.Stat(p); err == nil {
				return p
			}
		}
	}
	return program
}

// run runs a client with the words of line, which are expanded as by put, and
// returns what it wrote to its standard output.
func (r *reader) run(args ...string) (string, error) {
	return r.runLimit(90*time.Second, args...)
}

func (r *reader) runLimit(limit time.Duration, args ...string) (string, error) {
	args[0] = debian(args[0])
	if err := needs(args[0]); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd, stderr := r.command(ctx, args...)
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", args[0], err, lastLines(append(out, stderr.Bytes()...), 8))
	}
	return string(out), nil
}

// command makes a command of a client.
func (r *reader) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	for i := range args {
		args[i] = r.expand(args[i])
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = r.home
	cmd.Env = []string{"HOME=" + r.home, "USER=" + r.user, "LOGNAME=" + r.user, "PATH=" + debianPath, "LC_ALL=C.UTF-8", "TERM=vt100", "LINES=40", "COLUMNS=120"}
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: clientID, Gid: clientID}
	}
	return cmd, stderr
}

// deliver sends messages to the reader, one after the other, and waits until
// they are in the mailbox.
func (r *reader) deliver(fs ...fixture) error {
	have, err := rig.Letters(r.st.s.Maildir(r.user))
	if err != nil {
		return err
	}
	for i, f := range fs {
		c, err := smtptalk.Dial(r.st.s.SMTP(), time.Minute)
		if err != nil {
			return err
		}
		res := c.Send("sender@client.test", []string{r.user + "@local.test"}, f.wire())
		c.Quit()
		if res.Err != nil {
			return res.Err
		}
		err = rig.Until(20*time.Second, f.file+" in the mailbox", func() bool {
			now, _ := rig.Letters(r.st.s.Maildir(r.user))
			return len(now) == len(have)+i+1
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expect waits until a folder on the server holds these messages.
func (r *reader) expect(folder, want string) error { return r.st.expect(r.user, folder, want) }

// expectFolders compares the names of the folders on the server.
func (r *reader) expectFolders(more ...string) error {
	v, err := r.st.view(r.user)
	if err != nil {
		return err
	}
	defer v.close()
	got, err := v.folders("LIST")
	if err != nil {
		return err
	}
	want := append(strings.Fields(defaultBoxes), more...)
	return same("folders", got, sortedCopy(want))
}

func sortedCopy(l []string) []string {
	l = slices.Clone(l)
	slices.Sort(l)
	return l
}
