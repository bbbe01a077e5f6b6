package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/queue"
	"posthaste/pkg/service"
	"posthaste/pkg/userdb"
	"posthaste/pkg/wire"
	"posthaste/pkg/worker"
)

// ordinary is set in the copy of the test program that a root run starts as an
// ordinary user.
const ordinary = "POSTHASTE_LOCAL_TEST_ORDINARY"

func TestMain(m *testing.M) {
	if worker.Requested() {
		if v := os.Getenv("LIES"); v != "" {
			lie(v)
		}
		if err := worker.Serve(openWorker); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestAsOrdinaryUser runs all other tests again without root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getenv(ordinary) != "" {
		t.Skip("this is the ordinary user's run")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: the other tests run as an ordinary user anyway; those with several uids are skipped")
	}
	dir := openDir(t)
	chown(t, dir, 20009)
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), ordinary+"=1", "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 20009, Gid: 20009}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestAliases") {
		t.Errorf("%v\n%s", err, out)
	}
}

// openDir is a temporary directory that other users may enter.
func openDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "local")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func chown(t testing.TB, path string, uid int) {
	t.Helper()
	if os.Geteuid() == 0 {
		if err := os.Lchown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
}

func mustRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: several uids need root")
	}
}

// fixture is a dispatcher with its users, a cleanup that keeps what it gets,
// and qmgr's end of the connection.
type fixture struct {
	t     testing.TB
	dir   string
	d     *dispatcher
	log   *capture
	conn  *ipc.Conn
	seq   uint64
	mail  *inbox
	uids  map[string]int
	arriv time.Time
	id    string

	config *config.Config
}

type capture struct {
	mu    sync.Mutex
	lines []string
}

func (c *capture) Write(_ maillog.Severity, _ string, _ int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, text)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// inbox is a cleanup server's memory.
type inbox struct {
	mu   sync.Mutex
	got  []*submitted
	fail *cleanup.Result
}

type submitted struct {
	in    *inbox
	begin cleanup.Begin
	rcpts []envelope.Recipient
	data  strings.Builder
}

func (s *submitted) Recipient(r *envelope.Recipient) { s.rcpts = append(s.rcpts, *r) }
func (s *submitted) Data(p []byte)                   { s.data.Write(p) }
func (s *submitted) Abort()                          {}
func (s *submitted) End() *cleanup.Result {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if s.in.fail != nil {
		return s.in.fail
	}
	s.in.got = append(s.in.got, s)
	return &cleanup.Result{}
}

// refuse makes cleanup answer with r from now on.
func (in *inbox) refuse(r *cleanup.Result) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.fail = r
}

func (in *inbox) all() []*submitted {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.got
}

func write(t testing.TB, path, text string, mode os.FileMode, uid int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	chown(t, path, uid)
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// newFixture makes users alice, bob and dave; as an ordinary user all of them
// have the caller's uid. DIR in the settings stands for the directory.
func newFixture(t testing.TB, settings, aliases string) *fixture {
	t.Helper()
	return newFixtureWith(t, settings, aliases, func(*dispatcher) {})
}

// newFixtureWith has change called before the dispatcher serves anyone.
func newFixtureWith(t testing.TB, settings, aliases string, change func(*dispatcher)) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: openDir(t), log: &capture{}, mail: &inbox{}, uids: map[string]int{}, arriv: time.Now(), id: queue.NewID(time.Now())}
	passwd := "root:x:0:0:root:" + f.dir + "/home/root:/bin/sh\n"
	for i, u := range []string{"alice", "bob", "dave", "nobody"} {
		uid := 20001 + i
		if os.Geteuid() != 0 {
			uid = os.Geteuid()
		}
		f.uids[u] = uid
		passwd += fmt.Sprintf("%s:x:%d:%d:%s:%s/home/%s:/bin/sh\n", u, uid, uid, u, f.dir, u)
		home := filepath.Join(f.dir, "home", u)
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		chown(t, home, uid)
	}
	os.MkdirAll(f.dir+"/home/root", 0o700)
	write(t, f.dir+"/etc/passwd", passwd, 0o644, 0)
	write(t, f.dir+"/etc/group", "nobody:x:20004:\nlist:x:20050:alice\n", 0o644, 0)
	write(t, f.dir+"/etc/aliases", strings.ReplaceAll(aliases, "DIR", f.dir), 0o644, 0)
	spool := f.dir + "/var/mail"
	if err := os.MkdirAll(spool, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"public", "private"} {
		os.MkdirAll(f.dir+"/queue/"+d, 0o755)
	}
	// texthash: tables are keyed without the colon of aliases(5).
	table := ""
	for _, l := range strings.Split(strings.ReplaceAll(aliases, "DIR", f.dir), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok {
			table += strings.TrimSpace(k) + "\t" + strings.TrimSpace(v) + "\n"
		}
	}
	write(t, f.dir+"/etc/aliases.txt", table, 0o644, 0)
	write(t, f.dir+"/etc/bobs", "bobcmd\t\"|id -u > "+f.dir+"/out/bobcmd\"\n", 0o644, f.uids["bob"])
	write(t, f.dir+"/etc/main.cf", strings.ReplaceAll(`compatibility_level = 3.6
myhostname = mx.test
mydomain = test
myorigin = mx.test
mydestination = mx.test, localhost
queue_directory = DIR/queue
mail_spool_directory = DIR/var/mail
alias_maps = texthash:DIR/etc/aliases.txt
default_privs = nobody
home_mailbox = Maildir/
recipient_delimiter = +
deliver_lock_attempts = 2
command_time_limit = 20s
`+settings+"\n", "DIR", f.dir), 0o644, 0)
	t.Chdir(f.dir + "/queue")
	f.start(change)
	return f
}

func (f *fixture) start(change func(*dispatcher)) {
	t := f.t
	cfg, err := config.Load(config.Options{Dir: f.dir + "/etc", Known: params.All, Service: "local", Program: "local"})
	if err != nil {
		t.Fatal(err)
	}
	f.config = cfg
	env := &service.Env{Config: cfg, Log: maillog.New("posthaste/local", f.log), Program: "local", Service: "local", Type: "unix"}
	if f.d, err = newDispatcher(env, userdb.New(f.dir+"/etc/passwd", f.dir+"/etc/group")); err != nil {
		t.Fatal(err)
	}
	change(f.d)
	l, err := net.Listen("unix", cleanup.Service)
	if err != nil {
		t.Fatal(err)
	}
	srv := &cleanup.Server{Begin: func(b *cleanup.Begin) cleanup.Session { return &submitted{in: f.mail, begin: *b} }}
	go serveAll(l, func(c net.Conn) { srv.Serve(c) })
	agents, err := net.Listen("unix", "private/local")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go serveAll(agents, func(c net.Conn) { f.d.serve(ctx, env, c) })
	if f.conn, err = ipc.Dial("private/local", proto.Protocol, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.conn.Close()
		cancel()
		agents.Close()
		l.Close()
		f.d.close()
	})
}

func serveAll(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

// request returns a request for the recipients with the content in a file.
func (f *fixture) request(content string, rcpts ...string) (*proto.Request, *os.File) {
	file, err := os.CreateTemp(f.dir, "msg")
	if err != nil {
		f.t.Fatal(err)
	}
	file.WriteString("HEAD" + content)
	f.seq++
	r := &proto.Request{
		Seq: f.seq, Transport: "local", Nexthop: "mx.test", ContentOffset: 4, ContentLength: int64(len(content)),
		Message: envelope.Message{ID: f.id, Arrival: f.arriv, Sender: "sender@example.org"}, Activated: f.arriv, Started: f.arriv,
	}
	for i, a := range rcpts {
		r.Recipients = append(r.Recipients, envelope.Recipient{Num: uint32(i), Address: a})
	}
	return r, file
}

// send delivers and returns the outcomes by recipient number.
func (f *fixture) send(content string, rcpts ...string) map[uint32]*envelope.Outcome {
	r, file := f.request(content, rcpts...)
	return f.exchange(r, file)
}

func (f *fixture) exchange(r *proto.Request, file *os.File) map[uint32]*envelope.Outcome {
	f.t.Helper()
	defer file.Close()
	var e wire.Encoder
	r.Encode(&e)
	f.conn.SetDeadline(time.Now().Add(60 * time.Second))
	if err := f.conn.WriteFrame(proto.TypeRequest, e.B, int(file.Fd())); err != nil {
		f.t.Fatal(err)
	}
	out := map[uint32]*envelope.Outcome{}
	for {
		typ, p, err := f.conn.ReadFrame()
		if err != nil {
			f.t.Fatal(err)
		}
		if typ == proto.TypeDone {
			return out
		}
		_, o, err := proto.DecodeOutcome(p)
		if err != nil {
			f.t.Fatal(err)
		}
		out[o.Num] = o
	}
}

// one delivers to one recipient.
func (f *fixture) one(content, rcpt string) *envelope.Outcome {
	f.t.Helper()
	f.id = queue.NewID(time.Now())
	o := f.send(content, rcpt)[0]
	if o == nil {
		f.t.Fatalf("no outcome for %s\n%s", rcpt, f.log)
	}
	return o
}

func (f *fixture) want(o *envelope.Outcome, s envelope.Status, dsn, text string) {
	f.t.Helper()
	if o.Status != s || o.DSN != dsn || !strings.Contains(o.Reason, text) {
		f.t.Errorf("outcome %v %s (%s), want %v %s (%s)\nlog:\n%s", delivery.StatusWord(o.Status), o.DSN, o.Reason, delivery.StatusWord(s), dsn, text, f.log)
	}
}

// maildir lists the messages in new/.
func (f *fixture) maildir(dir string) []string {
	l, _ := filepath.Glob(filepath.Join(dir, "new", "*"))
	return l
}

const simple = "Subject: hello\r\n\r\nbody\r\n"
