package service

import (
	"context"
	"errors"
	"fmt"
	"log/syslog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/masterlink"
	"posthaste/pkg/params"
	"posthaste/pkg/privs"
	"posthaste/pkg/sockio"
)

// args is a daemon's command line as master makes it: options first, then the
// program's own arguments.
type args struct {
	dir, service, typ string
	chroot            bool
	stdio             bool
	verbose           int
	overrides         []config.Override
	rest              []string
}

// parseArgs takes the options that pkg/mastercf accepts. Letters may be joined;
// some are for programs of Postfix alone.
func parseArgs(argv []string, pos config.Position) (a args, err error) {
	a.typ = "unix"
	for len(argv) > 0 && len(argv[0]) > 1 && argv[0][0] == '-' {
		letters := argv[0][1:]
		argv = argv[1:]
		if letters == "-" {
			break
		}
		for letters != "" {
			c := letters[0]
			letters = letters[1:]
			value := ""
			if strings.IndexByte("Cimnorst", c) >= 0 {
				if value, letters = letters, ""; value == "" {
					if len(argv) == 0 {
						return a, fmt.Errorf("option -%c needs a value", c)
					}
					value, argv = argv[0], argv[1:]
				}
			}
			switch c {
			case 'n':
				a.service = value
			case 't':
				a.typ = value
			case 'C':
				a.dir = value
			case 'c':
				a.chroot = true
			case 'S':
				a.stdio = true
			case 'v':
				a.verbose++
			case 'o':
				inner, _ := config.Unbrace(value)
				name, val, problem := config.SplitSetting(inner)
				if problem != "" {
					return a, fmt.Errorf("-o %s: %s", value, problem)
				}
				a.overrides = append(a.overrides, config.Override{Name: name, Value: val, Pos: pos})
			case 'd', 'D', 'i', 'l', 'm', 'r', 's', 'u', 'V', 'z':
			default:
				return a, fmt.Errorf("unknown option -%c", c)
			}
		}
	}
	a.rest = argv
	return a, nil
}

// runner is one running daemon.
type runner struct {
	spec      Spec
	env       *Env
	a         args
	start     masterlink.Start
	ctl       *masterlink.Control // nil when run by hand
	listeners []net.Listener
	callers   map[uint32]bool // user IDs that may connect to Unix sockets; nil admits everyone
	setgid    int             // group that may as well, or -1
	lock      *os.File
	sessions  *ipc.Conn     // where sessions come from; nil for programs with listeners
	handed    chan struct{} // closed when master will hand over no more
	ctx       context.Context
	cancel    context.CancelFunc
	*lifecycle
}

func run(s Spec) {
	r := &runner{spec: s}
	if err := r.main(); err != nil {
		r.fatal(err)
	}
	r.env.Log.Flush()
	os.Exit(0)
}

// fatal reports an error that ends the process, to the log if there is one
// yet, and to standard error.
func (r *runner) fatal(err error) {
	if r.env == nil {
		r.env = &Env{}
	}
	if r.env.Log == nil {
		// Before the configuration could be used.
		r.env.Log = maillog.New("postfix/"+r.spec.Name, r.sink(nil))
	}
	r.env.Log.Fatalf("%v", err)
	if r.ctl == nil {
		fmt.Fprintf(os.Stderr, "%s: fatal: %v\n", r.spec.Name, err)
	}
	os.Exit(1)
}

func (r *runner) main() (err error) {
	defer recoverValue(&err)
	start, fromMaster, err := masterlink.ParseStart(os.Getenv(masterlink.EnvVar))
	if err != nil {
		return err
	}
	os.Unsetenv(masterlink.EnvVar)
	r.start = start
	r.a, err = parseArgs(os.Args[1:], parsePos(start.Pos))
	if err != nil {
		return err
	}
	if fromMaster {
		if r.ctl, err = masterlink.Inherited(); err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
	} else if !r.a.stdio {
		return errors.New("this program is started by master(8); put it into master.cf")
	}
	if r.a.service == "" {
		r.a.service = r.spec.Name
	}
	if len(r.a.rest) > 0 && !r.spec.TakesArgs {
		// A setting whose value has a blank and no braces around it would be
		// cut short without this.
		return fmt.Errorf("service %s: unexpected command-line argument: %s", r.a.service, r.a.rest[0])
	}
	cfg, err := config.Load(config.Options{Dir: r.a.dir, Overrides: r.a.overrides, Known: params.All, Service: r.a.service, Program: r.spec.Name})
	if err != nil {
		r.env = &Env{Log: maillog.New("postfix/"+r.spec.Name, r.sink(nil))}
		return err
	}
	r.env = &Env{Config: cfg, Program: r.spec.Name, Service: r.a.service, Type: r.a.typ, Args: r.a.rest,
		Limit: start.Limit, Root: start.Root, Stdio: r.a.stdio}
	r.lifecycle = newLifecycle(r)
	r.env.life = r.lifecycle
	r.env.Log = maillog.New(params.SyslogName.In(cfg)+"/"+r.spec.Name, r.sink(cfg))
	r.env.Log.Verbose = r.a.verbose
	r.env.Log.JSON = params.MaillogJson.In(cfg)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	time.Now().Local() // loads the time zone while /usr/share/zoneinfo can be read
	calmMonitor()
	if r.spec.Frugal {
		r.env.gov = newGovernor()
	}
	queue := params.QueueDirectory.In(cfg)
	if err := os.Chdir(queue); err != nil {
		return fmt.Errorf("queue_directory: %w", err)
	}
	if r.a.stdio {
		return r.serveStdio()
	}
	if err := r.adopt(); err != nil {
		return err
	}
	if r.spec.Solitary {
		if err := r.lockService(); err != nil {
			return err
		}
	}
	if err := r.confine(queue); err != nil {
		return err
	}
	return r.serve()
}

// recoverValue turns the panic of a bad parameter value into an error.
func recoverValue(err *error) {
	switch p := recover().(type) {
	case nil:
	case *config.ValueError:
		*err = p
	default:
		panic(p)
	}
}

func parsePos(s string) config.Position {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return config.Position{File: s}
	}
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		return config.Position{File: s}
	}
	return config.Position{File: s[:i], Line: n}
}

// sink is the mail log: the file that master opened, else syslog.
func (r *runner) sink(cfg *config.Config) maillog.Sink {
	if r.start.HasLog {
		host := "localhost"
		if cfg != nil {
			host = params.Myhostname.In(cfg)
		}
		s := maillog.NewFileSink(os.NewFile(masterlink.LogFD, "log"), host)
		s.Gather = true
		return s
	}
	if cfg != nil {
		return maillog.OpenSink(cfg, r.spec.Name)
	}
	return maillog.NewSyslogSink("/dev/log", syslog.LOG_MAIL)
}

// adopt turns the inherited descriptors into listeners.
func (r *runner) adopt() error {
	if r.start.Session {
		return r.adoptSessions()
	}
	for i := 0; i < r.start.Listeners; i++ {
		f := os.NewFile(uintptr(masterlink.FirstListener+i), "listener")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("inherited listener %d: %w", i, err)
		}
		switch k := l.(type) {
		case *net.UnixListener:
			k.SetUnlinkOnClose(false)
		case *net.TCPListener:
			if l, err = sockio.Listen(k); err != nil {
				return fmt.Errorf("inherited listener %d: %w", i, err)
			}
		}
		r.listeners = append(r.listeners, l)
	}
	return nil
}

// lockPatience is how long a solitary process waits for its predecessor: longer
// than that may take to leave or to call Env.ReleaseService. Whoever gives up is
// started again after service_throttle_time only.
const lockPatience = 3 * time.Minute

// lockService waits until no other process of a solitary service is left,
// one whose master was killed included.
func (r *runner) lockService() error {
	f, err := os.OpenFile(filepath.Join("pid", "unix."+r.a.service), os.O_RDWR|os.O_CREATE, 0600)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			r.lock = f
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: another process of service %s does not leave: %w", f.Name(), r.a.service, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// confine runs Before with master's rights, then gives them up.
func (r *runner) confine(queue string) error {
	cfg := r.env.Config
	role, ok := privs.Find(r.spec.Name)
	if !ok {
		return fmt.Errorf("%s has no row in the privilege table", r.spec.Name)
	}
	users := privs.Users{Base: params.RoleUidBase.In(cfg), Owner: params.MailOwner.In(cfg)}
	if err := r.findCallers(role, users); err != nil {
		return err
	}
	var ids privs.IDs
	if r.start.Root {
		var err error
		if role.As == privs.MailUser {
			if os.Geteuid() == 0 {
				return errors.New("a session program must not run as root")
			}
		} else if ids, err = users.IDs(role.As); err != nil {
			return err
		}
	}
	if r.lock != nil && r.start.Root {
		r.lock.Chown(ids.UID, ids.GID) // so that reports of who holds it are true
	}
	if r.spec.Before != nil {
		if err := r.spec.Before(r.env); err != nil {
			return err
		}
	}
	if r.env.as != nil {
		ids = *r.env.as
	}
	if r.a.chroot {
		if !r.start.Root {
			r.env.Log.Warningf("service %s: chroot needs root; running without", r.a.service)
		} else if err := syscall.Chroot(queue); err != nil {
			return fmt.Errorf("chroot %s: %w", queue, err)
		} else if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	if r.start.Root && role.As != privs.MailUser && (role.As != privs.Superuser || r.env.as != nil) {
		if err := ids.Become(); err != nil {
			return err
		}
	}
	if !role.Network {
		if name := networkFor(cfg, r.spec.Name); name != "" {
			role.Network = true
			r.env.Log.Debugf("Internet sockets are allowed, because of %s", name)
		}
	}
	var expandErr error
	missing, err := role.Confine(func(p string) string {
		v, err := cfg.Expand(p)
		if err != nil {
			expandErr = err
		}
		if r.a.chroot && r.start.Root {
			if v = strings.TrimPrefix(v, queue); v == "" {
				v = "/"
			}
		}
		return v
	})
	if err == nil {
		err = expandErr
	}
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if len(missing) > 0 {
		r.env.Log.Debugf("this kernel has no %s: running without", strings.Join(missing, ", "))
	}
	if r.spec.After != nil {
		return r.spec.After(r.env)
	}
	return nil
}

// findCallers works out who may connect to this service's Unix sockets.
func (r *runner) findCallers(role privs.Role, users privs.Users) error {
	r.setgid = -1
	r.callers = map[uint32]bool{0: true}
	if r.spec.Name == "auth" {
		for _, name := range params.AuthClientUsers.List(r.env.Config) {
			ids, err := privs.LookupUser(name)
			if err != nil {
				return fmt.Errorf("auth_client_users: %w", err)
			}
			r.callers[uint32(ids.UID)] = true
		}
	}
	if !r.start.Root {
		r.callers[uint32(os.Geteuid())] = true
		return nil
	}
	for _, c := range role.Callers {
		switch c {
		case "setgid":
			if g, err := privs.LookupGroup(params.SetgidGroup.In(r.env.Config)); err == nil {
				r.setgid = g
			}
		default:
			cr, ok := privs.Find(c)
			if !ok {
				continue // a program that this installation does not have
			}
			ids, err := users.IDs(cr.As)
			if err != nil {
				return err
			}
			r.callers[uint32(ids.UID)] = true
		}
	}
	return nil
}

// serveStdio handles one session on standard input and output, for
// sendmail -bs and for trying a program by hand.
func (r *runner) serveStdio() error {
	if r.spec.Before != nil {
		if err := r.spec.Before(r.env); err != nil {
			return err
		}
	}
	if r.spec.After != nil {
		if err := r.spec.After(r.env); err != nil {
			return err
		}
	}
	r.spec.Serve(r.ctx, r.env, stdioConn{})
	return nil
}

// protect runs one session; a panic in it is our bug and must not take the
// other sessions along.
func (r *runner) protect(fn func()) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *config.ValueError:
			r.fatal(p)
		default:
			r.env.Log.Panicf("%v: %s", p, firstFrames(debug.Stack()))
		}
	}()
	fn()
}

// firstFrames shortens a stack to what fits a log line.
func firstFrames(b []byte) string {
	s := strings.Join(strings.Fields(string(b)), " ")
	if i := strings.Index(s, "panic("); i >= 0 {
		s = s[i:]
	}
	if len(s) > 1500 {
		s = s[:1500]
	}
	return s
}
