package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/wire"
)

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(_ maillog.Severity, _ string, _ int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.WriteString(text + "\n")
}

// sent is a message that bounce handed to cleanup.
type sentMail struct {
	from, to, text string
	begin          *cleanup.Begin
}

// outbox is what was handed to cleanup.
type outbox struct {
	mu sync.Mutex
	l  []sentMail
}

func (o *outbox) all() []sentMail {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.l
}

func newServer(classes ...string) (*server, *outbox, *lines) {
	log := &lines{}
	mails := &outbox{}
	s := &server{log: maillog.New("postfix/bounce", log)}
	s.set = settings{host: "mx.here.example", mailName: "Postfix", origin: "here.example", classes: map[string]bool{}, sizeLimit: 100,
		doubleBounce: "double-bounce", bounceTo: "postmaster", doubleTo: "double", delayTo: "delays@here.example"}
	for _, c := range classes {
		s.set.classes[c] = true
	}
	s.submit = func(b *cleanup.Begin, to string, write func(io.Writer) error) error {
		var w bytes.Buffer
		if err := write(&w); err != nil {
			return err
		}
		mails.mu.Lock()
		defer mails.mu.Unlock()
		mails.l = append(mails.l, sentMail{b.Message.Sender, to, w.String(), b})
		return nil
	}
	return s, mails, log
}

const content = "Subject: hello\r\nMessage-Id: <1@x>\r\n\r\nthe body\r\n"

func request(kind bounce.Kind, sender string, rcpts ...bounce.Recipient) *bounce.Request {
	return &bounce.Request{Kind: kind, Message: envelope.Message{ID: "4XkP1Q2n3Rz5yJ", Sender: sender, Arrival: time.Unix(1e9, 0)},
		ContentLength: int64(len(content)), Recipients: rcpts}
}

func rcpt(addr string, n envelope.Notify, flags envelope.RecipientFlag) bounce.Recipient {
	return bounce.Recipient{Recipient: envelope.Recipient{Address: addr, Notify: n, Flags: flags},
		Outcome: envelope.Outcome{Status: envelope.Bounced, DSN: "5.1.1", Reason: "unknown user"}}
}

func TestWhoIsTold(t *testing.T) {
	const me = "anna@sender.example"
	plain := rcpt("p@x.example", 0, 0)
	for _, c := range []struct {
		name    string
		classes []string
		req     *bounce.Request
		want    string // from>to:named recipients
		log     string
	}{
		{"failure", nil, request(bounce.Failure, me, plain), ">anna@sender.example: p", "sender non-delivery notification: "},
		{"failure, never", nil, request(bounce.Failure, me, rcpt("n@x.example", envelope.NotifyNever, 0)), "", ""},
		{"failure, only success wanted", nil, request(bounce.Failure, me, rcpt("n@x.example", envelope.NotifySuccess, 0)), "", ""},
		{"failure, one of three wants it", nil, request(bounce.Failure, me, rcpt("n@x.example", envelope.NotifyNever, 0), rcpt("f@x.example", envelope.NotifyFailure, 0), rcpt("i@x.example", 0, envelope.Implicit)), ">anna@sender.example: f", ""},
		{"failure, postmaster copy", []string{"bounce"}, request(bounce.Failure, me, plain), ">anna@sender.example: p; double-bounce@mx.here.example>postmaster@here.example: p", "postmaster non-delivery notification: "},
		{"delay", nil, request(bounce.Delay, me, plain), ">anna@sender.example: p", "sender delay notification: "},
		{"delay, failures only", nil, request(bounce.Delay, me, rcpt("f@x.example", envelope.NotifyFailure, 0)), "", ""},
		{"delay, postmaster copy", []string{"delay"}, request(bounce.Delay, me, rcpt("n@x.example", envelope.NotifyNever, 0)), "double-bounce@mx.here.example>delays@here.example: n", "postmaster delay notification: "},
		{"success", nil, request(bounce.Success, me, rcpt("s@x.example", envelope.NotifySuccess, 0)), ">anna@sender.example: s", "sender delivery status notification: "},
		{"null sender", nil, request(bounce.Failure, "", plain), "", ""},
		{"null sender, 2bounce", []string{"2bounce"}, request(bounce.Failure, "", plain), "double-bounce@mx.here.example>double@here.example: p", "postmaster non-delivery notification: "},
		{"null sender, delay", []string{"2bounce", "delay", "bounce"}, request(bounce.Delay, "", plain), "", ""},
		{"double bounce", []string{"2bounce", "bounce"}, request(bounce.Failure, "double-bounce@mx.here.example", plain), "", "warning: 4XkP1Q2n3Rz5yJ: undeliverable postmaster notification discarded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, mails, log := newServer(c.classes...)
			if err := s.report(c.req, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range mails.all() {
				names := ""
				for _, n := range "psfni" {
					if strings.Contains(m.text, fmt.Sprintf("rfc822; %c@x.example\r\n", n)) {
						names += " " + string(n)
					}
				}
				got = append(got, m.from+">"+m.to+":"+names)
			}
			if g := strings.Join(got, "; "); g != c.want {
				t.Errorf("sent %q, want %q", g, c.want)
			}
			if !strings.Contains(log.b.String(), c.log) || c.want == "" && c.log == "" && log.b.Len() > 0 {
				t.Errorf("log %q, want %q", log.b.String(), c.log)
			}
		})
	}
}

func TestHowMuchIsReturned(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  bounce.Kind
		ret   string
		limit int64
		body  bool
	}{
		{"small failure", bounce.Failure, "", 100, true},
		{"RET=FULL", bounce.Failure, "FULL", 100, true},
		{"RET=HDRS", bounce.Failure, "HDRS", 100, false},
		{"above bounce_size_limit", bounce.Failure, "FULL", 10, false},
		{"delay", bounce.Delay, "FULL", 100, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, mails, _ := newServer()
			s.set.sizeLimit = c.limit
			r := request(c.kind, "a@b.example", rcpt("p@x.example", 0, 0))
			r.Message.Ret = c.ret
			if err := s.report(r, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			text := mails.all()[0].text
			if got := strings.Contains(text, "the body"); got != c.body {
				t.Errorf("body returned: %v, want %v", got, c.body)
			}
			if !strings.Contains(text, "Subject: hello\r\n") {
				t.Error("the header is not returned")
			}
		})
	}
}

func TestInternationalized(t *testing.T) {
	s, mails, _ := newServer()
	if err := s.report(request(bounce.Failure, "åsa@b.example", rcpt("p@x.example", 0, 0)), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	m := mails.all()[0]
	if !m.begin.Message.SMTPUTF8 || !strings.Contains(m.text, "message/global-delivery-status") {
		t.Errorf("SMTPUTF8 %v, want a report of RFC 6533", m.begin.Message.SMTPUTF8)
	}
}

func TestServe(t *testing.T) {
	s, mails, _ := newServer("software")
	var full atomic.Bool
	submit := s.submit
	s.submit = func(b *cleanup.Begin, to string, write func(io.Writer) error) error {
		if full.Load() {
			return errors.New("queue is full")
		}
		return submit(b, to, write)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drain := make(chan struct{})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(ctx, c, drain, func() func() { return func() {} })
		}
	}()
	file := filepath.Join(dir, "queuefile")
	os.WriteFile(file, []byte("head"+content), 0o600)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := bounce.NewClient(path, time.Minute)
	defer c.Close()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			r := request(bounce.Failure, "a@b.example", rcpt("p@x.example", 0, 0))
			r.ContentOffset = 4
			if err := c.Report(ctx, r, int(f.Fd())); err != nil {
				t.Errorf("Report = %v, want nil", err)
			}
		})
	}
	wg.Wait()
	if len(mails.all()) != 20 || !strings.Contains(mails.all()[7].text, "the body") {
		t.Errorf("%d reports, want 20 with the original", len(mails.all()))
	}
	full.Store(true)
	if err := c.Report(ctx, request(bounce.Failure, "a@b.example", rcpt("p@x.example", 0, 0)), int(f.Fd())); err == nil || err.Error() != "queue is full" {
		t.Errorf("Report when cleanup refuses = %v, want its reason", err)
	}
}

func FuzzBounceRequest(f *testing.F) {
	r := request(bounce.Failure, "a@b.example", rcpt("p@x.example", 0, 0))
	var e wire.Encoder
	r.Encode(&e)
	f.Add(e.B)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := bounce.DecodeRequest(b)
		if err != nil {
			return
		}
		s, _, _ := newServer("bounce", "2bounce", "delay")
		s.report(r, strings.NewReader(content))
	})
}
