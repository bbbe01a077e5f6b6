// Package masterlink is the contract between master and the daemons that it
// starts: inherited descriptors, the environment, and the words that go over
// the control socket.
//
// Descriptor 3 is the control socket (AF_UNIX, SOCK_SEQPACKET: one word a
// packet), 4 is the mail log if it is a file, the listeners follow. When the
// control socket ends, master is gone: the daemon finishes what it has
// accepted and leaves.
package masterlink

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Numbers of the inherited descriptors.
const (
	ControlFD     = 3
	LogFD         = 4
	FirstListener = 5
)

// EnvVar describes the rest: space-separated name=value words.
const EnvVar = "POSTHASTE_MASTER"

// ReloadFile, relative to the queue directory, has what became of the last reload:
// "ok", or why it was refused. posthaste(1) removes it before it asks for one.
const ReloadFile = "pid/reload"

// Words that a daemon sends.
const (
	Ready = "ready" // the sandbox is closed and the listeners are being served
	// ReadySolitary is Ready of a service whose successor must wait until this process has left.
	ReadySolitary = "ready-solitary"
	Drain         = "drain" // wants to leave: start a successor first
	Idle          = "idle"  // leaves because nothing needs it
	Full          = "full"  // has reached the session limit
)

// Words that master sends.
const (
	DoDrain = "drain"  // the successor serves: finish sessions and leave
	Wakeup  = "wakeup" // timed wakeup
	Stop    = "stop"   // leave as soon as it is safe
)

// Start is what master tells a new daemon through EnvVar.
type Start struct {
	Listeners int
	Session   bool // the one "listener" is the socket on which sessions come (package proto/session)
	HasLog    bool
	Root      bool   // daemons change identity
	Limit     int    // most sessions at a time, 0 for none
	Pos       string // FILE:LINE of the master.cf entry
}

// String renders s for the environment.
func (s Start) String() string {
	return fmt.Sprintf("listeners=%d session=%t log=%t root=%t limit=%d pos=%s", s.Listeners, s.Session, s.HasLog, s.Root, s.Limit, s.Pos)
}

// ParseStart reads the environment variable; ok is false when the process was
// not started by master.
func ParseStart(v string) (s Start, ok bool, err error) {
	if v == "" {
		return s, false, nil
	}
	for _, w := range strings.Fields(v) {
		k, val, _ := strings.Cut(w, "=")
		switch k {
		case "listeners":
			s.Listeners, err = strconv.Atoi(val)
		case "session":
			s.Session = val == "true"
		case "log":
			s.HasLog = val == "true"
		case "root":
			s.Root = val == "true"
		case "limit":
			s.Limit, err = strconv.Atoi(val)
		case "pos":
			s.Pos = val
		}
		if err != nil {
			return s, false, fmt.Errorf("%s: %q: %w", EnvVar, w, err)
		}
	}
	return s, true, nil
}

// Control is one end of the control socket.
type Control struct{ c *net.UnixConn }

// Pair makes a control socket: master's end, and the file to hand to the child.
func Pair() (*Control, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	c, err := open(fds[0])
	if err != nil {
		syscall.Close(fds[1])
		return nil, nil, err
	}
	return c, os.NewFile(uintptr(fds[1]), "control"), nil
}

// Inherited opens the daemon's end.
func Inherited() (*Control, error) { return open(ControlFD) }

func open(fd int) (*Control, error) {
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("control socket is a %T", nc)
	}
	return &Control{uc}, nil
}

// Send sends one word. An error means that the other side is gone.
func (c *Control) Send(word string) error {
	_, err := c.c.Write([]byte(word))
	return err
}

// Receive waits for the next word. An error means that the other side is gone.
func (c *Control) Receive() (string, error) {
	var b [64]byte
	n, err := c.c.Read(b[:])
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", net.ErrClosed
	}
	return string(b[:n]), nil
}

// Close closes the socket.
func (c *Control) Close() error { return c.c.Close() }
