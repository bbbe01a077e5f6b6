package system

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"posthaste/pkg/privs"
	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// roleBase is the role_uid_base of the instances that posthaste init makes.
const roleBase = 62100

// uid is the user that an identity has in the tests' instances.
func uid(t *testing.T, id privs.Identity) int {
	t.Helper()
	ids, err := privs.Users{Base: roleBase}.IDs(id)
	if err != nil {
		t.Fatal(err)
	}
	return ids.UID
}

// status reads the fields of /proc/PID/status.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, l := range strings.Split(string(b), "\n") {
		k, v, _ := strings.Cut(l, ":")
		m[k] = strings.Join(strings.Fields(v), " ")
	}
	return m
}

// busy starts a system in which every daemon has work, and waits until it is done.
func busy(t *testing.T, main ...string) *harness.System {
	t.Helper()
	clean(t)
	remote, err := badmx.Start("127.0.0.1:0", badmx.Refuse("bad", "550 5.1.1 no such user"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remote.Close)
	s := harness.New(t, append([]string{
		"relayhost = [127.0.0.1]:" + remote.Port(), "max_idle = 1000s", "auth_databases = passwd-file, shadow", "smtpd_sender_restrictions = reject_unverified_sender",
		"transport_maps = inline:{ {failed.example = error:no} {gone.example = discard:} {lmtp.example = lmtp:inet:127.0.0.1:1} {dns.example = smtp:dns.example} }", "resolver_nameservers = 127.0.0.1:1"}, main...)...)
	s.Start()
	if err := s.Submit("alice@example.test", []string{"bob@example.test", "x@far.example", "bad@far.example", "x@gone.example", "x@lmtp.example", "x@dns.example"}, harness.Message("to everyone")); err != nil {
		t.Fatal(err)
	}
	s.RunInput("Subject: local\n\nx\n", "sendmail", "-f", "alice@example.test", "phann@localhost", "x@failed.example")
	s.WaitMail("bob", 1)
	s.WaitMail("alice", 1)
	s.Until("the relay has it", func() bool { return remote.Count()["x@far.example"] == 1 })
	s.WaitLog(`to=<phann@localhost>, .*relay=local`)
	s.WaitLog(`to=<x@lmtp.example>, .*status=deferred`)
	s.WaitLog(`to=<x@dns.example>, .*status=deferred`)
	s.WaitLog(`to=<x@gone.example>, relay=none, .*status=sent`)
	s.WaitQueue(1)
	return s
}

// TestIdentities: /proc shows each program under its own user, confined.
func TestIdentities(t *testing.T) {
	needRoot(t)
	s := busy(t, "home_mailbox = Maildir/")
	for _, role := range privs.Table {
		pids := s.Processes(role.Program)
		if len(pids) == 0 {
			if _, err := os.Stat(filepath.Join(harness.Bin, role.Program)); err == nil && !slices.Contains([]string{"pipe", "imapd", "pop3d", "login", "anvil", "shadow"}, role.Program) {
				t.Errorf("%s does not run", role.Program)
			}
			continue
		}
		for _, pid := range pids {
			st := status(t, pid)
			want := 0
			switch {
			case role.Program == "virtual":
				want = 62150 // gave root up: there is one owner of all mailboxes
			case role.As != privs.Superuser:
				want = uid(t, role.As)
			}
			four := fmt.Sprintf("%d %d %d %d", want, want, want, want)
			if st["Uid"] != four || st["Gid"] != four {
				t.Errorf("%s: Uid %s, Gid %s, want %s", role.Program, st["Uid"], st["Gid"], four)
			}
			if fi, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid)); err != nil {
				t.Error(err)
			} else if u, _, _ := owner(t, fmt.Sprintf("/proc/%d/environ", pid)); u != 0 {
				t.Errorf("%s is dumpable: %v of user %d", role.Program, fi.Mode(), u)
			}
			if want == 0 {
				continue // a dispatcher: it needs its rights, and reads no mail
			}
			if g := st["Groups"]; g != "" && g != fmt.Sprint(want) {
				t.Errorf("%s: supplementary groups %s", role.Program, g)
			}
			for field, v := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000", "CapInh": "0000000000000000"} {
				if st[field] != v {
					t.Errorf("%s: %s is %s, want %s", role.Program, field, st[field], v)
				}
			}
			// Not even the same user can look into it.
			env := fmt.Sprintf("read:/proc/%d/environ", pid)
			maps := fmt.Sprintf("read:/proc/%d/maps", pid)
			for k, v := range as(t, want, "/", env, maps) {
				if !strings.HasPrefix(v, "refused") {
					t.Errorf("user %d: %s of %s: %s", want, k, role.Program, v)
				}
			}
		}
	}
	// Different enemies, different users.
	seen := map[int]privs.Identity{}
	for _, id := range privs.Identities {
		if other, ok := seen[uid(t, id)]; ok {
			t.Errorf("%s and %s are the same user", id, other)
		}
		seen[uid(t, id)] = id
	}
	// The worker of a system user has his identity and nothing else.
	workers := 0
	for _, l := range s.Processes("local") {
		for _, w := range harness.Children(l, "") {
			workers++
			st := status(t, w)
			if st["Uid"] != fmt.Sprintf("%d %[1]d %[1]d %[1]d", annUID) || st["Gid"] != fmt.Sprintf("%d %[1]d %[1]d %[1]d", annGID) || st["CapEff"] != "0000000000000000" {
				t.Errorf("worker %d: Uid %s, Gid %s, CapEff %s", w, st["Uid"], st["Gid"], st["CapEff"])
			}
			if g := st["Groups"]; g != "" && g != fmt.Sprint(annGID) {
				t.Errorf("worker %d: groups %s", w, g)
			}
		}
	}
	if workers == 0 {
		t.Error("local has no worker")
	}
}

// TestCallers: each internal socket serves whom the table names and nobody else.
func TestCallers(t *testing.T) {
	needRoot(t)
	s := busy(t, "home_mailbox = Maildir/")
	sockets := map[string]string{} // by program
	for _, role := range privs.Table {
		for _, class := range []string{"public", "private"} {
			p := s.Path("spool", class, role.Program)
			if fi, err := os.Stat(p); err == nil && fi.Mode()&os.ModeSocket != 0 {
				sockets[role.Program] = p
			}
		}
	}
	if len(sockets) < 12 {
		t.Errorf("only %d sockets: %v", len(sockets), sockets)
	}
	var things []string
	for _, p := range sockets {
		things = append(things, "dial:"+p)
	}
	for _, id := range append([]privs.Identity{"stranger"}, privs.Identities...) {
		who := stranger
		if id != "stranger" {
			who = uid(t, id)
		}
		answers := as(t, who, "/", things...)
		for program, p := range sockets {
			role, _ := privs.Find(program)
			want := false
			for _, c := range role.Callers {
				if r, ok := privs.Find(c); ok && r.As == id {
					want = true
				}
			}
			got := answers["dial:"+p]
			if (got == "ok") != want {
				t.Errorf("%s dials %s: %s, want admitted=%v", id, program, got, want)
			}
		}
	}
	s.WaitLog(`warning: .*process \d+ of user 62399 may not use this service`)
}

// TestPermissions: owners and modes of the queue, and what a stranger and the
// role that faces the network can read.
func TestPermissions(t *testing.T) {
	needRoot(t)
	s := harness.Start(t, "defer_transports = virtual")
	queue := uint32(uid(t, privs.Queue))
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("waits")); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(`to=<bob@example.test>, .*status=deferred`)
	s.RunInput("Subject: held\n\nx\n", "sendmail", "-f", "alice@example.test", "bob@example.test")
	s.Until("both wait", func() bool {
		l, _ := filepath.Glob(s.Path("spool/deferred/*/*"))
		return len(l) == 2
	})
	for dir, mode := range map[string]os.FileMode{"incoming": 0700, "active": 0700, "deferred": 0700, "hold": 0700, "corrupt": 0700} {
		if u, g, m := owner(t, s.Path("spool", dir)); u != queue || g != queue || m != mode {
			t.Errorf("%s: %d:%d %v, want %d:%[5]d %[6]v", dir, u, g, m, queue, queue, mode)
		}
	}
	if u, _, m := owner(t, s.Path("spool/maildrop")); u != queue || m != 0730|os.ModeSticky {
		t.Errorf("maildrop: %d %v", u, m)
	}
	for _, dir := range []string{"", "pid", "private", "public"} {
		if u, _, m := owner(t, s.Path("spool", dir)); u != 0 || m&0022 != 0 {
			t.Errorf("spool/%s: user %d, %v: others can make files there", dir, u, m)
		}
	}
	var things []string
	files := 0
	filepath.Walk(s.Path("spool"), func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		q := p != s.Path("spool") && !strings.HasPrefix(p, s.Path("spool/p")) // pid, private, public
		switch {
		case q && fi.IsDir():
			things = append(things, "list:"+p)
			if u, _, m := owner(t, p); u != queue || m&0007 != 0 {
				t.Errorf("%s: user %d, %v", p, u, m)
			}
		case q:
			files++
			things = append(things, "read:"+p)
			if u, _, m := owner(t, p); u != queue || m&0077 != 0 {
				t.Errorf("%s: user %d, %v", p, u, m)
			}
		}
		return nil
	})
	if files != 2 {
		t.Errorf("%d queue files, want 2", files)
	}
	things = append(things, "read:"+s.Path("etc/users"), "read:"+s.Path("etc/tls/key.pem"), "list:"+s.Path("mail/bob/Maildir/new"))
	for _, who := range []int{stranger, uid(t, privs.SMTPServer), uid(t, privs.SMTPClient), uid(t, privs.Null)} {
		for k, v := range as(t, who, "/", things...) {
			if !strings.HasPrefix(v, "refused") {
				t.Errorf("user %d: %s: %s", who, k, v)
			}
		}
	}
	for k, v := range as(t, uid(t, privs.Queue), "/", "read:"+s.Path("etc/users"), "list:"+s.Path("mail/bob/Maildir/new")) {
		if !strings.HasPrefix(v, "refused") {
			t.Errorf("the queue's user: %s: %s", k, v)
		}
	}
}

// TestChroot: with "y" in master.cf the programs that face the network see the
// queue directory as their root, and mail flows.
func TestChroot(t *testing.T) {
	needRoot(t)
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.New(t, "relayhost = [127.0.0.1]:"+remote.Port())
	for _, service := range []string{"*/inet", "cleanup/unix", "smtp/unix", "qmgr/unix", "bounce/unix", "pickup/unix", "showq/unix", "error/unix", "resolver/unix", "auth/unix"} {
		s.Run("postconf", "-F", "-e", service+"/chroot=y")
	}
	s.Start()
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("in")); err != nil {
		t.Fatal(err)
	}
	if err := s.Submit("alice@example.test", []string{"x@far.example", "nobody@example.test", "bob@example.test"}, harness.Message("out")); err == nil {
		t.Error("an unknown recipient is taken")
	}
	if err := s.Submit("alice@example.test", []string{"x@far.example", "bob@example.test"}, harness.Message("out")); err != nil {
		t.Fatal(err)
	}
	s.RunInput("Subject: dropped\n\nx\n", "sendmail", "-f", "alice@example.test", "bob@example.test")
	m := s.WaitMail("bob", 3)
	s.Until("the relay has it", func() bool { return remote.Count()["x@far.example"] == 1 })
	s.WaitQueue(0)
	if zone := fmt.Sprintf("%s", m); !strings.Contains(zone, "with ESMTPSA id ") {
		t.Errorf("no ESMTPSA in\n%s", m)
	}
	for _, program := range []string{"smtpd", "cleanup", "smtp", "qmgr", "auth"} {
		pids := s.Processes(program)
		if len(pids) == 0 {
			t.Errorf("%s does not run", program)
		}
		for _, pid := range pids {
			if root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); err != nil || root != s.Path("spool") {
				t.Errorf("%s: root is %s (%v), want the queue directory", program, root, err)
			}
			if st := status(t, pid); st["NoNewPrivs"] != "1" || st["CapEff"] != "0000000000000000" {
				t.Errorf("%s: NoNewPrivs %s, CapEff %s", program, st["NoNewPrivs"], st["CapEff"])
			}
		}
	}
	// A reload inside the jail: successors start from outside.
	s.Run("postconf", "-e", "smtpd_banner=changed ESMTP")
	s.Reload()
	s.Until("the new banner", func() bool { return s.Banner() == "220 changed ESMTP" })
	// Tables that change inside the jail.
	s.Append("etc/virtual", "team@example.test bob@example.test")
	s.Run("postmap", "hash:"+s.Path("etc/virtual"))
	s.Until("the new alias is known everywhere", func() bool {
		s.Send("sender@client.example", []string{"team@example.test"}, harness.Message("team"))
		return len(s.Mail("bob")) > 3
	})
}
