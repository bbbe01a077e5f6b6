package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/service"
)

// otherAgent is a delivery agent that local passes recipients to.
type otherAgent struct {
	mu      sync.Mutex
	got     []string
	content string
	reply   envelope.Outcome
}

func (o *otherAgent) answer(r envelope.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reply = r
}

func (o *otherAgent) start(f *fixture, name string) (stop func()) {
	l, err := net.Listen("unix", "private/"+name)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	env := &service.Env{Config: f.config, Log: maillog.New("posthaste/"+name, f.log), Service: name}
	var mu sync.Mutex
	var conns []net.Conn
	go serveAll(l, func(c net.Conn) {
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
		delivery.Serve(ctx, env, c, func(_ context.Context, j *delivery.Job) {
			b := make([]byte, j.ContentLength)
			j.Content().ReadAt(b, 0)
			o.mu.Lock()
			o.got = append(o.got, j.Nexthop+" "+j.Recipients[0].Address)
			o.content = string(b)
			r := o.reply
			o.mu.Unlock()
			j.Report(0, r, time.Time{}, 0)
		})
	})
	return func() {
		cancel()
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	}
}

func TestMailboxTransport(t *testing.T) {
	f := newFixture(t, "mailbox_transport = other:unix:private/dovecot\nmailbox_transport_maps = inline:{bob=other:bobs}\nfallback_transport = other", "")
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.3.0", "mail transport unavailable")
	o := &otherAgent{reply: envelope.Outcome{Status: envelope.Sent, DSN: "2.1.5", Relay: "mx.test[private/dovecot]", Reason: "250 2.1.5 saved"}}
	stop := o.start(f, "other")
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.1.5", "250 2.1.5 saved")
	f.want(f.one(simple, "bob+x@mx.test"), envelope.Sent, "2.1.5", "")
	// The transport may know people who have no account.
	f.want(f.one(simple, "zoe@mx.test"), envelope.Sent, "2.1.5", "")
	o.mu.Lock()
	got, content := strings.Join(o.got, "|"), o.content
	o.mu.Unlock()
	if want := "unix:private/dovecot alice@mx.test|bobs bob+x@mx.test|unix:private/dovecot zoe@mx.test"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if content != simple {
		t.Errorf("content %q", content)
	}
	if n := strings.Count(f.log.String(), "(250 2.1.5 saved)"); n != 3 {
		t.Errorf("%d lines for three deliveries:\n%s", n, f.log)
	}
	o.answer(envelope.Outcome{Status: envelope.Bounced, DSN: "5.2.2", Reason: "full"})
	f.want(f.one(simple, "alice@mx.test"), envelope.Bounced, "5.2.2", "full")
	// A loop is found before the mail goes on, and a .forward file comes first.
	f.want(f.one("Delivered-To: alice@mx.test\r\n\r\n", "alice@mx.test"), envelope.Bounced, "5.4.6", "mail forwarding loop")
	write(t, f.dir+"/home/alice/.forward", "x@other.example\n", 0o644, f.uids["alice"])
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	// The agent goes away and comes back.
	stop()
	o.answer(envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Reason: "ok"})
	if x := f.one(simple, "bob@mx.test"); x.Status != envelope.Deferred {
		t.Errorf("without an agent: %+v", x)
	}
	stop = o.start(f, "other")
	defer stop()
	f.want(f.one(simple, "bob@mx.test"), envelope.Sent, "2.0.0", "ok")
}

func TestFallbackTransport(t *testing.T) {
	f := newFixture(t, "fallback_transport_maps = inline:{zoe=other:z}", "")
	o := &otherAgent{reply: envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Reason: "ok"}}
	defer o.start(f, "other")()
	f.want(f.one(simple, "zoe@mx.test"), envelope.Sent, "2.0.0", "ok")
	f.want(f.one(simple, "yan@mx.test"), envelope.Bounced, "5.1.1", "unknown user")
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "maildir")
}
