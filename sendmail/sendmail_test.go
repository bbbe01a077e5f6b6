package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"posthaste/pkg/envelope"
	"posthaste/pkg/queue"
)

func TestContent(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, tc := range []struct {
		name, in string
		o        contentOptions
		want     string
	}{
		{"LF", "A: b\n\nx\n", contentOptions{}, "A: b\r\n\r\nx\r\n"},
		{"CRLF", "A: b\r\n\r\nx\r\n", contentOptions{}, "A: b\r\n\r\nx\r\n"},
		{"CRLF, never", "A: b\r\nx\r\n", contentOptions{fix: "never"}, "A: b\r\r\nx\r\r\n"},
		{"strict, CRLF first", "A: b\r\nx\n", contentOptions{fix: "strict"}, "A: b\r\nx\r\n"},
		{"strict, LF first", "A: b\nx\r\n", contentOptions{fix: "strict"}, "A: b\r\nx\r\r\n"},
		{"dot ends", "A: b\n\nx\n.\ny\n", contentOptions{}, "A: b\r\n\r\nx\r\n"},
		{"dot, CRLF", "A: b\r\n\r\n.\r\ny\r\n", contentOptions{}, "A: b\r\n\r\n"},
		{"dot is text", "A: b\n\nx\n.\ny\n", contentOptions{dots: true}, "A: b\r\n\r\nx\r\n.\r\ny\r\n"},
		{"dots", "A: b\n\n..\n.x\n", contentOptions{}, "A: b\r\n\r\n..\r\n.x\r\n"},
		{"last dot without a line end", "A: b\n\nx\n.", contentOptions{}, "A: b\r\n\r\nx\r\n"},
		{"no final line end", "A: b\n\nx", contentOptions{}, "A: b\r\n\r\nx\r\n"},
		{"From line", "From anna Mon\nA: b\n", contentOptions{}, "A: b\r\n"},
		{"quoted From line", ">From anna Mon\nA: b\n", contentOptions{}, "A: b\r\n"},
		{"From in the body", "A: b\n\nFrom here\n", contentOptions{}, "A: b\r\n\r\nFrom here\r\n"},
		{"every byte", "A: b\n\n\x00\x01\xff\r\x80\n", contentOptions{}, "A: b\r\n\r\n\x00\x01\xff\r\x80\r\n"},
		{"long", "A: b\n\n" + long + "\n.\n", contentOptions{}, "A: b\r\n\r\n" + long + "\r\n"},
		{"long without a line end", long, contentOptions{}, long + "\r\n"},
		{"CRLF across buffers", "A: b\r\n\r\n" + strings.Repeat("y", 64<<10-1) + "\r\nz\r\n", contentOptions{}, "A: b\r\n\r\n" + strings.Repeat("y", 64<<10-1) + "\r\nz\r\n"},
		{"exactly a buffer", strings.Repeat("y", 64<<10), contentOptions{}, strings.Repeat("y", 64<<10) + "\r\n"},
		{"empty", "", contentOptions{}, ""},
	} {
		for _, slow := range []bool{false, true} {
			var r = bytes.NewReader([]byte(tc.in))
			c := newContent(r, tc.o)
			if slow {
				c = newContent(oneByte{r}, tc.o)
			}
			var b bytes.Buffer
			if err := c.readHeader(1000); err != nil {
				t.Fatal(err)
			}
			if err := c.copy(&b, 0); err != nil {
				t.Fatal(err)
			}
			if b.String() != tc.want {
				t.Errorf("%s: %d bytes %.80q, want %d %.80q", tc.name, b.Len(), b.String(), len(tc.want), tc.want)
			}
		}
	}
}

type oneByte struct{ r *bytes.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestExtract(t *testing.T) {
	for in, want := range map[string][]string{
		"To: a@x.test, \"B, C\" <b@x.test>\nCc: g: c@x.test, d@x.test;\n\te@x.test\nBcc: f@x.test\nSubject: to: z@x.test\n\nTo: no@x.test\n": {"a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", "f@x.test"},
		"To: a@x.test\nResent-To: r@x.test\nResent-Bcc: s@x.test\n":                                                                          {"r@x.test", "s@x.test"},
		"TO : a@x.test":             {"a@x.test"},
		"Subject: x\n":              nil,
		"no header\nTo: a@x.test\n": nil,
	} {
		c := newContent(strings.NewReader(in), contentOptions{})
		if err := c.readHeader(100_000); err != nil {
			t.Fatal(err)
		}
		if got := c.recipients(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		name, args string
		want       options
		bad        string
	}{
		{"sendmail", "-t -oi -f a@b.test", options{extract: true, dots: true, sender: "a@b.test", senderSet: true}, ""},
		{"sendmail", "-itv x@y.test -t", options{dots: true, extract: true, verbose: 1, rcpts: []string{"x@y.test", "-t"}}, ""},
		{"sendmail", "-fa@b.test -- -x@y.test", options{sender: "a@b.test", senderSet: true, rcpts: []string{"-x@y.test"}}, ""},
		{"sendmail", "-F Name -N success,delay -R hdrs -V env1 -B 8bitmime u", options{fullName: "Name", fullNameSet: true, notify: envelope.NotifySuccess | envelope.NotifyDelay, ret: "HDRS", envid: "env1", body: "8BITMIME", rcpts: []string{"u"}}, ""},
		{"sendmail", "-Am -Ac -bm -em -h 5 -om -o7 -os -oem -m -U -Ltag u", options{rcpts: []string{"u"}}, ""},
		{"sendmail", "-n u", options{}, "-n option not supported"},
		{"sendmail", "-X /tmp/log u", options{}, "-X option not supported"},
		{"sendmail", "-G -O smtputf8=yes -O DeliveryMode=b u", options{gateway: true, utf8: true, rcpts: []string{"u"}}, ""},
		{"sendmail", "-q", options{mode: modeFlush}, ""},
		{"sendmail", "-q15m u", options{interval: true, rcpts: []string{"u"}}, ""},
		{"sendmail", "-qIabc", options{mode: modeFlushID, flush: "abc"}, ""},
		{"sendmail", "-qRx.test", options{mode: modeFlushSite, flush: "x.test"}, ""},
		{"sendmail", "-qSx", options{}, "not implemented"},
		{"sendmail", "-bp", options{mode: modeList}, ""},
		{"sendmail", "-bs", options{mode: modeSMTP}, ""},
		{"sendmail", "-bi -oAhash:/x", options{mode: modeAliases, aliases: []string{"hash:/x"}}, ""},
		{"sendmail", "-bd", options{mode: modeDaemon}, ""},
		{"sendmail", "-bH", options{mode: modeNothing}, ""},
		{"sendmail", "-bv u", options{verifyOnly: true, rcpts: []string{"u"}}, ""},
		{"sendmail", "-bv -t", options{}, "-t option"},
		{"sendmail", "-bv -N never u", options{}, "-N option"},
		{"sendmail", "-N maybe u", options{rcpts: []string{"u"}, warnings: []string{`unknown DSN NOTIFY command value "maybe" in "maybe"`, "bad -N option value -- ignored"}}, ""},
		{"sendmail", "-N never,success u", options{rcpts: []string{"u"}, warnings: []string{"bad -N option value -- ignored"}}, ""},
		{"sendmail", "-B 9BIT", options{}, "-B"},
		{"sendmail", "-R some u", options{rcpts: []string{"u"}, warnings: []string{"bad -R option value -- ignored"}}, ""},
		{"sendmail", "-oA u", options{}, "-oA requires pathname"},
		{"sendmail", "-q u", options{}, "flush queue mode requires no recipient"},
		{"sendmail", "-q1h", options{mode: modeNothing, interval: true}, ""},
		{"sendmail", "-bs -t", options{}, "-t option"},
		{"mailq", "u", options{}, "display queue mode requires no recipient"},
		{"sendmail", "-bz", options{}, "unsupported: -bz"},
		{"sendmail", "-Z", options{}, "unknown option -Z"},
		{"sendmail", "-f", options{}, "needs an argument"},
		{"mailq", "", options{mode: modeList}, ""},
		{"newaliases", "", options{mode: modeAliases}, ""},
	} {
		got, err := parse(tc.name, strings.Fields(tc.args))
		if tc.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tc.bad) {
				t.Errorf("%s %s: error %v, want %q", tc.name, tc.args, err, tc.bad)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", tc.name, tc.args, err)
			continue
		}
		if len(got.rcpts) == 0 {
			got.rcpts = nil
		}
		if !reflect.DeepEqual(*got, tc.want) {
			t.Errorf("%s %s: %+v, want %+v", tc.name, tc.args, *got, tc.want)
		}
	}
}

// instance builds the programs and makes a queue for them.
func instance(t *testing.T) (bin, etc string, spool *queue.Spool) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	bin, etc = t.TempDir(), t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+"/", ".", "../postdrop").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := queue.Init(dir); err != nil {
		t.Fatal(err)
	}
	conf := "compatibility_level = 3.9\nqueue_directory = " + dir + "\ncommand_directory = " + bin + "\ndaemon_directory = " + bin + "\nmessage_size_limit = 1000000\nmyhostname = mx.example.test\n"
	if err := os.WriteFile(filepath.Join(etc, "main.cf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	if spool, err = queue.Open(dir, queue.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	return bin, etc, spool
}

// TestSubmit runs sendmail and postdrop while nothing else runs.
func TestSubmit(t *testing.T) {
	bin, etc, spool := instance(t)
	for _, tc := range []struct {
		name  string
		args  []string
		in    string
		rc    int
		says  string
		rcpts []string
		want  string
		check func(*envelope.Message) bool
	}{
		{"arguments", []string{"-f", "anna@x.test", "b@y.test", "c@z.test, d@z.test"}, "Subject: x\n\nhello\n.\nno\n", 0, "", []string{"b@y.test", "c@z.test", "d@z.test"}, "Subject: x\r\n\r\nhello\r\n",
			func(m *envelope.Message) bool { return m.Sender == "anna@x.test" && m.Local && m.UID == os.Getuid() }},
		{"-t", []string{"-t", "-i", "more@y.test"}, "To: a@x.test\nBcc: b@x.test\n\n.\nx\n", 0, "", []string{"more@y.test", "a@x.test", "b@x.test"}, "To: a@x.test\r\nBcc: b@x.test\r\n\r\n.\r\nx\r\n", nil},
		{"null sender", []string{"-f", "", "-F", "An Na", "a@x.test"}, "\n", 0, "", []string{"a@x.test"}, "\r\n", func(m *envelope.Message) bool { return m.Sender == "" && m.FullName == "An Na" }},
		{"null sender in brackets", []string{"-r<>", "a@x.test"}, "", 0, "", []string{"a@x.test"}, "", func(m *envelope.Message) bool { return m.Sender == "" }},
		{"gateway", []string{"-G", "a@x.test"}, "", 0, "", []string{"a@x.test"}, "", func(m *envelope.Message) bool { return !m.Local && m.Sender != "" }},
		{"verbose", []string{"-v", "-f", "q@x.test", "a@x.test"}, "", 0, "Mail Delivery Status Report will be mailed to <q@x.test>.", []string{"a@x.test"}, "", func(m *envelope.Message) bool { return m.Verbose }},
		{"verify", []string{"-bv", "a@x.test"}, "not read", 0, "Mail Delivery Status Report", []string{"a@x.test"}, "Subject: probe\r\n\r\nprobe\r\n", func(m *envelope.Message) bool { return m.VerifyOnly }},
		{"no name", []string{"-F", "", "a@x.test"}, "", 0, "", []string{"a@x.test"}, "", func(m *envelope.Message) bool { return m.FullName == "" }},
		{"two senders", []string{"-f", "a@x.test, b@x.test", "a@x.test"}, "", 0, "-f option specified malformed sender", []string{"a@x.test"}, "", func(m *envelope.Message) bool { return m.Sender == "a@x.test" }},
		{"bad -N and -R", []string{"-N", "maybe", "-R", "some", "a@x.test"}, "", 0, "warning: bad -R option value -- ignored", []string{"a@x.test"}, "", func(m *envelope.Message) bool { return m.Ret == "" }},
		{"nobody in the header", []string{"-t"}, "Subject: x\n", 75, "no recipient addresses found in message header", nil, "", nil},
		{"nobody", nil, "Subject: x\n", 75, "Recipient addresses must be specified", nil, "", nil},
		{"bad option", []string{"-Z"}, "", 75, "unknown option", nil, "", nil},
		{"bad sender", []string{"-f", "(x)", "a@x.test"}, "", 75, "malformed sender", nil, "", nil},
		{"too big", []string{"a@x.test"}, strings.Repeat("x", 1_100_000), 75, "message file too big", nil, "", nil},
	} {
		cmd := exec.Command(filepath.Join(bin, "sendmail"), append([]string{"-C", etc}, tc.args...)...)
		cmd.Stdin = strings.NewReader(tc.in)
		out, _ := cmd.CombinedOutput()
		if rc := cmd.ProcessState.ExitCode(); rc != tc.rc || !strings.Contains(string(out), tc.says) {
			t.Errorf("%s: status %d, %q; want %d, %q", tc.name, rc, out, tc.rc, tc.says)
		}
		n := 0
		spool.List(queue.Maildrop, func(e queue.Entry) bool {
			n++
			f, err := spool.Load(queue.Maildrop, e.ID)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				return true
			}
			defer f.Close()
			var c queue.Cursor
			l, _ := f.Recipients(&c, 10)
			var to []string
			for _, r := range l {
				to = append(to, r.Address)
			}
			if !reflect.DeepEqual(to, tc.rcpts) {
				t.Errorf("%s: recipients %q, want %q", tc.name, to, tc.rcpts)
			}
			r, _ := f.Content()
			var b bytes.Buffer
			b.ReadFrom(r)
			if b.String() != tc.want {
				t.Errorf("%s: content %q, want %q", tc.name, b.String(), tc.want)
			}
			if tc.check != nil && !tc.check(f.Message()) {
				t.Errorf("%s: envelope %+v", tc.name, f.Message())
			}
			spool.Remove(queue.Maildrop, e.ID)
			return true
		})
		if want := min(len(tc.rcpts), 1); n != want {
			t.Errorf("%s: %d files in maildrop, want %d", tc.name, n, want)
		}
	}
}

// TestProblemsAreLogged looks for what went wrong in the mail log: the standard
// error of programs that send mail is often lost.
func TestProblemsAreLogged(t *testing.T) {
	bin, etc, _ := instance(t)
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.OpenFile(filepath.Join(etc, "main.cf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("maillog_file = " + log + "\n")
	f.Close()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-C", etc}, "]: fatal: root(0): Recipient addresses must be specified"},
		{[]string{"-Z", "-C", etc, "a@x.test"}, "]: fatal: usage: sendmail [options]: unknown option -Z\n"},
		{[]string{"-C", etc, "-R", "some", "a@x.test"}, "postfix/sendmail["},
	} {
		exec.Command(filepath.Join(bin, "sendmail"), tc.args...).Run()
		b, _ := os.ReadFile(log)
		want := strings.Replace(tc.want, "root(0)", caller(), 1)
		if !strings.Contains(string(b), want) {
			t.Errorf("%q: the log lacks %q:\n%s", tc.args, want, b)
		}
	}
}

func TestNoConfiguration(t *testing.T) {
	bin, _, _ := instance(t)
	cmd := exec.Command(filepath.Join(bin, "sendmail"), "-C", t.TempDir(), "a@x.test")
	out, _ := cmd.CombinedOutput()
	if rc := cmd.ProcessState.ExitCode(); rc != 1 || !strings.Contains(string(out), "main.cf") {
		t.Errorf("status %d, %q", rc, out)
	}
}
