package mastercf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

func conf(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("main.cf", text, config.Options{Dir: "/etc/x", Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (e Entry) summary() string {
	s := fmt.Sprintf("%s/%s", e.Name, e.Type)
	for _, f := range []struct {
		on   bool
		name string
	}{{e.Private, "private"}, {e.Unpriv, "unpriv"}, {e.Chroot, "chroot"}, {e.WakeupIfUsed, "ifused"}} {
		if f.on {
			s += " " + f.name
		}
	}
	s += fmt.Sprintf(" %s max=%d v=%d %s", e.Wakeup, e.MaxProc, e.Verbose, e.Command)
	for _, o := range e.Overrides {
		s += fmt.Sprintf(" <%s=%s>", o.Name, o.Value)
	}
	for _, a := range e.Rest {
		s += fmt.Sprintf(" [%s]", a)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ name, main, text, want string }{
		{"plain", "compatibility_level=3.6", "smtp inet n - n - - smtpd", "smtp/inet unpriv 0s max=100 v=0 smtpd"},
		{"defaults of old", "", "x unix - - - - - local", "x/unix private unpriv chroot 0s max=100 v=0 local"},
		{"defaults of new", "compatibility_level=1", "x unix - - - - - local", "x/unix private unpriv 0s max=100 v=0 local"},
		{"default limit", "compatibility_level=1\ndefault_process_limit=7", "x unix - - - - - local", "x/unix private unpriv 0s max=7 v=0 local"},
		{"wakeup", "compatibility_level=1", "x fifo n n y 60? 0 flush", "x/fifo chroot ifused 1m0s max=0 v=0 flush"},
		{"inet is never private", "compatibility_level=1", "25 inet - - - - 1 smtpd", "25/inet unpriv 0s max=1 v=0 smtpd"},
		{"options", "compatibility_level=1", "submission inet n - n - - smtpd\n  -o a=b -ov=w -vv\n# comment\n  -o { c = d e, f } -v", "submission/inet unpriv 0s max=100 v=3 smtpd <a=b> <v=w> <c=d e, f>"},
		{"empty override", "compatibility_level=1", "s inet n - n - - smtpd -o a= -o b=", ""},
		{"pipe arguments", "compatibility_level=1", "m unix - n n - - pipe -o x=y flags=DRX user=vmail argv=/bin/m -d ${recipient} -v {a b}", "m/unix private 0s max=100 v=0 pipe <x=y> [flags=DRX] [user=vmail] [argv=/bin/m] [-d] [${recipient}] [-v] [a b]"},
		{"dollar in fields", "compatibility_level=1\naddr=127.0.0.1\nn=3\nprog=smtpd", "$addr:10025 inet n - n - $n ${prog}", "127.0.0.1:10025/inet unpriv 0s max=3 v=0 smtpd"},
		{"ipv6", "compatibility_level=1", "[::1]:25 inet n - n - - smtpd", "[::1]:25/inet unpriv 0s max=100 v=0 smtpd"},
		{"known port", "compatibility_level=1", "submissions inet n - n - - smtpd", "submissions/inet unpriv 0s max=100 v=0 smtpd"},
		{"datagram and pass", "compatibility_level=1", "postlog unix-dgram n - n - 1 postlogd\nsmtpd pass - - n - - smtpd", "postlog/unix-dgram unpriv 0s max=1 v=0 postlogd|smtpd/pass private unpriv 0s max=100 v=0 smtpd"},
		{"duplicate replaces", "compatibility_level=1", "x unix - - - - 1 local\nx unix - - - - 2 local\nx pass - - - - 3 local", "x/unix private unpriv 0s max=2 v=0 local|x/pass private unpriv 0s max=3 v=0 local"},
		{"disabled", "compatibility_level=1\nmaster_service_disable = !y/inet inet z.unix", "25 inet n - n - - smtpd\nz unix - - n - - local\nw unix - - n - - local", "w/unix private unpriv 0s max=100 v=0 local"},
		{"double dash", "compatibility_level=1", "x unix - - n - - local -v -- -v", "x/unix private unpriv 0s max=100 v=1 local [-v]"},
	} {
		f, errs := Parse("master.cf", tc.text, conf(t, tc.main))
		if tc.name == "empty override" { // the port name "s" does not exist
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), "unknown port name") {
				t.Errorf("%s: %v", tc.name, errs)
			}
			continue
		}
		var got []string
		for _, e := range f.Entries {
			got = append(got, e.summary())
		}
		if s := strings.Join(got, "|"); s != tc.want || len(errs) > 0 {
			t.Errorf("%s:\ngot  %s %v\nwant %s", tc.name, s, errs, tc.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"smtp inet n - n -", `master.cf, line 2: missing "process_limit" field: "smtp inet n - n -"`},
		{"smtp tcp n - n - - smtpd", `master.cf, line 2: field "type": bad type "tcp"`},
		{"smtp inet x - n - - smtpd", `field "private": bad value "x"`},
		{"smtp inet n yes n - - smtpd", `field "unprivileged": bad value "yes"`},
		{"smtp inet n - Y - - smtpd", `field "chroot": bad value "Y"`},
		{"smtp inet n - n 5m - smtpd", `field "wakeup": bad number "5m"`},
		{"smtp inet n - n -5 - smtpd", `field "wakeup": bad number "-5"`},
		{"smtp inet n - n - many smtpd", `field "process_limit": bad number "many"`},
		{"smtp inet n - n - - /usr/bin/smtpd", `field "command": bad command "/usr/bin/smtpd"`},
		{"smtp inet n - n - - ../x", `field "command": bad command "../x"`},
		{"a/b unix n - n - - smtpd", `field "service": bad name "a/b"`},
		{"nosuchport inet n - n - - smtpd", `field "service": unknown port name "nosuchport"`},
		{"70000 inet n - n - - smtpd", `bad port number "70000"`},
		{"::1:25 inet n - n - - smtpd", `an IPv6 address needs brackets`},
		{"25 inet n - n - - smtpd -o", `field "command": option -o needs an argument`},
		{"25 inet n - n - - smtpd -o foo", `option -o foo: missing '=' after attribute name`},
		{"25 inet n - n - - smtpd -Q", `unknown option -Q`},
		{"25 inet n - n - - smtpd -o {a = b} x {y", `bad braces in argument`},
		{"${x inet n - n - - smtpd", `field "service": unbalanced`},
	} {
		_, errs := Parse("master.cf", "# first\n"+tc.line+"\n", conf(t, "compatibility_level=3.6"))
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), tc.want) || !strings.HasPrefix(errs[0].Error(), "master.cf, line 2: ") {
			t.Errorf("%s: got %v, want %s", tc.line, errs, tc.want)
		}
	}
	_, errs := Parse("master.cf", "a b\nc d\n25 inet q q q q q smtpd\n", conf(t, ""))
	if len(errs) != 7 {
		t.Errorf("got %d mistakes, want 7: %v", len(errs), errs)
	}
}

func TestLoadAndView(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "master.cf"), []byte("25 inet n - n - - smtpd -o { a = $service_name }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(filepath.Join(dir, "main.cf"), "a = b\n", config.Options{Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Load("", c)
	if err != nil {
		t.Fatal(err)
	}
	e := f.Find("25", "inet")
	if e == nil || e.Config(c).Get("a") != "25" || e.Path() != "public/25" || e.Config(c).Get("process_name") != "smtpd" {
		t.Errorf("entry %+v", e)
	}
	if e.Overrides[0].Pos.Line != 1 || e.Wakeup != time.Duration(0) {
		t.Errorf("override at %v", e.Overrides[0].Pos)
	}
	if f.Find("25", "unix") != nil {
		t.Error("found a service of another type")
	}
	if _, err := Load(filepath.Join(dir, "none"), c); err == nil {
		t.Error("missing file: no error")
	}
}

func FuzzMasterCF(f *testing.F) {
	for _, s := range []string{"smtp inet n - n - - smtpd\n", "x unix - - - 60? 0 pipe\n -o {a = b} flags=X {c d}\n", "$x inet - - - - - smtpd -vDoa=b -- -x", "a b", "{ } { } { } { }"} {
		f.Add(s)
	}
	c := conf(f, "compatibility_level=3.6\nx=25\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, errs := Parse("master.cf", text, c)
		for _, e := range errs {
			if !strings.HasPrefix(e.Error(), "master.cf, line ") {
				t.Errorf("error without a place: %v", e)
			}
		}
		for _, e := range file.Entries {
			if e.Name == "" || e.Command == "" || e.MaxProc < 0 || e.Wakeup < 0 || len(e.Rest) > len(e.Args) {
				t.Errorf("bad entry %+v", e)
			}
		}
	})
}
