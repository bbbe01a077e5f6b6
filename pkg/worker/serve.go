package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"posthaste/pkg/ipc"
)

// Requested tells whether the program was started as a worker; main asks
// before anything else.
func Requested() bool { return len(os.Args) == 2 && os.Args[1] == "-worker" }

// Handler answers requests, several at a time. The files are closed when it
// returns.
type Handler func(ctx context.Context, payload []byte, files []*os.File) []byte

// Serve is the main loop of a worker process: it confines the process, reads
// the settings, and answers requests until the dispatcher hangs up. open turns
// the settings into a Handler and may ask for no_new_privs on all threads, which
// would keep set-id programs (postdrop among them) from working in commands.
// What the process and its commands create is for its user alone, whatever umask
// the mail system was started with.
func Serve(open func(hello []byte) (h Handler, noNewPrivs bool, err error)) error {
	unix.Umask(0o077)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core limit: %w", err)
	}
	unix.CloseOnExec(3)
	f := os.NewFile(3, "dispatcher")
	nc, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("not started by a dispatcher: %w", err)
	}
	f.Close()
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("not started by a dispatcher")
	}
	return serve(ipc.NewConn(uc), open)
}

func serve(c *ipc.Conn, open func(hello []byte) (Handler, bool, error)) error {
	defer c.Close()
	typ, p, err := c.ReadFrame()
	if err != nil || typ != typeHello {
		return fmt.Errorf("no settings from the dispatcher: %v", err)
	}
	h, nnp, err := open(append([]byte(nil), p...))
	if err != nil {
		return err
	}
	if nnp {
		if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
			return fmt.Errorf("no_new_privs: %w", e)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// When the dispatcher is gone, what has begun is finished: half a message in
	// a mailbox helps nobody.
	var busy sync.WaitGroup
	defer busy.Wait()
	for {
		typ, p, fds, err := readRequest(c)
		if err != nil {
			return nil // the dispatcher has hung up
		}
		if typ != typeRequest || len(p) < 9 {
			return ipc.ErrProtocol
		}
		req := append([]byte(nil), p...)
		busy.Go(func() {
			files := make([]*os.File, len(fds))
			for i, fd := range fds {
				files[i] = os.NewFile(uintptr(fd), "received file")
			}
			reply := h(ctx, req[9:], files)
			for _, f := range files {
				f.Close()
			}
			out := append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(reply)), binary.BigEndian.Uint64(req)), reply...)
			c.WriteFrame(typeReply, out) // a dispatcher that is gone shows in ReadFrame
		})
	}
}

// readRequest returns a frame with the descriptors that came with it.
func readRequest(c *ipc.Conn) (typ byte, p []byte, fds []int, err error) {
	typ, p, err = c.ReadFrame()
	if err != nil || len(p) < 9 {
		return typ, p, nil, err
	}
	for i := 0; i < int(p[8]); i++ {
		fd, err := c.TakeFD()
		if err != nil {
			return typ, p, fds, err
		}
		fds = append(fds, fd)
	}
	return typ, p, fds, nil
}
