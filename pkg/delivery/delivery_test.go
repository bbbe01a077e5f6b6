package delivery

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/service"
	"posthaste/pkg/wire"
)

type lines struct {
	mu sync.Mutex
	l  []string
}

func (l *lines) Write(_ maillog.Severity, _ string, _ int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.l = append(l.l, text)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.l, "\n")
}

// asker plays qmgr.
type asker struct {
	t    *testing.T
	c    *ipc.Conn
	file *os.File
	log  *lines
	over chan struct{} // Serve returned
}

// serve starts an agent with fn and connects to it.
func serve(t *testing.T, ctx context.Context, settings string, limit int, fn func(context.Context, *Job)) *asker {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte(settings), 0o600)
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{t: t, log: &lines{}, over: make(chan struct{})}
	env := &service.Env{Config: cfg, Log: maillog.New("postfix/x", a.log), Service: "x", Limit: limit}
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		defer close(a.over)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		Serve(ctx, env, nc, fn)
		nc.Close()
	}()
	if a.c, err = ipc.Dial(filepath.Join(dir, "s"), proto.Protocol, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.c.Close(); <-a.over })
	os.WriteFile(filepath.Join(dir, "f"), []byte("headSubject: x\r\n\r\nend"), 0o600)
	if a.file, err = os.Open(filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *asker) ask(seq uint64, rcpts ...string) {
	a.t.Helper()
	r := proto.Request{Seq: seq, Message: envelope.Message{ID: "4XkP1Q2n3RzcJh4"}, Transport: "x", Nexthop: "y.example", ContentOffset: 4, ContentLength: 14}
	for i, s := range rcpts {
		r.Recipients = append(r.Recipients, envelope.Recipient{Num: uint32(10 + i), Address: s})
	}
	var e wire.Encoder
	r.Encode(&e)
	if err := a.c.WriteFrame(proto.TypeRequest, e.B, int(a.file.Fd())); err != nil {
		a.t.Fatal(err)
	}
}

// answer reads until the next Done and returns the outcomes before it.
func (a *asker) answer() (outs []envelope.Outcome, done *proto.Done) {
	a.t.Helper()
	a.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		typ, p, err := a.c.ReadFrame()
		if err != nil {
			a.t.Fatal(err)
		}
		switch typ {
		case proto.TypeOutcome:
			_, o, err := proto.DecodeOutcome(p)
			if err != nil {
				a.t.Fatal(err)
			}
			outs = append(outs, *o)
		case proto.TypeDone:
			if done, err = proto.DecodeDone(p); err != nil {
				a.t.Fatal(err)
			}
			return outs, done
		}
	}
}

func TestReport(t *testing.T) {
	a := serve(t, context.Background(), "", 0, func(_ context.Context, j *Job) {
		b, err := io.ReadAll(j.Content())
		if err != nil || string(b) != "Subject: x\r\n\r\n" {
			t.Errorf("content %q, %v", b, err)
		}
		j.SiteProblem("4.4.1", "it is\r\ndown")
		j.Report(1, envelope.Outcome{Status: envelope.Bounced, DSN: "5.1.1", Reason: "no\nsuch user"}, time.Time{}, 0)
		j.Report(0, envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Relay: "mx[192.0.2.1]:25", Reason: "ok"}, time.Now(), 3)
	})
	a.ask(7, "a b@y.example", "c@y.example")
	outs, done := a.answer()
	if len(outs) != 2 || outs[0].Num != 11 || outs[0].Reason != "no such user" || outs[0].Relay != "none" || outs[1].Num != 10 || outs[1].When.IsZero() {
		t.Errorf("outcomes %+v", outs)
	}
	if done.Seq != 7 || done.SiteProblem != "it is down" || done.Again {
		t.Errorf("done %+v", done)
	}
	for _, want := range []string{
		`4XkP1Q2n3RzcJh4: to=<"a b"@y.example>, relay=mx[192.0.2.1]:25, conn_use=3, delay=`,
		"4XkP1Q2n3RzcJh4: to=<c@y.example>, relay=none, delay=",
		"dsn=5.1.1, status=bounced (no such user)",
	} {
		if !strings.Contains(a.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, a.log)
		}
	}
}

func TestSoftBounce(t *testing.T) {
	a := serve(t, context.Background(), "soft_bounce = yes\n", 0, func(_ context.Context, j *Job) {
		j.Report(0, envelope.Outcome{Status: envelope.Bounced, DSN: "5.1.1", Reason: "no"}, time.Time{}, 0)
	})
	a.ask(1, "a@y.example")
	outs, _ := a.answer()
	if outs[0].Status != envelope.Deferred || outs[0].DSN != "4.1.1" {
		t.Errorf("outcome %+v, want deferred, 4.1.1", outs[0])
	}
	if !strings.Contains(a.log.String(), "dsn=4.1.1, status=SOFTBOUNCE (no)") {
		t.Errorf("log %s", a.log)
	}
}

func TestUnreportedPanickedAndTwice(t *testing.T) {
	a := serve(t, context.Background(), "", 0, func(_ context.Context, j *Job) {
		switch j.Seq {
		case 1: // forgets b
			j.Report(0, envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0"}, time.Time{}, 0)
			j.Report(0, envelope.Outcome{Status: envelope.Bounced, DSN: "5.0.0"}, time.Time{}, 0)
		case 2:
			panic("oops")
		}
	})
	a.ask(1, "a@y.example", "b@y.example")
	outs, _ := a.answer()
	if len(outs) != 2 || outs[0].Status != envelope.Sent || outs[1].Status != envelope.Deferred || outs[1].DSN != "4.3.0" {
		t.Errorf("outcomes %+v, want sent and deferred 4.3.0", outs)
	}
	a.ask(2, "a@y.example")
	outs, _ = a.answer()
	if len(outs) != 1 || outs[0].Status != envelope.Deferred || outs[0].Reason != "delivery agent failure" {
		t.Errorf("outcomes after a panic %+v", outs)
	}
	if !strings.Contains(a.log.String(), "panic: 4XkP1Q2n3RzcJh4: second outcome") || !strings.Contains(a.log.String(), "panic: 4XkP1Q2n3RzcJh4: oops") {
		t.Errorf("the bugs are not logged:\n%s", a.log)
	}
}

func TestLimit(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	both := make(chan struct{}, 10)
	a := serve(t, context.Background(), "", 2, func(_ context.Context, j *Job) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		both <- struct{}{}
		mu.Lock()
		now--
		mu.Unlock()
	})
	for i := range 10 {
		a.ask(uint64(i), "a@y.example")
	}
	for range 10 {
		a.answer()
	}
	mu.Lock()
	defer mu.Unlock()
	if most > 2 {
		t.Errorf("%d deliveries at a time, want at most 2", most)
	}
}

func TestQmgrGone(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	a := serve(t, context.Background(), "", 0, func(ctx context.Context, j *Job) {
		close(began)
		<-ctx.Done()
		close(ended)
	})
	a.ask(1, "a@y.example")
	<-began
	a.c.Close()
	<-ended
	<-a.over
}

func TestStop(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	a := serve(t, ctx, "", 0, func(ctx context.Context, j *Job) {
		cancel()
		<-ctx.Done()
	})
	a.ask(1, "a@y.example")
	outs, _ := a.answer()
	if len(outs) != 1 || outs[0].Reason != "delivery interrupted" {
		t.Errorf("outcomes %+v, want one that was interrupted", outs)
	}
	<-a.over
}

func TestSplitDSN(t *testing.T) {
	for in, want := range map[string][2]string{
		"5.1.1 no":       {"5.1.1", "no"},
		" 4.2.0  later ": {"4.2.0", "later"},
		"3.1.1 x":        {"5.0.0", "3.1.1 x"},
		"5.1 x":          {"5.0.0", "5.1 x"},
		"5.1.1234 x":     {"5.0.0", "5.1.1234 x"},
		"5..1 x":         {"5.0.0", "5..1 x"},
		"":               {"5.0.0", ""},
	} {
		if d, r := SplitDSN(in, "5.0.0"); d != want[0] || r != want[1] {
			t.Errorf("SplitDSN(%q) = %q, %q, want %q", in, d, r, want)
		}
	}
}
