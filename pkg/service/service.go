// Package service is the one skeleton of every daemon. It reads the
// configuration, opens the log, adopts the listeners that master passes, opens
// what the program needs while it still may, gives up privileges, closes the
// sandbox, serves each connection in a goroutine within the service's session
// limit, and drains and exits when master asks, when it has been idle for
// max_idle, when it has served max_use sessions or when master is gone.
package service

import (
	"context"
	"net"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/gopool"
	"posthaste/pkg/maillog"
	"posthaste/pkg/privs"
)

// Spec describes a daemon.
type Spec struct {
	// Name is the program's name: folder, binary, log tag and row of the
	// privilege table.
	Name string

	// Before runs with the rights that master has, before the sandbox: open
	// tables, keys and files here. After runs once the sandbox is closed.
	Before func(env *Env) error
	After  func(env *Env) error

	// Serve handles one accepted connection; it returns when the session is over.
	// ctx ends when the process must stop at once; Env.Draining tells that it
	// should stop taking new work. Serve need not close c.
	Serve func(ctx context.Context, env *Env, c net.Conn)

	// Session, in place of Serve, handles one authenticated connection; it
	// returns when the session is over and need not close the connection. Only
	// programs whose row in the privilege table says so have sessions.
	Session func(ctx context.Context, env *Env, s *Session)

	// Wakeup, if set, is called for each timed wakeup of master.cf and for each
	// connection of a trigger client. Calls do not overlap.
	Wakeup func(ctx context.Context, env *Env)

	// Run, if set, is started once after the sandbox is closed and may run as
	// long as the process; returning an error ends the process.
	Run func(ctx context.Context, env *Env) error

	// Drain, if set, is called once when the process begins to drain; the
	// process exits when Drain has returned and all sessions are over.
	Drain func(env *Env)

	// End, if set, is called before the process exits in good order, when all
	// sessions are over. It must not take long.
	End func(env *Env)

	// Shared daemons are asked by other programs over kept connections: maxproc,
	// which in Postfix counts their processes, does not limit them.
	Shared bool

	// Frugal programs run on one processor as long as that is enough. It is for
	// those whose work is in small pieces that seldom wait in system calls.
	Frugal bool

	// TakesArgs says that the command in master.cf may have arguments other than
	// options.
	TakesArgs bool

	// Solitary daemons run in one process at a time: the successor starts when the
	// predecessor has left, or has called Env.ReleaseService (qmgr).
	Solitary bool
}

// Env is what a daemon knows of its surroundings. The working directory is
// the queue directory (also inside a chroot): sockets are dialled as
// "private/bounce", "public/cleanup".
type Env struct {
	Config  *config.Config
	Log     *maillog.Logger
	Program string   // "smtpd"
	Service string   // master.cf name: "smtp", "submission"
	Type    string   // inet, unix, pass
	Args    []string // arguments of the master.cf command other than -o and -v
	Limit   int      // most sessions at a time (maxproc); 0 means no limit
	Root    bool     // master runs as root: identities differ
	Stdio   bool     // run by hand with -S: one session on standard input and output

	life *lifecycle
	as   *privs.IDs
	pool gopool.Pool
	gov  *governor // of a frugal program
}

// idleGoroutines is how many goroutines a daemon keeps for the next sessions
// and requests.
const idleGoroutines = 16

// Go calls f in a goroutine of its own, one that is used again where there is
// one. It is for requests that share a connection; sessions have theirs.
func (e *Env) Go(f func()) { e.Working(); e.pool.Go(f) }

// Working tells that there is something to do. New sessions and Go tell that, too;
// it is for sessions that go on.
func (e *Env) Working() { e.gov.working() }

// Blocks tells that the process's system calls may take long, as on a network file
// system: a frugal program gets more processors for good.
func (e *Env) Blocks() { e.gov.blocks() }

// Draining is closed when the process should finish: sessions end at the next
// safe point (smtpd between messages), servers close idle connections.
func (e *Env) Draining() <-chan struct{} {
	if e.life == nil {
		return nil
	}
	return e.life.draining
}

// Waiting tells that the calling session is a kept connection with nothing to
// do; call the result when the next request has come. A process whose sessions
// all wait is idle and leaves after max_idle.
func (e *Env) Waiting() (busy func()) {
	if e.life == nil {
		return func() {}
	}
	e.life.setWaiting(1)
	return func() { e.life.setWaiting(-1) }
}

// StayFor makes an idle process stay for that long at least, should max_idle be
// shorter; for Before.
func (e *Env) StayFor(d time.Duration) {
	if e.life != nil {
		e.life.maxIdle = max(e.life.maxIdle, d)
	}
}

// RunAs makes the process take another identity than its row in the privilege
// table says; only for Before, and only programs whose row is root's may ask
// (virtual with one static uid).
func (e *Env) RunAs(ids privs.IDs) { e.as = &ids }

// RequestDrain makes the process leave in good order, as on a reload: master
// starts the successor first. Used when a table changed that the sandbox
// cannot reopen.
func (e *Env) RequestDrain(reason string) { e.requestDrain(reason) }

// ReleaseService lets the successor of a solitary process start, although this
// process has not left yet. What the two of them could fall out about must be
// locked by then.
func (e *Env) ReleaseService() {
	if e.life != nil && e.life.r.lock != nil {
		e.life.r.lock.Close()
	}
}

// Main runs the daemon; it does not return.
func Main(s Spec) { run(s) }
