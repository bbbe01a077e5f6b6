// Pipe delivers mail to an external command.
//
// Usage, in master.cf:
//
//	name unix - n n - - pipe flags=F user=vmail argv=/path/to/command -f ${sender} ${recipient}
//
// # Description
//
// Pipe runs a command for each delivery, with the message on its standard input,
// and takes its exit status for the outcome.
//
// # Attributes
//
// user=NAME[:GROUP] (required) is the command's identity, never root's and never
// the mail system's. argv=COMMAND ARGUMENTS (required, last) is executed without
// a shell. directory=PATH is the working directory, else the queue directory.
// eol=STRING ends lines (default \n; \r\n with C escapes). null_sender=STRING
// replaces the null sender in $sender and the From_ line (default MAILER-DAEMON;
// it may be empty). size=NUMBER[kmg] bounces larger messages (5.2.3). chroot= is
// refused.
//
// flags= is a set of B (blank line at the end), D (Delivered-To:, and bounce
// messages that have it for this recipient), F (From_ line), O (X-Original-To:),
// R (Return-Path:), X (final delivery, for success reports), . (double leading
// dots), > (quote lines that begin with "From "), h and u (domain, local part in
// lower case), q (quote addresses as in SMTP). D and O need
// NAME_destination_recipient_limit = 1.
//
// # Macros
//
// An argument with $recipient, $original_recipient, $user, $extension, $mailbox
// or $domain appears once for each recipient. Others: $nexthop, $sender, $size,
// $queue_id, $envid, $client_address, $client_hostname, $client_port,
// $client_protocol, $client_helo, $sasl_method, $sasl_username, $sasl_sender.
// ${name}, ${name?text} and ${name:text} work as in main.cf. An unknown name is
// an error at start.
//
// # Outcome
//
// The exit status is that of sysexits.h; output that begins with an enhanced
// status code takes its place; a command that dies of a signal is tried again.
// After NAME_time_limit (default command_time_limit) the command and its
// children are killed and the message bounces. Up to 4096 bytes of output go
// into the log and the report. All recipients of a request share the outcome.
//
// # Security
//
// As root, pipe is a dispatcher that reads no message: a worker process with all
// identities of user= feeds the command. As an ordinary user the command runs as
// that user, whatever user= says, with a warning.
//
// # Diagnostics
//
// Each recipient gets a line with "to=" in the log, relay= the service's name:
// "delivered via NAME service (output)", or the trouble.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/config"
	"posthaste/pkg/delivery"
	"posthaste/pkg/dsncode"
	"posthaste/pkg/envelope"
	"posthaste/pkg/mailcopy"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/privs"
	"posthaste/pkg/service"
	"posthaste/pkg/spawn"
	"posthaste/pkg/userdb"
	"posthaste/pkg/wire"
	"posthaste/pkg/worker"
)

func main() {
	if worker.Requested() {
		if err := worker.Serve(openWorker); err != nil {
			fmt.Fprintf(os.Stderr, "pipe worker: %v\n", err)
			os.Exit(1)
		}
		return
	}
	var p *piper
	service.Main(service.Spec{
		Name:      "pipe",
		TakesArgs: true,
		Before: func(env *service.Env) (err error) {
			p, err = newPiper(env)
			return err
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) { delivery.Serve(ctx, env, c, p.deliver) },
	})
}

// piper serves one master.cf entry.
type piper struct {
	attrs   *attrs
	log     *maillog.Logger
	service string
	limit   time.Duration
	export  []string
	delims  string
	id      worker.Identity
	pool    *worker.Pool // nil as an ordinary user
}

func newPiper(env *service.Env) (*piper, error) {
	a, err := parseAttrs(env.Args)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", env.Service, err)
	}
	cfg := env.Config
	p := &piper{attrs: a, log: env.Log, service: env.Service, limit: params.CommandTimeLimit.In(cfg),
		export: spawn.Environ(params.ExportEnvironment.List(cfg)), delims: params.RecipientDelimiter.In(cfg)}
	//params:use transport_time_limit
	if v := cfg.Get(env.Service + "_time_limit"); v != "" {
		if p.limit, err = config.ParseTime(v, 's'); err != nil || p.limit < time.Second {
			return nil, fmt.Errorf("%s_time_limit = %s: bad time value", env.Service, v)
		}
	}
	if err := p.identify(cfg); err != nil {
		return nil, fmt.Errorf("service %s: %w", env.Service, err)
	}
	return p, nil
}

// identify looks user= up.
func (p *piper) identify(cfg *config.Config) error {
	users := userdb.New("", "")
	u, err := users.Lookup(p.attrs.User)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		if u == nil || int(u.UID) != os.Geteuid() {
			p.log.Warningf("user=%s is ignored: not being root, commands run as uid %d", p.attrs.User, os.Geteuid())
		}
		return nil
	}
	if u == nil {
		return fmt.Errorf("unknown username: %s", p.attrs.User)
	}
	gid, groups := u.GID, []uint32(nil)
	if p.attrs.Group != "" {
		g, ok, err := users.LookupGroup(p.attrs.Group)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("unknown group: %s", p.attrs.Group)
		}
		gid, groups = g, []uint32{g}
	} else if groups, err = users.Groups(u); err != nil {
		return err
	}
	if u.UID == 0 {
		return errors.New("user= specifies root privileges")
	}
	if gid == 0 {
		return errors.New("user= specifies privileged group id 0")
	}
	ids := privs.Users{Base: params.RoleUidBase.In(cfg), Owner: params.MailOwner.In(cfg)}
	if o, err := ids.IDs(privs.Queue); err == nil {
		if u.UID == uint32(o.UID) {
			return fmt.Errorf("user= specifies the mail system owner %s", p.attrs.User)
		}
		if gid == uint32(o.GID) {
			return fmt.Errorf("user= specifies the mail system owner's group id %d", gid)
		}
	}
	if g, err := privs.LookupGroup(params.SetgidGroup.In(cfg)); err == nil && gid == uint32(g) {
		return fmt.Errorf("user= specifies the mail system's group id %d (setgid_group)", gid)
	}
	p.id = worker.Identity{UID: u.UID, GID: gid, Groups: groups}
	p.pool = worker.New(worker.Options{Program: "pipe", Env: workerEnv(), Log: p.log, PerUser: 1000})
	return nil
}

func workerEnv() []string {
	env := []string{"PATH=/usr/bin:/bin", "GOMAXPROCS=2"}
	if v, ok := os.LookupEnv(clock.Variable); ok {
		env = append(env, clock.Variable+"="+v)
	}
	if v, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+v)
	}
	return env
}

// deliver serves one request of qmgr: one run of the command.
func (p *piper) deliver(ctx context.Context, j *delivery.Job) {
	o := p.outcome(ctx, j)
	if ctx.Err() != nil {
		return
	}
	o.Relay = p.service
	for i := range j.Recipients {
		j.Report(i, o, time.Time{}, 0)
	}
}

func (p *piper) outcome(ctx context.Context, j *delivery.Job) envelope.Outcome {
	a := p.attrs
	failed := func(dsn, text string) envelope.Outcome {
		o := envelope.Outcome{Status: envelope.Bounced, DSN: dsn, Reason: text}
		if strings.HasPrefix(dsn, "4") {
			o.Status = envelope.Deferred
		} else if j.Message.VerifyOnly {
			o.Status = envelope.Undeliverable
		}
		return o
	}
	config := func(format string, args ...any) envelope.Outcome {
		p.log.Warningf(j.Message.ID+": "+format, args...)
		return failed("4.3.5", "mail system configuration error")
	}
	if len(j.Recipients) > 1 && a.Flags&(mailcopy.DeliveredTo|mailcopy.OrigTo) != 0 {
		return config("pipe flags D and O require %s_destination_recipient_limit = 1", p.service)
	}
	if a.Size != 0 && j.ContentLength > a.Size {
		return failed("5.2.3", "message too large")
	}
	if j.Message.VerifyOnly {
		return envelope.Outcome{Status: envelope.Deliverable, DSN: "2.0.0", Reason: "delivers to command: " + a.Argv[0]}
	}
	argv, err := expandArgv(a, p.delims, j.Request)
	if err != nil {
		return config("%v", err)
	}
	rc := &j.Recipients[0]
	o := &order{Argv: argv, Env: p.export, Dir: a.Dir, EOL: a.EOL, Flags: a.Flags, Sender: address.Quote(a.sender(j.Request)),
		OrigTo: address.Quote(rc.Orig), DeliveredTo: address.Quote(rc.Address), Limit: int64(p.limit), Offset: j.ContentOffset, Length: j.ContentLength}
	if j.Message.Sender == "" {
		o.Sender = a.NullSender
	}
	if o.OrigTo == "" {
		o.OrigTo = o.DeliveredTo
	}
	if a.Flags&mailcopy.DeliveredTo != 0 {
		o.Loop = rc.Address
	}
	r, err := p.run(ctx, j, o)
	switch {
	case err != nil:
		p.log.Warningf("%s: %v", j.Message.ID, err)
		return failed("4.3.0", "delivery failed: no answer from the worker process")
	case r.DSN != "":
		out := failed(r.DSN, r.Text)
		if r.Diag != "" {
			out.DiagType, out.DiagText = "x-unix", r.Diag
		}
		return out
	}
	text := "delivered via " + p.service + " service"
	if s := strings.TrimSpace(r.Text); s != "" {
		text += " (" + s[:min(len(s), 100)] + ")"
	}
	out := envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Reason: text}
	if !a.Final {
		out.Action = delivery.Relayed
	}
	return out
}

// answer is how an order ended; Text is the command's output on success.
type answer struct{ DSN, Text, Diag string }

func (p *piper) run(ctx context.Context, j *delivery.Job, o *order) (*answer, error) {
	if p.pool == nil {
		return execute(ctx, o, j.ContentFile()), nil
	}
	b, err := p.pool.Call(ctx, p.id, o.encode(), int(j.ContentFile().Fd()))
	if err != nil {
		return nil, err
	}
	d := wire.NewDecoder(b)
	r := &answer{d.String(), d.String(), d.String()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if r.DSN != "" && dsncode.Valid(r.DSN) == 0 {
		return nil, wire.ErrMalformed
	}
	return r, nil
}

// execute runs the command with the message on its standard input.
func execute(ctx context.Context, o *order, file *os.File) *answer {
	content := func() *io.SectionReader { return io.NewSectionReader(file, o.Offset, o.Length) }
	if o.Loop != "" {
		found, err := looping(content(), o.Loop)
		if err != nil {
			return &answer{DSN: "4.3.0", Text: err.Error()}
		}
		if found {
			return &answer{DSN: "5.4.6", Text: "mail forwarding loop for " + o.Loop}
		}
	}
	env := mailcopy.Envelope{Sender: o.Sender, OrigTo: o.OrigTo, DeliveredTo: o.DeliveredTo, When: clock.Now()}
	head := mailcopy.AppendHeader(nil, &env, o.Flags, o.EOL)
	res, err := spawn.Run(ctx, &spawn.Command{Argv: o.Argv, Dir: o.Dir, Env: o.Env, Limit: time.Duration(o.Limit),
		Input: func(w io.Writer) error {
			_, err := mailcopy.Copy(w, content(), head, o.Flags, o.EOL)
			return err
		}})
	if err != nil {
		return &answer{DSN: "4.3.0", Text: "Delivery failed: " + err.Error()}
	}
	if e := res.Err(); e != nil {
		return &answer{e.DSN, e.Text, e.Diag}
	}
	return &answer{Text: res.Output}
}

func looping(r io.Reader, rcpt string) (bool, error) {
	lists, err := mailcopy.Delivered(r)
	if err != nil {
		return false, err
	}
	want := address.Fold(rcpt)
	for _, l := range lists {
		for _, a := range address.ExtractList([]byte(l)) {
			if address.Fold(a) == want {
				return true, nil
			}
		}
	}
	return false, nil
}

// openWorker makes the handler of a worker process. Set-id programs have to
// work in its commands (sendmail as a filter's way back), so it may not forgo
// new privileges.
func openWorker([]byte) (worker.Handler, bool, error) {
	return func(ctx context.Context, payload []byte, files []*os.File) []byte {
		o, err := decodeOrder(payload)
		r := &answer{DSN: "4.3.0", Text: "delivery failed: malformed order"}
		if err == nil && len(files) > 0 {
			r = execute(ctx, o, files[0])
		}
		var e wire.Encoder
		e.String(r.DSN)
		e.String(r.Text)
		e.String(r.Diag)
		return e.B
	}, false, nil
}
