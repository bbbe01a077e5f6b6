package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/masterlink"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/session"
)

func numCPU() int { return runtime.NumCPU() }

// builtin are services of Postfix's stock master.cf that are packages or parts
// of other programs here. Their entries are accepted and have no process.
var builtin = map[string]bool{"trivial-rewrite": true, "scache": true, "tlsmgr": true, "dnsblog": true, "tlsproxy": true,
	"postlogd": true, "proxymap": true, "flush": true}

// builtinName are services whose program exists here under the same name but
// whose service does not: qmgr keeps what Postfix's defer and trace keep.
var builtinName = map[string]bool{"defer": true, "trace": true}

// service is one entry of master.cf with its sockets and processes.
type service struct {
	entry    mastercf.Entry
	spec     []string // what it listens on
	fds      []int
	current  *child // serves
	starting *child // is not ready yet
	armed    bool   // the poller watches the sockets
	used     bool   // some client has connected at least once
	wake     bool   // send a wakeup when the process is ready
	again    bool   // a reload came after starting may have read its configuration
	timer    *time.Timer
	failures int // in a row
	notUntil time.Time
	warned   time.Time // when the session limit was last logged
}

// limit is the most sessions at a time: the process limit of Postfix, where a
// process serves one.
func (s *service) limit(cfg *config.Config) int {
	if s.entry.MaxProc < 0 {
		return params.DefaultProcessLimit.In(cfg)
	}
	return s.entry.MaxProc
}

// always tells whether a process should be there without anybody asking for
// it, as with qmgr: its work waits on disk.
func (s *service) always() bool { return s.entry.Wakeup > 0 && !s.entry.WakeupIfUsed }

// master is the supervisor. All its state belongs to the goroutine of loop;
// the others send it closures.
type master struct {
	cfg      *config.Config
	log      *maillog.Logger
	logFile  *os.File
	root     bool
	null     *os.File
	stderrW  *os.File
	epoll    int
	events   chan func()
	services map[string]*service
	byFD     map[int]*service
	children map[int]*child
	sess     sessions
	ending   int  // the ranks up to this one have been told to stop; 0: none
	stopping bool // all have
	stopped  chan struct{}
}

func newMaster() *master {
	return &master{root: os.Geteuid() == 0, events: make(chan func(), 64), services: map[string]*service{},
		byFD: map[int]*service{}, children: map[int]*child{}, stopped: make(chan struct{}), epoll: -1,
		sess: sessions{grants: map[string]granted{}, running: map[sessionKey]*child{}, failures: map[sessionKey]failure{}}}
}

// configure adopts a configuration, at start and at reload. On an error
// nothing has changed, except that some sockets may have been closed again.
func (m *master) configure(cfg *config.Config) error {
	f, err := mastercf.Load(filepath.Join(cfg.Dir(), "master.cf"), cfg)
	if err != nil {
		return err
	}
	log, logFile, err := openLog(cfg)
	if err != nil {
		return err
	}
	if m.null == nil {
		if err := m.openCommon(); err != nil {
			return err
		}
	}
	next := map[string]*service{}
	fresh := map[*service][]int{} // new descriptors of services that go on
	var opened []int
	undo := func(err error) error {
		closeAll(opened)
		if logFile != nil {
			logFile.Close()
		}
		return err
	}
	entries := append(f.Entries, implied(cfg, slices.Concat(f.Entries, f.Disabled))...)
	for _, e := range entries {
		if builtin[e.Command] || builtinName[e.Name] {
			continue
		}
		spec, err := listenSpec(cfg, &e)
		if err != nil {
			return undo(err)
		}
		s := &service{entry: e, spec: spec}
		old := m.services[e.Name+"/"+e.Type]
		if old != nil && slices.Equal(old.spec, spec) {
			s = old
		}
		if s != old || vanished(spec) {
			var fds []int
			for _, sp := range spec {
				fd, err := listen(sp)
				if err != nil {
					return undo(fmt.Errorf("%s: service %s: %w", e.Pos, e.Name, err))
				}
				opened = append(opened, fd)
				fds = append(fds, fd)
			}
			fresh[s] = fds
		}
		next[e.Name+"/"+e.Type] = s
	}
	for _, e := range entries {
		if s := next[e.Name+"/"+e.Type]; s != nil {
			s.entry = e
		}
	}
	if m.logFile != nil {
		m.logFile.Close()
	}
	m.cfg, m.log, m.logFile = cfg, log, logFile
	for k, s := range m.services {
		if next[k] != s {
			m.retire(s)
		}
	}
	m.services = next
	if err := m.openSessions(next); err != nil {
		return err
	}
	for s, fds := range fresh {
		for _, fd := range s.fds {
			m.unwatch(fd)
		}
		s.fds = fds
	}
	for _, s := range next {
		for _, fd := range s.fds {
			if m.byFD[fd] == nil {
				m.byFD[fd] = s
				ev := unix.EpollEvent{Events: 0, Fd: int32(fd)}
				if err := unix.EpollCtl(m.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
					return err
				}
			}
		}
		m.arm(s)
		m.schedule(s, true)
	}
	return nil
}

// implied returns the services that the others cannot do without and that a
// master.cf written for Postfix does not have: resolver; anvil, which an old
// Posthaste's lacks; auth where there are users to serve (elsewhere private/auth
// may be Dovecot's), and shadow where they are the system's. What is disabled
// (master_service_disable) counts as being there.
func implied(cfg *config.Config, entries []mastercf.Entry) (l []mastercf.Entry) {
	need := func(name string) {
		if !slices.ContainsFunc(entries, func(e mastercf.Entry) bool { return e.Name == name && e.Type == "unix" }) {
			l = append(l, mastercf.Entry{Name: name, Type: "unix", Private: true, Unpriv: true, Command: name})
		}
	}
	need("resolver")
	need("anvil")
	_, _, passwords := cfg.Explicit(params.AuthPasswdFile.Name)
	_, _, databases := cfg.Explicit(params.AuthDatabases.Name)
	if slices.Contains(params.AuthDatabases.List(cfg), "shadow") {
		need("shadow")
	}
	if passwords || databases || slices.ContainsFunc(entries, func(e mastercf.Entry) bool { return e.Command == "login" }) {
		need("auth")
	}
	return l
}

// openCommon opens what every child inherits, and the poller.
func (m *master) openCommon() error {
	var err error
	if m.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return err
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	r := os.NewFile(uintptr(p[0]), "stderr")
	m.stderrW = os.NewFile(uintptr(p[1]), "stderr")
	go func() {
		// What a child writes to standard error is a crash of its runtime: it
		// belongs into the log.
		sc := bufio.NewScanner(r)
		for sc.Scan() {
			line := strings.Clone(sc.Text())
			m.events <- func() { m.log.Warningf("child: %.500s", line) }
		}
	}()
	if m.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	go m.poll()
	return nil
}

// poll tells the loop which sockets have clients waiting.
func (m *master) poll() {
	var evs [32]unix.EpollEvent
	for {
		n, err := unix.EpollWait(m.epoll, evs[:], -1)
		if err == unix.EINTR {
			continue
		} else if err != nil {
			m.events <- func() { m.log.Panicf("epoll: %v", err) }
			return
		}
		for _, ev := range evs[:n] {
			fd := int(ev.Fd)
			m.events <- func() {
				if s := m.byFD[fd]; s != nil {
					s.armed, s.used = false, true
					m.start(s)
				}
			}
		}
	}
}

// arm watches the service's sockets until the first client comes.
func (m *master) arm(s *service) {
	if s.current != nil || s.starting != nil || m.over(s) {
		return
	}
	for _, fd := range s.fds {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
		unix.EpollCtl(m.epoll, unix.EPOLL_CTL_MOD, fd, &ev)
	}
	s.armed = true
}

// start makes sure that a process serves, or will when back-off allows.
func (m *master) start(s *service) {
	if s.current != nil || s.starting != nil || m.over(s) || m.services[s.entry.Name+"/"+s.entry.Type] != s {
		return
	}
	if d := time.Until(s.notUntil); d > 0 {
		time.AfterFunc(d, func() { m.events <- func() { m.start(s) } })
		return
	}
	m.launch(s)
}

// launch starts a process beside the current one, if any.
func (m *master) launch(s *service) {
	if err := m.spawn(s); err != nil {
		m.log.Warningf("service %s: %v", s.entry.Name, err)
		m.throttle(s, params.ServiceThrottleTime.In(m.cfg))
	}
}

func (m *master) throttle(s *service, d time.Duration) {
	s.notUntil = time.Now().Add(d)
	time.AfterFunc(d, func() {
		m.events <- func() {
			m.arm(s)
			if s.always() && m.services[s.entry.Name+"/"+s.entry.Type] == s && !m.stopping {
				m.wakeup(s)
			}
		}
	})
}

// schedule sets the timed wakeup.
func (m *master) schedule(s *service, now bool) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.entry.Wakeup <= 0 {
		return
	}
	d := s.entry.Wakeup
	if now {
		d = 0
	}
	s.timer = time.AfterFunc(d, func() {
		m.events <- func() {
			if m.services[s.entry.Name+"/"+s.entry.Type] != s || m.over(s) {
				return
			}
			if !s.entry.WakeupIfUsed || s.used {
				m.wakeup(s)
			}
			m.schedule(s, false)
		}
	})
}

func (m *master) wakeup(s *service) {
	if s.current != nil {
		s.current.ctl.Send(masterlink.Wakeup)
		if s.starting == nil {
			return
		}
		// It may be told to leave before it sees this: its successor looks too.
	}
	s.wake = true
	m.start(s)
}

// word handles what a child says.
func (m *master) word(c *child, w string) {
	s := c.svc
	switch w {
	case masterlink.Ready, masterlink.ReadySolitary:
		c.ready = true
		if c.handover != nil {
			return
		}
		c.solitary = w == masterlink.ReadySolitary
		if s.starting == c {
			s.starting = nil
		}
		old := s.current
		s.current = c
		if old != nil {
			old.leaving = true
			old.ctl.Send(masterlink.DoDrain)
		}
		if s.wake {
			s.wake = false
			c.ctl.Send(masterlink.Wakeup)
		}
		if m.over(s) {
			c.ctl.Send(masterlink.Stop)
		}
		if s.again {
			m.replace(s, c)
		}
	case masterlink.Drain:
		if c.handover != nil {
			c.leaving = true
			m.detachSession(c)
			c.ctl.Send(masterlink.DoDrain)
			return
		}
		m.replace(s, c)
	case masterlink.Idle:
		c.leaving = true
		m.detachSession(c)
		if s.current == c {
			s.current = nil
			m.arm(s)
		}
	case masterlink.Full:
		if time.Since(s.warned) > time.Minute {
			s.warned = time.Now()
			m.log.Warningf("service %q (%s) has reached its process limit \"%d\": new clients may experience noticeable delays",
				s.entry.Name, s.entry.Name, s.limit(m.cfg))
		}
	}
}

// replace starts a successor to c, the serving process. A solitary process
// leaves first.
func (m *master) replace(s *service, c *child) {
	if s.current != c || s.starting != nil || m.over(s) {
		return
	}
	if c.solitary {
		c.leaving = true
		c.ctl.Send(masterlink.DoDrain)
		s.current = nil
		m.launch(s) // waits for the lock
		return
	}
	m.launch(s)
}

// retire closes a service that is no longer in master.cf.
func (m *master) retire(s *service) {
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, fd := range s.fds {
		m.unwatch(fd)
	}
	for _, sp := range s.spec {
		if path, ok := strings.CutPrefix(sp, "unix:"); ok {
			os.Remove(path)
		}
	}
	for _, c := range m.children {
		if c.svc == s {
			c.leaving = true
			m.detachSession(c)
			c.ctl.Send(masterlink.DoDrain)
		}
	}
}

// unwatch closes a listening descriptor. Children may have copies of it, so
// that closing alone would not take it from the poller.
func (m *master) unwatch(fd int) {
	unix.EpollCtl(m.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	delete(m.byFD, fd)
	syscall.Close(fd)
}

// exited handles the end of a child: expected, or a failure to back off from.
func (m *master) exited(c *child, ws syscall.WaitStatus) {
	delete(m.children, c.pid)
	m.detachSession(c)
	c.ctl.Close()
	s := c.svc
	failed := ws.Signaled() || ws.ExitStatus() != 0
	if failed && !m.over(s) {
		how := fmt.Sprintf("exit status %d", ws.ExitStatus())
		if ws.Signaled() {
			how = fmt.Sprintf("killed by signal %d", int(ws.Signal()))
		}
		m.log.Warningf("process %s pid %d %s", c.program, c.pid, how)
	}
	serving := s.current == c
	if serving {
		s.current = nil
	}
	if s.starting == c {
		s.starting = nil
	}
	if m.ending > 0 {
		m.endNext()
	}
	if m.stopping {
		if len(m.children) == 0 {
			close(m.stopped)
		}
		return
	}
	if c.handover != nil {
		m.sess.ended(c, failed)
		return
	}
	switch {
	case failed && !c.ready:
		m.log.Warningf("%s: bad command startup -- throttling", c.program)
		m.throttle(s, params.ServiceThrottleTime.In(m.cfg))
		return
	case failed && time.Since(c.started) < time.Second:
		s.failures++
		m.throttle(s, min(50*time.Millisecond<<min(s.failures, 12), params.ServiceThrottleTime.In(m.cfg)))
		return
	case failed:
		s.failures = 0
	}
	m.arm(s)
	if s.always() && serving {
		m.wakeup(s)
	}
}

// reload reads the configuration again; what is wrong with it is logged and
// changes nothing. posthaste(1) waits for the answer.
func (m *master) reload() {
	if err := m.reloaded(); err != nil {
		m.log.Errorf("reload refused, the previous configuration stays in force: %v", err)
		m.answer(err.Error())
		return
	}
	m.answer("ok")
}

// answer tells posthaste(1) what became of a reload.
func (m *master) answer(text string) {
	name := filepath.FromSlash(masterlink.ReloadFile)
	err := os.WriteFile(name+".new", []byte(text), 0o644)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		m.log.Warningf("%v", err)
	}
}

func (m *master) reloaded() error {
	cfg, err := loadChecked(m.cfg.Dir())
	if err == nil {
		err = m.configure(cfg)
	}
	if err != nil {
		return err
	}
	m.log.Infof("reload -- version %s, configuration %s", params.MailVersion.In(cfg), cfg.Dir())
	for _, s := range m.services {
		if s.starting != nil {
			s.again = true // when it is ready
		} else if s.current != nil {
			m.replace(s, s.current)
		}
		s.notUntil, s.failures = time.Time{}, 0
		m.arm(s)
	}
	for _, c := range m.children {
		if c.handover != nil && !c.leaving {
			c.leaving = true
			m.detachSession(c)
			c.ctl.Send(masterlink.DoDrain)
		}
	}
	return nil
}

// loadChecked loads main.cf and checks every explicit setting, so that a
// reload is refused as a whole rather than program by program.
func loadChecked(dir string) (cfg *config.Config, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *config.ValueError:
			err = p
		default:
			panic(p)
		}
	}()
	cfg, err = config.Load(config.Options{Dir: dir, Known: params.All, Program: "master"})
	if err != nil {
		return nil, err
	}
	for _, d := range params.All {
		name := d.Decl().Name
		if _, pos, ok := cfg.Explicit(name); ok && d.Decl().Type != "raw" {
			if v := cfg.Get(name); d.Check(v) != nil {
				return nil, &config.ValueError{Pos: pos, Name: name, Value: v, Reason: d.Check(v).Error()}
			}
		}
	}
	return cfg, nil
}

// loop runs until the system is told to stop and has.
func (m *master) loop() error {
	sig := make(chan os.Signal, 8)
	signal.Notify(sig, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGABRT, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGPIPE)
	for {
		select {
		case f := <-m.events:
			f()
		case s := <-sig:
			switch s {
			case syscall.SIGHUP:
				m.reload()
			case syscall.SIGTERM, syscall.SIGINT:
				m.log.Infof("terminating on signal %d", s)
				m.stop()
			default:
				m.log.Infof("aborting on signal %d", s)
				m.kill()
				return nil
			}
		case <-m.stopped:
			m.cleanup()
			return nil
		}
	}
}

// The order in which a stop ends services: who is still there may need those
// after him, and they are started for him even then.
const (
	outer   = 1 + iota // network services and sessions: they serve people
	movers             // qmgr, pickup: they start work by themselves
	helpers            // all others: they are asked
)

func (s *service) rank() int {
	switch {
	case s.entry.Type == "inet":
		return outer
	case s.entry.Wakeup > 0:
		return movers
	}
	return helpers
}

func (c *child) rank() int {
	if c.key != (sessionKey{}) {
		return outer
	}
	return c.svc.rank()
}

// over says that a service has been stopped for good.
func (m *master) over(s *service) bool { return s.rank() <= m.ending }

// stop tells the children to finish, rank by rank; who does not is killed.
func (m *master) stop() {
	if m.ending > 0 {
		return
	}
	m.endNext()
	if len(m.children) == 0 {
		close(m.stopped)
		return
	}
	m.endAfter(outer, 9*time.Second)
	m.endAfter(movers, 12*time.Second)
	time.AfterFunc(15*time.Second, func() { m.events <- m.kill })
}

// endAfter goes on to the rank after this one even if it has not left by then.
func (m *master) endAfter(rank int, d time.Duration) {
	time.AfterFunc(d, func() {
		m.events <- func() {
			if m.ending == rank {
				m.end(rank + 1)
			}
		}
	})
}

// endNext ends the next rank, if all of those before have left.
func (m *master) endNext() {
	for m.ending < helpers {
		for _, c := range m.children {
			if c.rank() <= m.ending {
				return
			}
		}
		m.end(m.ending + 1)
	}
}

// end tells the children of a rank to finish.
func (m *master) end(rank int) {
	m.ending, m.stopping = rank, rank == helpers
	for _, c := range m.children {
		if c.rank() == rank {
			m.detachSession(c)
			c.ctl.Send(masterlink.Stop)
		}
	}
}

func (m *master) kill() {
	for pid := range m.children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// cleanup removes the sockets, so that clients see at once that nobody is
// there.
func (m *master) cleanup() {
	if m.sess.listener != nil {
		os.Remove(session.Service)
	}
	for _, s := range m.services {
		for _, sp := range s.spec {
			if path, ok := strings.CutPrefix(sp, "unix:"); ok {
				os.Remove(path)
			}
		}
	}
}
