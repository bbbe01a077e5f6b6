// Floor is floor.c in Go: four processes that make the system calls which a
// message needs, one goroutine for each SMTP session, package net, the runtime's
// poller, and nothing else. What it costs more than floor.c is what the language
// costs before a program does anything. It is no mail server.
//
// usage: floor DIRECTORY PORT [relay]
//
// With relay, smtp takes virtual's place, and sends to the sink of the benchmark
// over a connection that it keeps.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mailboxes = 500
	head      = 600   // bytes before the content of a queue file
	content   = 32768 // most content
	batch     = 64    // messages that cleanup takes at a time
	crowd     = 16    // deliveries that share a sync
	interval  = 20 * time.Millisecond
	quiet     = 4 * time.Millisecond
	nameSize  = 32
	slack     = "5000000" // timer slack in ns: see pkg/service/monitor.go
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	if role := os.Getenv("FLOOR_ROLE"); role != "" {
		run(role)
		return
	}
	last := "virtual"
	if len(os.Args) > 3 {
		last = "smtp"
	}
	supervise(os.Args[1], os.Args[2], last)
}

func run(role string) {
	tasks, err := os.ReadDir("/proc/self/task")
	check(err)
	for _, t := range tasks {
		os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", []byte(slack), 0)
	}
	one := func() { runtime.GOMAXPROCS(1) }
	switch role {
	case "smtpd":
		one()
		smtpd(os.Args[1], socket(3))
	case "cleanup":
		runtime.GOMAXPROCS(2)
		cleanup(socket(3), socket(4))
	case "qmgr":
		one()
		qmgr(socket(3), socket(4))
	case "virtual":
		one()
		virtual(socket(3))
	case "smtp":
		one()
		smtp(socket(3))
	}
}

// supervise starts the four and waits.
func supervise(dir, port, last string) {
	check(os.Chdir(dir))
	for _, d := range []string{"incoming", "active"} {
		check(os.Mkdir(d, 0o700))
	}
	for i := range mailboxes {
		for _, d := range []string{"tmp", "new", "cur"} {
			check(os.MkdirAll(fmt.Sprintf("mail/user%d/Maildir/%s", i, d), 0o700))
		}
	}
	a, b, c := pair(), pair(), pair()
	runtime.LockOSThread() // Pdeathsig is the thread's
	var running sync.WaitGroup
	start := func(role string, ends ...*os.File) {
		cmd := exec.Command("/proc/self/exe", port)
		cmd.Env = append(os.Environ(), "FLOOR_ROLE="+role)
		cmd.ExtraFiles, cmd.Stderr = ends, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		check(cmd.Start())
		running.Go(func() { cmd.Wait() })
	}
	start("smtpd", a[0])
	start("cleanup", a[1], b[0])
	start("qmgr", b[1], c[0])
	start(last, c[1])
	running.Wait()
}

func pair() [2]*os.File {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	check(err)
	for _, fd := range p {
		check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20))
	}
	return [2]*os.File{os.NewFile(uintptr(p[0]), ""), os.NewFile(uintptr(p[1]), "")}
}

// socket returns an inherited one.
func socket(fd uintptr) *net.UnixConn {
	f := os.NewFile(fd, "socket")
	c, err := net.FileConn(f)
	check(err)
	f.Close()
	return c.(*net.UnixConn)
}

// text is what a field of fixed size holds.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// session is one SMTP session. buf begins with what cleanup needs to know: number,
// recipient's name, queue id.
type session struct {
	buf  [2*nameSize + content]byte
	user []byte
	done chan struct{}
}

type sessions struct {
	cleanup *net.UnixConn

	mu      sync.Mutex
	last    uint32
	waiting map[uint32]*session
}

func smtpd(port string, cleanup *net.UnixConn) {
	l, err := net.Listen("tcp4", "127.0.0.1:"+port)
	check(err)
	all := &sessions{cleanup: cleanup, waiting: map[uint32]*session{}}
	go all.answers()
	pool := sync.Pool{New: func() any { return &session{done: make(chan struct{}, 1)} }}
	for {
		c, err := l.Accept()
		check(err)
		go func() {
			s := pool.Get().(*session)
			s.run(c, all)
			c.Close()
			pool.Put(s)
		}()
	}
}

// answers wakes the sessions whose messages are safe.
func (a *sessions) answers() {
	var b [4]byte
	for {
		_, err := a.cleanup.Read(b[:])
		check(err)
		id := binary.NativeEndian.Uint32(b[:])
		a.mu.Lock()
		s := a.waiting[id]
		delete(a.waiting, id)
		a.mu.Unlock()
		s.done <- struct{}{}
	}
}

func (s *session) run(c net.Conn, all *sessions) {
	say := func(text string) { c.Write([]byte(text)) }
	say("220 floor ESMTP\r\n")
	const start = 2 * nameSize
	n, inData := start, false
	for {
		k, err := c.Read(s.buf[n:])
		if err != nil {
			return
		}
		n += k
		switch {
		case inData && bytes.HasSuffix(s.buf[start:n], []byte("\r\n.\r\n")):
			s.handOn(n-3, all)
			say("250 2.0.0 Ok: queued\r\n")
			inData = false
		case inData || s.buf[n-1] != '\n':
			continue
		default:
			switch s.buf[start] | 32 {
			case 'e':
				say("250-floor\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 CHUNKING\r\n")
			case 'm':
				say("250 2.1.0 Ok\r\n")
			case 'r':
				_, user, _ := bytes.Cut(s.buf[start:n], []byte{'<'})
				user, _, _ = bytes.Cut(user, []byte{'@'})
				s.user = append(s.user[:0], user...)
				say("250 2.1.5 Ok\r\n")
			case 'd':
				inData = true
				say("354 End data with <CR><LF>.<CR><LF>\r\n")
			default:
				say("221 2.0.0 Bye\r\n")
				return
			}
		}
		n = start
	}
}

// handOn gives cleanup a message and waits for its answer.
func (s *session) handOn(end int, all *sessions) {
	all.mu.Lock()
	all.last++
	id := all.last
	all.waiting[id] = s
	all.mu.Unlock()
	clear(s.buf[:2*nameSize])
	binary.NativeEndian.PutUint32(s.buf[:], id)
	copy(s.buf[4:nameSize], s.user)
	strconv.AppendUint(append(s.buf[nameSize:nameSize], "4Xk"...), uint64(id), 16)
	_, err := all.cleanup.Write(s.buf[:end])
	check(err)
	<-s.done
}

// cleanup takes what is there, writes it, syncs once, answers all.
func cleanup(in, qmgr *net.UnixConn) {
	rc, err := in.SyscallConn()
	check(err)
	root, err := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	check(err)
	buf := make([]byte, head+2*nameSize+content)
	for {
		var ids, names []byte
		fd := -1
		for len(names) < batch*nameSize {
			n := 0
			if names == nil {
				n, err = in.Read(buf[head:])
				check(err)
			} else {
				rc.Read(func(fd uintptr) bool { n, _ = unix.Read(int(fd), buf[head:]); return true })
			}
			if n <= 0 {
				break
			}
			if fd >= 0 {
				unix.Close(fd)
			}
			m := buf[head:]
			fd, err = unix.Open("incoming/"+text(m[nameSize:2*nameSize]), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
			check(err)
			ids, names = append(ids, m[:4]...), append(names, m[nameSize:2*nameSize]...)
			clear(buf[:head])
			copy(buf[:nameSize-4], m[4:nameSize])
			_, err = unix.Write(fd, buf[:head+n])
			check(err)
		}
		if len(names) > nameSize {
			err = unix.Syncfs(root)
		} else {
			err = unix.Fsync(fd)
		}
		check(err)
		unix.Close(fd)
		for ; len(ids) > 0; ids = ids[4:] {
			in.Write(ids[:4])
		}
		_, err = qmgr.Write(names)
		check(err)
	}
}

func qmgr(cleanup, virtual *net.UnixConn) {
	var mu sync.Mutex
	active := map[string]int{}
	go func() {
		var b [nameSize]byte
		for {
			_, err := virtual.Read(b[:])
			check(err)
			id := text(b[:])
			check(unix.Unlink("active/" + id))
			mu.Lock()
			fd := active[id]
			delete(active, id)
			mu.Unlock()
			unix.Close(fd)
		}
	}()
	names, top := make([]byte, batch*nameSize), make([]byte, head)
	for {
		n, err := cleanup.Read(names)
		check(err)
		for l := names[:n]; len(l) > 0; l = l[nameSize:] {
			id := text(l[:nameSize])
			fd, err := unix.Open("incoming/"+id, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			check(err)
			_, err = unix.Pread(fd, top, 0)
			check(err)
			check(unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB))
			check(unix.Rename("incoming/"+id, "active/"+id))
			mu.Lock()
			active[id] = fd
			mu.Unlock()
			_, _, err = virtual.WriteMsgUnix(l[:nameSize], unix.UnixRights(fd), nil)
			check(err)
		}
	}
}

// request reads one of qmgr's.
func request(qmgr *net.UnixConn, id, oob []byte) (queueFile int, err error) {
	_, k, _, _, err := qmgr.ReadMsgUnix(id, oob)
	if err != nil {
		return -1, err
	}
	control, err := unix.ParseSocketControlMessage(oob[:k])
	check(err)
	fds, err := unix.ParseUnixRights(&control[0])
	check(err)
	return fds[0], nil
}

func virtual(qmgr *net.UnixConn) {
	root, err := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	check(err)
	id, oob, buf := make([]byte, nameSize), make([]byte, 64), make([]byte, head+2*nameSize+content)
	var last time.Time
	for {
		var ids []byte
		for len(ids) < crowd*nameSize {
			limit := time.Time{}
			if ids != nil {
				wait := interval - time.Since(last)
				if wait <= 0 {
					break
				}
				limit = time.Now().Add(min(wait, quiet))
			}
			qmgr.SetReadDeadline(limit)
			queueFile, err := request(qmgr, id, oob)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			check(err)
			deliver(text(id), queueFile, buf)
			ids = append(ids, id...)
		}
		last = time.Now()
		check(unix.Syncfs(root))
		for ; len(ids) > 0; ids = ids[nameSize:] {
			qmgr.Write(ids[:nameSize])
		}
	}
}

func deliver(id string, queueFile int, buf []byte) {
	n, err := unix.Pread(queueFile, buf, 0)
	check(err)
	unix.Close(queueFile)
	dir := "mail/" + text(buf[:nameSize-4]) + "/Maildir/"
	tmp, final := dir+"tmp/1764400000.Q"+id+".X", dir+"new/1764400000.Q"+id+".mx"
	fd, err := unix.Open(tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	check(err)
	_, err = unix.Write(fd, buf[head:n])
	check(err)
	var st unix.Stat_t
	if unix.Stat(final, &st) == nil {
		log.Fatal(final + " exists")
	}
	check(unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, final, unix.RENAME_NOREPLACE))
	unix.Close(fd)
}

// smtp relays with as many connections as there are messages at a time, at most
// 20 as in Posthaste.
func smtp(qmgr *net.UnixConn) {
	free := make(chan *client, 20)
	for range cap(free) {
		free <- &client{}
	}
	oob := make([]byte, 64)
	for {
		id := make([]byte, nameSize)
		queueFile, err := request(qmgr, id, oob)
		check(err)
		c := <-free
		go func() {
			c.relay(queueFile)
			qmgr.Write(id)
			free <- c
		}()
	}
}

type client struct {
	c   net.Conn
	in  [512]byte
	buf [head + 2*nameSize + content + 5]byte
}

// expect reads so many lines.
func (c *client) expect(lines int) {
	for lines > 0 {
		n, err := c.c.Read(c.in[:])
		check(err)
		lines -= bytes.Count(c.in[:n], []byte{'\n'})
	}
}

func (c *client) relay(queueFile int) {
	if c.c == nil {
		var err error
		c.c, err = net.Dial("tcp4", "127.0.0.1:10026")
		check(err)
		c.expect(1)
		c.c.Write([]byte("HELO floor\r\n"))
		c.expect(1)
	}
	n, err := unix.Pread(queueFile, c.buf[:], 0)
	check(err)
	unix.Close(queueFile)
	c.c.Write([]byte("RSET\r\nMAIL FROM:<sender@floor.test>\r\nRCPT TO:<" + text(c.buf[:nameSize-4]) + "@floor.test>\r\nDATA\r\n"))
	c.expect(4)
	n += copy(c.buf[n:], ".\r\n")
	c.c.Write(c.buf[head:n])
	c.expect(1)
}
