package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/delivery"
	"posthaste/pkg/dsncode"
	"posthaste/pkg/envelope"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mbox"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/route"
	"posthaste/pkg/service"
	"posthaste/pkg/userdb"
	"posthaste/pkg/worker"
)

// router is what local needs of pkg/route.
type router interface {
	Rewrite(addr string, local bool) string
	Resolve(sender, rcpt string) (route.Route, error)
	Delims() string
}

// dispatcher decides what becomes of each recipient and has workers do it. It
// reads neither messages nor users' files.
type dispatcher struct {
	set     *settings
	log     *maillog.Logger
	service string // our transport's name: "local"
	users   *userdb.DB
	route   router
	submit  *cleanup.Client
	pass    *passer
	pool    *worker.Pool // nil as an ordinary user
	self    *agent       // as an ordinary user
	euid    uint32
}

// newDispatcher reads parameters and tables; it runs before the sandbox.
func newDispatcher(env *service.Env, users *userdb.DB) (*dispatcher, error) {
	le := &lookup.Env{Config: env.Config, Log: env.Log, Stale: func(t string) { env.RequestDrain("table " + t + " has changed") }}
	set, err := load(env.Config, le, users)
	if err != nil {
		return nil, err
	}
	r, err := route.New(env.Config, le)
	if err != nil {
		return nil, err
	}
	d := &dispatcher{
		set: set, log: env.Log, service: env.Service, users: users, route: r,
		submit: cleanup.NewClient(cleanup.Service), pass: newPasser("private", env.Log), euid: uint32(os.Geteuid()),
	}
	if params.Biff.In(env.Config) {
		env.Log.Debugf("biff = yes has no effect: comsat is not notified of new mail")
	}
	if d.euid == 0 {
		d.pool = worker.New(worker.Options{Program: "local", Hello: set.agent.encode(), Env: workerEnv(), Log: env.Log})
	} else {
		d.self = &agent{conf: &set.agent}
	}
	return d, nil
}

// workerEnv is a worker's own environment; commands get theirs with the task.
func workerEnv() []string {
	env := []string{"PATH=/usr/bin:/bin", "GOMAXPROCS=2"}
	for _, n := range []string{"TZ", "LANG", "POSTHASTE_CLOCK_OFFSET"} {
		if v, ok := os.LookupEnv(n); ok {
			env = append(env, n+"="+v)
		}
	}
	return env
}

func (d *dispatcher) serve(ctx context.Context, env *service.Env, c net.Conn) {
	delivery.Serve(ctx, env, c, d.deliver)
}

func (d *dispatcher) close() {
	if d.pool != nil {
		d.pool.Close()
	}
	d.pass.close()
	d.submit.Close()
}

// deliver serves one request of qmgr.
func (d *dispatcher) deliver(ctx context.Context, j *delivery.Job) {
	for i := range j.Recipients {
		if ctx.Err() != nil {
			return
		}
		x := newExpansion(d, j, i)
		x.run(ctx)
		if ctx.Err() == nil {
			x.report()
		}
	}
}

// rights are whose rights a destination is reached with. nil means those of
// default_privs.
type rights struct {
	user *userdb.User
	id   worker.Identity
}

// rightsOf returns the rights of a user, with all groups.
func (d *dispatcher) rightsOf(u *userdb.User) (*rights, error) {
	g, err := d.users.Groups(u)
	if err != nil {
		return nil, err
	}
	return &rights{user: u, id: worker.Identity{UID: u.UID, GID: u.GID, Groups: g}}, nil
}

func (r *rights) uid() uint32 {
	if r == nil {
		return 0
	}
	return r.id.UID
}

// perform has a task done with the given rights. A user with uid 0 gets a
// worker of his own for his mailbox and .forward file, never for a command or a
// file that somebody listed: those run with default_privs.
func (d *dispatcher) perform(ctx context.Context, j *delivery.Job, r *rights, t *task, spool *os.File) *reply {
	id := d.set.defaultPrivs
	if r != nil && (r.id.UID != 0 || t.Kind == taskUser && t.Plan != planCommand) {
		id = r.id
	}
	t.Offset, t.Length = j.ContentOffset, j.ContentLength
	t.QueueID, t.Arrival = j.Message.ID, j.Message.Arrival
	var rep *reply
	if d.self != nil {
		rep = d.self.do(ctx, &message{task: t, file: j.ContentFile(), spool: spool})
	} else {
		fds := []int{int(j.ContentFile().Fd())}
		if spool != nil {
			fds = append(fds, int(spool.Fd()))
		}
		b, err := d.pool.Call(ctx, id, t.encode(), fds...)
		if err == nil {
			rep, err = decodeReply(b)
		}
		if err != nil {
			d.log.Warningf("%s: worker for uid %d: %v", j.Message.ID, id.UID, err)
			rep = &reply{DSN: "4.3.0", Text: "local delivery failed: " + workerTrouble(err)}
		}
	}
	for _, w := range rep.Warnings {
		d.log.Warningf("%s: %s", j.Message.ID, w)
	}
	return rep
}

func workerTrouble(err error) string {
	if errors.Is(err, worker.ErrDied) {
		return "the worker process ended"
	}
	return "no worker process"
}

// spoolPlan says how the mailbox of u in mail_spool_directory is written: by
// the user himself if anyone may write there, else opened by the dispatcher. A
// directory of group mail keeps its mailboxes in that group.
func (d *dispatcher) spoolPlan(u *userdb.User) (plan planKind, gid uint32) {
	var st unix.Stat_t
	if d.euid != 0 || unix.Stat(d.set.spool, &st) != nil || st.Mode&unix.S_IWOTH != 0 {
		return planMbox, 0
	}
	if st.Mode&unix.S_IWGRP != 0 {
		return planSpool, st.Gid
	}
	return planSpool, u.GID
}

// openSpool opens a system mailbox for the user's worker: dot-locked, created
// with the right owner, checked not to be a link to something else.
func (d *dispatcher) openSpool(ctx context.Context, u *userdb.User, path string, gid uint32) (*mbox.File, error) {
	t := mbox.NewTarget(path, d.set.agent.Lock)
	t.ChownUID, t.ChownGID = int(u.UID), int(gid)
	if d.set.strictOwner {
		t.Owner = int(u.UID)
	}
	f, err := mbox.Open(ctx, t)
	if err != nil {
		return nil, err
	}
	if f.Created {
		dir, err := os.Open(d.set.spool)
		if err == nil {
			err = dir.Sync()
			dir.Close()
		}
		if err != nil {
			f.Release()
			return nil, dsncode.As(err, "4.2.0")
		}
	}
	return f, nil
}

// passRecipient gives a recipient to another transport and returns what became
// of it. The other agent has logged it.
func (d *dispatcher) passRecipient(ctx context.Context, j *delivery.Job, spec string, r envelope.Recipient) envelope.Outcome {
	transport, nexthop, _ := strings.Cut(spec, ":")
	if nexthop == "" {
		nexthop = j.Nexthop
	}
	o, err := d.pass.deliver(ctx, j, transport, nexthop, r)
	if err != nil {
		d.log.Warningf("%s: transport %s: %v", j.Message.ID, transport, err)
		return envelope.Outcome{Status: envelope.Deferred, DSN: "4.3.0", Relay: "none", Reason: "mail transport unavailable", When: time.Time{}}
	}
	return *o
}
