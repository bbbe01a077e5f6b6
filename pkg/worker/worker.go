// Package worker keeps processes of other users for a program that runs as
// root: the program hands each of them requests with file descriptors, and
// they act with that user's rights alone. A worker is the same binary started
// again with the argument -worker.
//
// Changing the identity of single threads instead does not work in Go: threads
// and goroutines leak rights both ways, and the user can signal them. A worker
// has changed all its identities before it runs any code of ours, is not
// dumpable, and has nothing to do with the dispatcher but its socket. A user who
// kills his worker delays his own mail.
package worker

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
)

// Identity is who a worker is.
type Identity struct {
	UID, GID uint32
	Groups   []uint32
	Limit    int // most requests at a time; 0 means Options.PerUser
}

// Options describe the workers of one program. Zero values mean what the
// comments say.
type Options struct {
	Program string        // argv[0]: the program's name
	Hello   []byte        // settings; given to each worker before its first request
	Env     []string      // complete environment
	Max     int           // most workers at a time; 64
	PerUser int           // most requests that one worker serves at a time; 4
	Idle    time.Duration // an unused worker leaves after this; 45 s
	Log     *maillog.Logger
	// Exe is what to run; "" means this program. Args follow argv[0]; nil means
	// "-worker".
	Exe  string
	Args []string
}

// ErrDied is returned when a worker ended before it answered. Whether the
// request was carried out is unknown.
var ErrDied = errors.New("worker process ended before it answered")

// Pool is the dispatcher's side. It is safe for concurrent use.
type Pool struct {
	o      Options
	mu     sync.Mutex
	change sync.Cond
	byKey  map[key]*proc
	lru    *list.List // of *proc, least recently used first
	timer  *time.Timer
	closed bool
}

type key struct{ uid, gid uint32 }

type proc struct {
	key    key
	groups []uint32
	conn   *ipc.Conn
	cmd    *exec.Cmd
	elem   *list.Element
	busy   int
	idle   time.Time // since when

	mu      sync.Mutex
	seq     uint64
	waiting map[uint64]chan []byte
	dead    bool
}

// New returns a Pool; no worker is started before it is needed.
func New(o Options) *Pool {
	if o.Max == 0 {
		o.Max = 64
	}
	if o.PerUser == 0 {
		o.PerUser = 4
	}
	if o.Idle == 0 {
		o.Idle = 45 * time.Second
	}
	if o.Exe == "" {
		o.Exe = "/proc/self/exe"
	}
	if o.Args == nil {
		o.Args = []string{"-worker"}
	}
	p := &Pool{o: o, byKey: map[key]*proc{}, lru: list.New()}
	p.change.L = &p.mu
	return p
}

// frame types on the socketpair. Payloads of the last two start with a sequence
// number of 8 bytes; a request's goes on with the number of descriptors.
const (
	typeHello   = 1
	typeRequest = 2
	typeReply   = 3
)

// Call sends a request to a worker of that identity, starting one if there is
// none, and waits for the answer. The descriptors stay the caller's.
func (p *Pool) Call(ctx context.Context, id Identity, payload []byte, fds ...int) ([]byte, error) {
	w, err := p.acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	defer p.release(w)
	ch := make(chan []byte, 1)
	w.mu.Lock()
	if w.dead {
		w.mu.Unlock()
		return nil, ErrDied
	}
	w.seq++
	seq := w.seq
	w.waiting[seq] = ch
	w.mu.Unlock()
	msg := append(binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(payload)), seq), byte(len(fds)))
	msg = append(msg, payload...)
	if err := w.conn.WriteFrame(typeRequest, msg, fds...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDied, err)
	}
	select {
	case b, ok := <-ch:
		if !ok {
			return nil, ErrDied
		}
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// acquire finds or starts the worker and reserves a place in it.
func (p *Pool) acquire(ctx context.Context, id Identity) (*proc, error) {
	k := key{id.UID, id.GID}
	limit := p.o.PerUser
	if id.Limit > 0 {
		limit = id.Limit
	}
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		p.change.Broadcast()
		p.mu.Unlock()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.closed {
			return nil, errors.New("shutting down")
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if w := p.byKey[k]; w != nil {
			// Group membership has changed: a new process has to take over.
			if !slices.Equal(w.groups, id.Groups) {
				if w.busy == 0 {
					p.drop(w)
					continue
				}
			} else if w.busy < limit {
				w.busy++
				p.lru.MoveToBack(w.elem)
				return w, nil
			}
			p.change.Wait()
			continue
		}
		if p.lru.Len() >= p.o.Max && !p.evict() {
			p.change.Wait()
			continue
		}
		w, err := p.start(k, id.Groups)
		if err != nil {
			return nil, err
		}
		w.busy = 1
		return w, nil
	}
}

// evict ends the worker that was used the longest ago and is idle.
func (p *Pool) evict() bool {
	for e := p.lru.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*proc); w.busy == 0 {
			p.drop(w)
			return true
		}
	}
	return false
}

// drop forgets a worker and closes its socket, upon which it leaves.
func (p *Pool) drop(w *proc) {
	if p.byKey[w.key] == w {
		delete(p.byKey, w.key)
	}
	if w.elem != nil {
		p.lru.Remove(w.elem)
		w.elem = nil
	}
	w.conn.Close()
}

func (p *Pool) release(w *proc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.busy--
	w.idle = time.Now()
	if w.busy == 0 && w.elem != nil && (p.closed || w.isDead()) {
		p.drop(w)
	}
	p.change.Broadcast()
	if p.timer == nil && !p.closed {
		p.timer = time.AfterFunc(p.o.Idle, p.sweep)
	}
}

// sweep ends workers that had nothing to do for a while.
func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	now := time.Now()
	next := time.Duration(0)
	for e := p.lru.Front(); e != nil; {
		w := e.Value.(*proc)
		e = e.Next()
		if w.busy > 0 {
			continue
		}
		if left := p.o.Idle - now.Sub(w.idle); left <= 0 {
			p.drop(w)
		} else if next == 0 || left < next {
			next = left
		}
	}
	if next > 0 && !p.closed {
		p.timer = time.AfterFunc(next, p.sweep)
	}
}

// Close ends all workers once their requests are answered.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for e := p.lru.Front(); e != nil; {
		w := e.Value.(*proc)
		e = e.Next()
		if w.busy == 0 {
			p.drop(w)
		}
	}
	p.change.Broadcast()
}

// PIDs lists the processes of live workers by uid, for tests and the log.
func (p *Pool) PIDs() map[uint32]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[uint32]int{}
	for k, w := range p.byKey {
		out[k.uid] = w.cmd.Process.Pid
	}
	return out
}

func (p *Pool) start(k key, groups []uint32) (*proc, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "worker")
	defer theirs.Close()
	nc, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	conn := ipc.NewConn(nc.(*net.UnixConn))
	cmd := &exec.Cmd{
		Path:       p.o.Exe,
		Args:       append([]string{p.o.Program}, p.o.Args...),
		Env:        p.o.Env,
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{theirs},
		// A session of its own: a signal to master's process group is not for it.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: k.uid, Gid: k.gid, Groups: groups}
	} else if int(k.uid) != os.Geteuid() {
		conn.Close()
		return nil, fmt.Errorf("cannot become uid %d without being root", k.uid)
	}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start worker: %w", err)
	}
	w := &proc{key: k, groups: slices.Clone(groups), conn: conn, cmd: cmd, idle: time.Now(), waiting: map[uint64]chan []byte{}}
	if err := conn.WriteFrame(typeHello, p.o.Hello); err != nil {
		conn.Close()
		go cmd.Wait()
		return nil, fmt.Errorf("start worker: %w", err)
	}
	w.elem = p.lru.PushBack(w)
	p.byKey[k] = w
	go p.read(w)
	return w, nil
}

func (w *proc) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// read hands answers to those who wait for them until the worker is gone.
func (p *Pool) read(w *proc) {
	for {
		typ, b, err := w.conn.ReadFrame()
		if err != nil || typ != typeReply || len(b) < 8 {
			break
		}
		seq := binary.BigEndian.Uint64(b)
		w.mu.Lock()
		ch := w.waiting[seq]
		delete(w.waiting, seq)
		w.mu.Unlock()
		if ch != nil {
			ch <- slices.Clone(b[8:])
		}
	}
	w.mu.Lock()
	w.dead = true
	for _, ch := range w.waiting {
		close(ch)
	}
	w.waiting = nil
	w.mu.Unlock()
	p.mu.Lock()
	p.drop(w)
	p.change.Broadcast()
	p.mu.Unlock()
	if err := w.cmd.Wait(); err != nil {
		p.o.Log.Warningf("worker for uid %d: %v", w.key.uid, err)
	}
}
