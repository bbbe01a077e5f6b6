package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthaste/test/tools/harness"
)

// TestMailboxOwners: virtual_uid_maps gives each virtual mailbox an owner.
func TestMailboxOwners(t *testing.T) {
	needRoot(t)
	s := harness.New(t,
		fmt.Sprintf("virtual_uid_maps = inline:{ {bob@example.test = %d} {alice@example.test = %d} {low@example.test = 5} }", benUID, annUID),
		fmt.Sprintf("virtual_gid_maps = inline:{ {bob@example.test = %d} {alice@example.test = %d} {low@example.test = 5} }", benGID, annGID))
	for user, id := range map[string][2]int{"bob": {benUID, benGID}, "alice": {annUID, annGID}} {
		filepath.Walk(s.Path("mail", user), func(p string, _ os.FileInfo, _ error) error { return os.Chown(p, id[0], id[1]) })
	}
	s.Append("etc/vmailbox", "low@example.test low/Maildir/")
	s.Run("postmap", "hash:"+s.Path("etc/vmailbox"))
	s.Start()
	send(t, s, "owned", "bob@example.test", "alice@example.test", "low@example.test")
	s.WaitMail("bob", 1)
	s.WaitMail("alice", 1)
	for user, id := range map[string][2]uint32{"bob": {benUID, benGID}, "alice": {annUID, annGID}} {
		l, _ := filepath.Glob(s.Path("mail", user, "Maildir/new/*"))
		if u, g, m := owner(t, l[0]); u != id[0] || g != id[1] || m&0077 != 0 {
			t.Errorf("%s: %d:%d %v", l[0], u, g, m)
		}
	}
	// Nobody below virtual_minimum_uid owns mail.
	s.WaitLog(`to=<low@example.test>, .*dsn=4\.3\.5, status=deferred`)
	if n := len(s.Mail("low")); n != 0 {
		t.Errorf("delivered below virtual_minimum_uid")
	}
}

// TestPipe: a command in master.cf runs as the user that it names, and its exit
// status decides.
func TestPipe(t *testing.T) {
	needRoot(t)
	s := harness.New(t, "transport_maps = inline:{ {good.example = good:} {later.example = later:} {never.example = never:} }", "mynetworks = 127.0.0.0/8")
	out := s.Path("out")
	if err := os.Mkdir(out, 0755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(out, 0777|os.ModeSticky)
	script := s.Path("deliver")
	file(t, script, "#!/bin/sh\n{ id -u; id -G; echo \"$*\"; cat; } > "+out+"/new && mv "+out+"/new "+out+"/got\n", 0755, 0, 0)
	s.Append("etc/master.cf",
		"good unix - n n - - pipe flags=DRX user=phann:phann argv="+script+" ${sender} ${recipient} ${nexthop}",
		"later unix - n n - - pipe user=phann argv=/bin/sh -c {exit 75}",
		"never unix - n n - - pipe user=phann argv=/bin/sh -c {exit 67}",
		"  -o syslog_name=postfix")
	s.Start()
	send(t, s, "piped", "x@good.example")
	b := content(s, out+"/got")
	if !strings.HasPrefix(b, fmt.Sprintf("%d\n%d\nsender@client.example x@good.example good.example\n", annUID, annGID)) || !strings.Contains(b, "Delivered-To: x@good.example\n") || !strings.Contains(b, "Subject: piped\n") {
		t.Errorf("got\n%s", b)
	}
	s.WaitLog(`to=<x@good.example>, relay=good, .*dsn=2\.0\.0, status=sent \(delivered via good service\)`)
	send(t, s, "later", "x@later.example")
	s.WaitLog(`to=<x@later.example>, relay=later, .*dsn=4\.3\.0, status=deferred`)
	send(t, s, "never", "x@never.example")
	s.WaitLog(`to=<x@never.example>, relay=never, .*dsn=5\.1\.1, status=bounced`)
}
