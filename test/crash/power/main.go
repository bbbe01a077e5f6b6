// Power runs a whole private mail system on a recorded disk, cuts the power at
// every point at which that matters, and looks for the mail.
//
// # Usage
//
//	power [-fs ext4|xfs|btrfs] [-n MESSAGES] [-subsets N] [-restarts N] [-deaths N] [-seed N] [-o NAME=VALUE]...
//	power -files [-syncfs auto|yes|no] [-fs ext4|xfs|btrfs] [-n FILES] [-subsets N] [-seed N]
//
// # Description
//
// Queue and mailboxes lie on a real file system, on a loop device over a FUSE
// file that records every block written and every flush. Messages are
// accepted, delivered, relayed, reported and deferred; each acknowledgement to
// a client, and each message that the remote server takes, is marked in the
// record.
//
// A power cut between two flushes leaves what was flushed, and any part of what
// was written since. For each flush the program makes the disk without any later
// write, and disks with random subsets of the later writes, torn at 4 KiB; has
// the kernel mount each; and looks at the files: a recipient that was
// acknowledged before the next flush must be in the Maildir with the whole
// message, or taken by the remote server, or reported, or the message must be
// complete in the queue with the recipient still to do. Some of the disks are
// also given to the mail system, which must finish the work: then each message
// must be in its Maildirs exactly once.
//
// With -files there is no mail system, but files that are written as in a Maildir and
// synced by pkg/durable, many at a time, beside others whose syncs make the file system
// commit at any moment; each must be whole after every cut since its sync returned.
//
// With -deaths the disk fails while mail comes in: altogether, for writing, for
// flushes, for one write in a hundred, or for a while for the messages and not for
// what the file system itself writes. What was acknowledged until the end must be
// on what the disk holds then, as above; what was sent to a dead disk must not have
// been acknowledged.
//
// Needs root, /dev/fuse and loop devices. The exit status is 0 if nothing was
// lost.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/test/tools/rig"
)

type options struct {
	fs       string
	n        int
	subsets  int
	restarts int
	deaths   int
	seed     int64
	settings []string
	files    bool
	syncfs   string
	port     int
}

// bench is the test's furniture: a device with a file system, and the mail
// system on it.
type bench struct {
	o    options
	dir  string
	dev  *device
	mnt  string
	s    *rig.System
	mail *traffic

	mounted *mounted // what is at mnt now
}

func main() {
	var o options
	flag.StringVar(&o.fs, "fs", "ext4", "file system")
	flag.IntVar(&o.n, "n", 200, "messages")
	flag.IntVar(&o.subsets, "subsets", 2, "random subsets to try after each flush")
	flag.IntVar(&o.restarts, "restarts", 8, "disks on which the mail system is started again")
	flag.IntVar(&o.deaths, "deaths", 0, "let the disk fail in each of several ways so often, rather than cut the power")
	flag.Int64Var(&o.seed, "seed", time.Now().UnixNano(), "for the random choices")
	flag.BoolVar(&o.files, "files", false, "files that pkg/durable syncs, instead of a mail system")
	flag.StringVar(&o.syncfs, "syncfs", "auto", "how, with -files: auto, yes or no")
	flag.Func("o", "a `NAME=VALUE` for main.cf; several may be given", func(s string) error { o.settings = append(o.settings, s); return nil })
	flag.IntVar(&o.port, "port-base", 0, "added to each port; 0 finds one")
	size := flag.Int64("size", 400, "size of the disk in MiB")
	limit := flag.Duration("limit", 12*time.Minute, "give up after so long")
	flag.Parse()
	dir, err := rig.TempDir("/var/tmp", "power-")
	if err != nil {
		fail("%v", err)
	}
	b := &bench{o: o, dir: dir, mnt: filepath.Join(dir, "mnt")}
	time.AfterFunc(*limit, func() {
		b.clean()
		fail("not finished within %v", *limit)
	})
	// Whoever ended without this would leave a loop device on a file that nobody serves.
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-end
		b.clean()
		fail("%v", s)
	}()
	ok, err := b.run(*size << 20)
	b.clean()
	if err != nil {
		fail("%s: %v", o.fs, err)
	}
	if !ok {
		fail("%s: FAILED", o.fs)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "power: "+format+"\n", args...)
	os.Exit(1)
}

// clean takes everything down that may be up. Whatever hangs on the disks is
// cut loose after a while: a process that serves a FUSE file and waits for it
// could not even be killed.
func (b *bench) clean() {
	if b.dev != nil {
		t := time.AfterFunc(30*time.Second, func() { b.dev.abort() })
		defer t.Stop()
	}
	if b.s != nil {
		b.s.Stop()
	}
	if b.mail != nil && b.mail.sink != nil {
		b.mail.sink.Close()
	}
	if b.mounted != nil {
		if err := b.mounted.unmount(); err != nil {
			fmt.Fprintf(os.Stderr, "power: %v\n", err)
		}
	}
	if b.dev != nil {
		if err := b.dev.srv.Unmount(); err != nil {
			b.dev.abort()
			unix.Unmount(b.dev.dir, unix.MNT_DETACH)
		}
	}
	os.RemoveAll(b.dir)
}

func (b *bench) run(size int64) (bool, error) {
	fuseDir := filepath.Join(b.dir, "disks")
	for _, d := range []string{fuseDir, b.mnt} {
		if err := os.Mkdir(d, 0755); err != nil {
			return false, err
		}
	}
	var err error
	if b.dev, err = newDevice(fuseDir, size); err != nil {
		return false, fmt.Errorf("FUSE: %w", err)
	}
	if b.o.deaths > 0 {
		return b.deaths()
	}
	if err := b.format(); err != nil {
		return false, err
	}
	record := b.record
	if b.o.files {
		record = b.recordFiles
	}
	start, err := record()
	if err != nil {
		return false, err
	}
	return b.cut(start)
}

// format makes the file system on the recorded disk.
func (b *bench) format() error {
	l, err := attach(filepath.Join(b.dev.dir, "disk"))
	if err != nil {
		return err
	}
	err = makeFS(b.o.fs, l.name())
	if e := l.detach(); err == nil {
		err = e
	}
	return err
}

// system makes the instance: configuration and log on the machine's disk,
// queue and mailboxes on the recorded one.
func (b *bench) system(name string) error {
	s, err := rig.New(filepath.Join(b.dir, name), users, b.o.port)
	if err != nil {
		return err
	}
	b.s = s
	if err := os.Chmod(b.mnt, 0755); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", s.Mail, filepath.Join(b.mnt, "mail")).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	s.Mail, s.Queue = filepath.Join(b.mnt, "mail"), filepath.Join(b.mnt, "spool")
	to := "smtp:[127.0.0.1]:" + b.mail.sink.Port()
	return s.Set(append([]string{"queue_directory=" + s.Queue, "virtual_mailbox_base=" + s.Mail, "queue_run_delay=2s", "minimal_backoff_time=2s", "maximal_backoff_time=4s",
		"transport_maps=inline:{ far.test=" + to + ", later.test=" + to + ", no.test=" + to + " }", "queue_journal=yes"}, b.o.settings...)...)
}

// record runs mail through the system and returns where in the record the
// promises begin.
func (b *bench) record() (start int, err error) {
	if err := b.mount("disk"); err != nil {
		return 0, err
	}
	if b.mail, err = newTraffic(b.o, b.dev.rec); err != nil {
		return 0, err
	}
	if err := b.system("m"); err != nil {
		return 0, err
	}
	if err := b.s.Start(); err != nil {
		return 0, err
	}
	unix.Sync()
	start = b.dev.rec.position("start")
	if err := b.mail.run(b.s); err != nil {
		return 0, err
	}
	if err := b.s.Stop(); err != nil {
		return 0, err
	}
	return start, b.unmount()
}

// mount mounts one of the disks.
func (b *bench) mount(disk string) (err error) {
	b.mounted, err = mount(filepath.Join(b.dev.dir, disk), b.o.fs, b.mnt)
	return err
}

func (b *bench) unmount() error {
	m := b.mounted
	b.mounted = nil
	return m.unmount()
}
