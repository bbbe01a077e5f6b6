// Master starts the mail system's programs and keeps them running.
//
// # Usage
//
//	master [-C config_directory] [-f]
//
// # Description
//
// Master reads main.cf and master.cf, opens every service's sockets, and
// starts a service's program when the first client connects, when a timed
// wakeup is due, or when the program's predecessor asks to be replaced. It
// passes the listening sockets as descriptors: programs never bind one. It
// opens no message and no table, and speaks no protocol but a few words with
// its own children (see package masterlink).
//
// A program that fails is started again: at once when it had been serving for
// a while, with growing pauses when it fails repeatedly, after
// service_throttle_time when it could not even start. SIGHUP makes master read
// its configuration again; if that has an error, master logs it and goes on
// with what it has. Each running program is then replaced: its successor
// starts first, the predecessor finishes its sessions and leaves. SIGTERM stops
// the system and lets sessions finish for some seconds; SIGABRT ends it at once.
//
// posthaste(1) starts master; -f keeps it from being silent about errors after
// start (start-fg).
//
// # Security
//
// Master runs as root in a normal installation and as an ordinary user in a
// private instance. Its input is its configuration, exit statuses, and words of
// at most 64 bytes from its children.
//
// # Diagnostics
//
// Master logs starts, reloads and every child that fails. Exit status 1 means
// that the system could not be started.
//
// # Files
//
// $config_directory/main.cf and master.cf; $queue_directory/pid/master.pid.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
)

// readyFD names the descriptor on which posthaste(1) waits for "ok" or an
// error text.
const readyFD = "POSTHASTE_READY_FD"

func main() {
	dir := flag.String("C", "", "configuration `directory`")
	flag.Parse()
	report := func(string) {}
	if v := os.Getenv(readyFD); v != "" {
		os.Unsetenv(readyFD)
		if n, err := strconv.Atoi(v); err == nil {
			syscall.CloseOnExec(n)
			f := os.NewFile(uintptr(n), "ready")
			report = func(s string) { f.WriteString(s); f.Close() }
		}
	}
	if err := run(*dir, report); err != nil {
		report(err.Error())
		fmt.Fprintf(os.Stderr, "master: fatal: %v\n", err)
		os.Exit(1)
	}
}

// run is master's life; report tells posthaste(1) that all sockets are open.
func run(dir string, report func(string)) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *config.ValueError:
			err = p
		default:
			panic(p)
		}
	}()
	m := newMaster()
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All, Program: "master"})
	if err != nil {
		return err
	}
	queue := params.QueueDirectory.In(cfg)
	if err := os.Chdir(queue); err != nil {
		return fmt.Errorf("queue_directory: %w", err)
	}
	lock, err := takeLock(filepath.Join("pid", "master.pid"))
	if err != nil {
		return err
	}
	defer lock.Truncate(0)
	if err := m.configure(cfg); err != nil {
		return err
	}
	m.log.Infof("daemon started -- version %s, configuration %s", params.MailVersion.In(cfg), cfg.Dir())
	report("ok")
	return m.loop()
}

// lookers is how long the lock may be taken while the file names no process.
const lookers = 2 * time.Second

// takeLock makes this the only master of the queue, and names it for status
// and stop.
func takeLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0644)
	if err != nil {
		return nil, err
	}
	// Who only looks whether a master runs holds the lock for a moment.
	for end := time.Now().Add(lookers); ; time.Sleep(10 * time.Millisecond) {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			break
		}
		b, _ := os.ReadFile(name)
		who := strings.TrimSpace(string(b))
		pid, bad := strconv.Atoi(who)
		if (bad != nil || syscall.Kill(pid, 0) == syscall.ESRCH) && time.Now().Before(end) {
			continue
		}
		return nil, fmt.Errorf("the mail system is already running (%s: process %s)", name, who)
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	return f, err
}

// openLog opens the log file, to be handed to every child, or syslog.
func openLog(cfg *config.Config) (*maillog.Logger, *os.File, error) {
	tag := params.SyslogName.In(cfg) + "/master"
	name := params.MaillogFile.In(cfg)
	if name == "" {
		return maillog.New(tag, maillog.OpenSink(cfg, "master")), nil, nil
	}
	if name == "/dev/stdout" {
		fd, err := syscall.Dup(1)
		if err != nil {
			return nil, nil, err
		}
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), name)
		return maillog.New(tag, maillog.NewFileSink(f, params.Myhostname.In(cfg))), f, nil
	}
	f, err := maillog.OpenFile(name)
	if err != nil {
		return nil, nil, fmt.Errorf("maillog_file: %w", err)
	}
	return maillog.New(tag, maillog.NewFileSink(f, params.Myhostname.In(cfg))), f, nil
}
