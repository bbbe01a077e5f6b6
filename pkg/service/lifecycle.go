package service

import (
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/masterlink"
	"posthaste/pkg/params"
)

// stopGrace bounds how long a process that was told to stop, or that master
// left alone, may take to finish its sessions.
const stopGrace = 10 * time.Second

// lifecycle counts sessions and decides when the process leaves.
type lifecycle struct {
	r        *runner
	draining chan struct{}
	asked    bool // a successor was asked for
	limit    int
	maxUse   int64
	maxIdle  time.Duration

	accepting sync.WaitGroup // accept loops

	mu       sync.Mutex
	room     *sync.Cond // signalled when a session ends or draining begins
	sessions int        // accepted and not over
	waiting  int        // of these, kept connections that wait for their next request
	used     int64
	lastBusy time.Time
	drained  bool
	wakeups  chan struct{}
}

func newLifecycle(r *runner) *lifecycle {
	l := &lifecycle{r: r, draining: make(chan struct{}), limit: r.start.Limit, lastBusy: time.Now(), wakeups: make(chan struct{}, 1)}
	l.room = sync.NewCond(&l.mu)
	r.env.pool.Idle = idleGoroutines
	cfg := r.env.Config
	if r.spec.Serve == nil {
		l.limit = 0 // wakeups do not overlap anyway
	}
	if r.spec.Solitary || r.spec.Shared {
		l.limit = 0 // master.cf's "1" means one process, whose clients keep connections
	}
	l.maxIdle = params.MaxIdle.In(cfg)
	// One process here stands for as many single-session processes as the
	// service may have, so it lives as long as all of them together.
	l.maxUse = int64(params.MaxUse.In(cfg)) * int64(max(1, l.limit))
	if l.limit == 0 {
		l.maxUse *= 100
	}
	return l
}

// begin waits for room and tells whether to accept at all.
func (l *lifecycle) waitRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit > 0 && l.sessions >= l.limit && !l.drained {
		l.r.ctl.Send(masterlink.Full)
	}
	for l.limit > 0 && l.sessions >= l.limit && !l.drained {
		l.room.Wait()
	}
	return !l.drained
}

func (l *lifecycle) begin() {
	l.mu.Lock()
	l.sessions++
	l.used++
	l.lastBusy = time.Now()
	ask := l.used >= l.maxUse && !l.asked
	l.asked = l.asked || ask
	l.mu.Unlock()
	if ask {
		l.r.ctl.Send(masterlink.Drain)
	}
}

func (l *lifecycle) end() {
	l.mu.Lock()
	l.sessions--
	l.lastBusy = time.Now()
	l.room.Broadcast()
	l.mu.Unlock()
}

func (l *lifecycle) setWaiting(d int) {
	l.mu.Lock()
	l.waiting += d
	if d < 0 || l.waiting == l.sessions {
		l.lastBusy = time.Now()
	}
	l.mu.Unlock()
}

// idleFor is how long no session has had anything to do.
func (l *lifecycle) idleFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions > l.waiting {
		return 0
	}
	return time.Since(l.lastBusy)
}

// drain stops accepting, once.
func (l *lifecycle) drain() {
	l.mu.Lock()
	if l.drained {
		l.mu.Unlock()
		return
	}
	l.drained = true
	l.room.Broadcast()
	l.mu.Unlock()
	for _, ln := range l.r.listeners {
		ln.Close() // our copy: master's keeps the backlog
	}
	go l.leave()
}

// leave ends the process when everything that was accepted is finished.
func (l *lifecycle) leave() {
	// Those who hear that the process drains, and their clients, may count on the
	// next connection being the successor's. What an accept loop has taken
	// counts as a session.
	l.accepting.Wait()
	close(l.draining)
	if l.r.spec.Drain != nil {
		l.r.spec.Drain(l.r.env)
	}
	if l.r.handed != nil {
		<-l.r.handed
	}
	l.mu.Lock()
	for l.sessions > 0 {
		l.room.Wait()
	}
	l.mu.Unlock()
	if l.r.spec.End != nil {
		l.r.spec.End(l.r.env)
	}
	l.r.env.Log.Flush()
	os.Exit(0)
}

// hurry bounds what drain leaves open.
func (l *lifecycle) hurry() {
	l.drain()
	time.AfterFunc(stopGrace, func() {
		l.r.cancel()
		time.AfterFunc(time.Second, func() {
			l.r.env.Log.Flush()
			os.Exit(0)
		})
	})
}

// RequestDrain: see Env.
func (e *Env) requestDrain(reason string) {
	l := e.life
	if l == nil || l.r.ctl == nil {
		return
	}
	l.mu.Lock()
	ask := !l.asked
	l.asked = true
	l.mu.Unlock()
	if ask {
		e.Log.Infof("%s -- restarting", reason)
		l.r.ctl.Send(masterlink.Drain)
	}
}

// serve runs until the process is told, or decides, to leave.
func (r *runner) serve() error {
	sig := make(chan os.Signal, 4)
	signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	failed := make(chan error, 1)
	if r.spec.Run != nil {
		go func() {
			r.protect(func() { failed <- r.spec.Run(r.ctx, r.env) })
		}()
	}
	if r.spec.Wakeup != nil {
		go r.wakeLoop()
	}
	if r.sessions != nil {
		go r.sessionLoop()
	}
	for _, l := range r.listeners {
		r.accepting.Go(func() { r.acceptLoop(l) })
	}
	words := make(chan string)
	go func() {
		for {
			w, err := r.ctl.Receive()
			if err != nil {
				close(words)
				return
			}
			words <- w
		}
	}()
	word := masterlink.Ready
	if r.spec.Solitary {
		word = masterlink.ReadySolitary
	}
	if err := r.ctl.Send(word); err != nil {
		return errors.New("master is gone")
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	trimmed := false
	for {
		select {
		case w, ok := <-words:
			switch {
			case !ok:
				words = nil
				r.hurry()
			case w == masterlink.DoDrain:
				r.drain()
			case w == masterlink.Stop:
				r.hurry()
			case w == masterlink.Wakeup:
				r.wake()
			}
		case s := <-sig:
			if s == syscall.SIGTERM || s == syscall.SIGINT {
				r.hurry()
			}
		case err := <-failed:
			if err != nil {
				return err
			}
		case <-tick.C:
			idle := r.idleFor()
			if idle < 5*time.Second {
				trimmed = false
			} else if !trimmed {
				trimmed = true
				debug.FreeOSMemory()
			}
			if idle >= r.maxIdle && !r.spec.Solitary && !r.asked {
				r.asked = true
				r.ctl.Send(masterlink.Idle)
				r.drain()
			}
		}
	}
}

func (r *runner) wake() {
	select {
	case r.wakeups <- struct{}{}:
	default:
	}
}

func (r *runner) wakeLoop() {
	for range r.wakeups {
		r.begin()
		r.protect(func() { r.spec.Wakeup(r.ctx, r.env) })
		r.end()
	}
}

// acceptLoop takes connections until the process drains. A failing accept
// (descriptors exhausted) is retried with a pause, so that it neither spins
// nor ends the service.
func (r *runner) acceptLoop(l net.Listener) {
	pause := time.Duration(0)
	for r.waitRoom() {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return // by drain
			}
			if pause == 0 {
				r.env.Log.Warningf("accept connection: %v", err)
			}
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if err := r.checkCaller(c); err != nil {
			r.env.Log.Warningf("service %s: %v", r.a.service, err)
			c.Close()
			continue
		}
		r.begin()
		r.env.Go(func() {
			defer r.end()
			defer c.Close()
			if r.spec.Serve == nil {
				// A trigger: whatever is sent only means "wake up".
				c.SetDeadline(time.Now().Add(5 * time.Second))
				io.CopyN(io.Discard, c, 16)
				r.wake()
				return
			}
			r.protect(func() { r.spec.Serve(r.ctx, r.env, c) })
		})
	}
}

// checkCaller holds a Unix-socket peer's identity against the privilege table.
func (r *runner) checkCaller(c net.Conn) error {
	uc, ok := c.(*net.UnixConn)
	if !ok || r.callers == nil {
		return nil
	}
	cred, err := ipc.PeerCred(uc)
	if err != nil {
		return err
	}
	if r.callers[cred.Uid] || r.setgid >= 0 && int(cred.Gid) == r.setgid {
		return nil
	}
	return errors.New("connection refused: process " + itoa(int(cred.Pid)) + " of user " + itoa(int(cred.Uid)) + " may not use this service")
}
