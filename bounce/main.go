// Bounce tells senders and postmasters what became of mail.
//
// # Usage
//
//	bounce unix - - n - 0 bounce
//
// Bounce is started by master(8) from this line of master.cf.
//
// # Description
//
// Qmgr(8) asks for a report when recipients have failed for good, when a
// message is delayed (delay_warning_time), when a sender asked for reports of
// success (NOTIFY=SUCCESS), and for sendmail -v and -bv. Bounce writes it as a
// multipart/report message (RFC 3464; RFC 6533 for internationalized mail) from
// the null sender and hands it to cleanup(8). It answers when the report is
// durable, and only then the original may leave the queue.
//
// The report honours what the sender asked for (RFC 3461): NOTIFY decides which
// recipients it names, RET how much of the message it returns, ENVID and ORCPT
// are quoted. A message longer than bounce_size_limit is returned as its
// headers.
//
// The null sender never gets a report. If notify_classes has 2bounce,
// 2bounce_notice_recipient is told instead; if it has bounce or delay,
// bounce_notice_recipient or delay_notice_recipient get copies without the
// message's body. These come from double_bounce_sender, about whose mail there
// are no reports at all. Notices of the classes resource, software, policy and
// protocol are smtpd's to send.
//
// What became of a probe of verify(8) is told to that program.
//
// # Security
//
// Bounce runs under the queue's identity, without Internet sockets. It gets
// a read-only descriptor of the message with each request, copies from it and
// does not interpret it. It dials public/cleanup and private/verify alone.
//
// # Diagnostics
//
// Each report is logged with the queue IDs of the original and of the report.
package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/proto/verify"
	"posthaste/pkg/service"
	"posthaste/pkg/wire"
)

func main() {
	var s *server
	service.Main(service.Spec{
		Name: "bounce",
		Before: func(env *service.Env) error {
			set, err := readSettings(env.Config)
			if err != nil {
				return err
			}
			tell := func(u *verify.Update) error { return verify.Tell(context.Background(), "private/"+set.verify, u) }
			s = &server{set: set, log: env.Log, tell: tell, submit: clientSubmit(cleanup.NewClient("public/" + params.CleanupServiceName.In(env.Config)))}
			return nil
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) { s.serve(ctx, c, env.Draining(), env.Waiting) },
	})
}

// settings are the parameters, read once at start.
type settings struct {
	host         string // myhostname
	mailName     string
	origin       string // completes addresses without a domain
	classes      map[string]bool
	sizeLimit    int64
	doubleBounce string
	bounceTo     string
	doubleTo     string
	delayTo      string
	threaded     bool
	verify       string // address_verify_service_name
}

func readSettings(cfg *config.Config) (settings, error) {
	s := settings{
		host:         params.Myhostname.In(cfg),
		mailName:     params.MailName.In(cfg),
		origin:       params.Myorigin.In(cfg),
		classes:      map[string]bool{},
		sizeLimit:    params.BounceSizeLimit.In64(cfg),
		doubleBounce: params.DoubleBounceSender.In(cfg),
		bounceTo:     params.BounceNoticeRecipient.In(cfg),
		doubleTo:     params.TwoBounceNoticeRecipient.In(cfg),
		delayTo:      params.DelayNoticeRecipient.In(cfg),
		threaded:     params.EnableThreadedBounces.In(cfg),
		verify:       params.AddressVerifyServiceName.In(cfg),
	}
	for _, c := range params.NotifyClasses.List(cfg) {
		s.classes[strings.ToLower(c)] = true
	}
	if strings.HasPrefix(s.origin, "/") { // a file, as Debian's /etc/mailname
		b, err := os.ReadFile(s.origin)
		if err != nil {
			return s, err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		s.origin = strings.TrimSpace(line)
	}
	return s, nil
}

// server answers qmgr.
type server struct {
	set    settings
	log    *maillog.Logger
	tell   func(u *verify.Update) error
	submit func(b *cleanup.Begin, to string, write func(io.Writer) error) error
}

// maxJobs bounds the reports being made for one client.
const maxJobs = 32

// serve answers one connection.
func (s *server) serve(ctx context.Context, nc net.Conn, draining <-chan struct{}, waiting func() func()) {
	c, err := ipc.Accept(nc, bounce.Protocol, 10*time.Second)
	if err != nil {
		s.log.Warningf("bounce service: %v", err)
		return
	}
	var jobs sync.WaitGroup
	defer c.Close()
	defer jobs.Wait()
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		select {
		case <-ctx.Done():
		case <-draining:
		case <-gone:
			return
		}
		c.SetReadDeadline(time.Now())
	}()
	slots := make(chan struct{}, maxJobs)
	for {
		busy := waiting()
		typ, p, err := c.ReadFrame()
		busy()
		if err != nil {
			var ne net.Error
			if !errors.Is(err, io.EOF) && !(errors.As(err, &ne) && ne.Timeout()) {
				s.log.Warningf("bounce service: %v", err)
			}
			return
		}
		job, err := s.job(c, typ, p)
		if err != nil {
			s.log.Warningf("bounce service: %v", err)
			return
		}
		slots <- struct{}{}
		jobs.Go(func() {
			defer func() { <-slots }()
			job()
		})
	}
}

// job decodes one frame and returns what is to be done for it.
func (s *server) job(c *ipc.Conn, typ byte, p []byte) (func(), error) {
	answer := func(seq uint64, err error) {
		r := bounce.Result{Seq: seq, OK: err == nil}
		if err != nil {
			r.Text = err.Error()
		}
		var e wire.Encoder
		r.Encode(&e)
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		c.WriteFrame(bounce.TypeResult, e.B) // qmgr sees a lost connection by itself
	}
	switch typ {
	case bounce.TypeRequest:
		fd, err := c.TakeFD()
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "queue file")
		r, err := bounce.DecodeRequest(p)
		if err != nil {
			f.Close()
			return nil, err
		}
		return func() {
			defer f.Close()
			answer(r.Seq, s.report(r, f))
		}, nil
	}
	return nil, ipc.ErrProtocol
}
