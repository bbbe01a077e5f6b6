// Package agenttest plays qmgr for the tests of delivery agents: it serves an
// agent's deliver function on a real socket and sends it requests with a queue
// file's descriptor. Only _test files import it.
package agenttest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/queue"
	"posthaste/pkg/service"
	"posthaste/pkg/wire"
)

// Agent is a running agent.
type Agent struct {
	t    testing.TB
	Dir  string // a directory that all users may enter
	Env  *service.Env
	ID   string // queue id of the next requests
	At   time.Time
	log  capture
	conn *ipc.Conn
	seq  uint64
}

type capture struct {
	mu sync.Mutex
	b  strings.Builder
}

func (c *capture) Write(_ maillog.Severity, _ string, _ int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.WriteString(text + "\n")
}

// New makes a directory and the environment of a service in it; DIR in mainCF
// and args stands for the directory.
func New(t testing.TB, program, serviceName, mainCF string, args ...string) *Agent {
	t.Helper()
	dir, err := os.MkdirTemp("", program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	a := &Agent{t: t, Dir: dir, ID: queue.NewID(time.Now()), At: time.Now()}
	cf := "compatibility_level = 3.6\nmyhostname = mx.test\nqueue_directory = DIR\n" + mainCF + "\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(strings.ReplaceAll(cf, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All, Service: serviceName, Program: program})
	if err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", dir)
	}
	a.Env = &service.Env{Config: cfg, Log: maillog.New("posthaste/"+program, &a.log), Program: program, Service: serviceName, Type: "unix", Args: args}
	return a
}

// Serve starts the agent and connects to it.
func (a *Agent) Serve(deliver func(context.Context, *delivery.Job)) {
	a.t.Helper()
	path := filepath.Join(a.Dir, "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go delivery.Serve(ctx, a.Env, c, deliver)
		}
	}()
	if a.conn, err = ipc.Dial(path, proto.Protocol, 10*time.Second); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		a.conn.Close()
		cancel()
		l.Close()
	})
}

// Log is what has been logged.
func (a *Agent) Log() string {
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	return a.log.b.String()
}

// Request makes a request for the recipients.
func (a *Agent) Request(content string, rcpts ...string) *proto.Request {
	a.seq++
	r := &proto.Request{
		Seq: a.seq, Transport: a.Env.Service, Nexthop: "Next.Example", ContentOffset: 4, ContentLength: int64(len(content)),
		Message: envelope.Message{ID: a.ID, Arrival: a.At, Sender: "sender@example.org"}, Activated: a.At, Started: a.At,
	}
	for i, rc := range rcpts {
		r.Recipients = append(r.Recipients, envelope.Recipient{Num: uint32(i), Address: rc})
	}
	return r
}

// Send delivers a request and returns the outcomes by recipient number.
func (a *Agent) Send(r *proto.Request, content string) map[uint32]*envelope.Outcome {
	a.t.Helper()
	f, err := os.CreateTemp(a.Dir, "queue")
	if err != nil {
		a.t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString("HEAD" + content); err != nil {
		a.t.Fatal(err)
	}
	var e wire.Encoder
	r.Encode(&e)
	a.conn.SetDeadline(time.Now().Add(time.Minute))
	if err := a.conn.WriteFrame(proto.TypeRequest, e.B, int(f.Fd())); err != nil {
		a.t.Fatal(err)
	}
	out := map[uint32]*envelope.Outcome{}
	for {
		typ, p, err := a.conn.ReadFrame()
		if err != nil {
			a.t.Fatal(err)
		}
		if typ == proto.TypeDone {
			return out
		}
		_, o, err := proto.DecodeOutcome(p)
		if err != nil {
			a.t.Fatal(err)
		}
		out[o.Num] = o
	}
}

// One delivers a new message to one recipient.
func (a *Agent) One(content, rcpt string) *envelope.Outcome {
	a.t.Helper()
	a.ID = queue.NewID(time.Now())
	o := a.Send(a.Request(content, rcpt), content)[0]
	if o == nil {
		a.t.Fatalf("no outcome; log:\n%s", a.Log())
	}
	return o
}

// Want compares an outcome.
func (a *Agent) Want(o *envelope.Outcome, s envelope.Status, dsn, text string) {
	a.t.Helper()
	if o.Status != s || o.DSN != dsn || !strings.Contains(o.Reason, text) {
		a.t.Errorf("outcome %s %s (%s), want %s %s (%s)\nlog:\n%s", delivery.StatusWord(o.Status), o.DSN, o.Reason, delivery.StatusWord(s), dsn, text, a.Log())
	}
}
