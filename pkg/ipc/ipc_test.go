package ipc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns the two ends of a framed connection after the hello.
func pair(t *testing.T) (client, server *Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan *Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		s, err := Accept(c, "test/1", 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	client, err = Dial(path, "test/1", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	server = <-got
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// devNull returns a descriptor to send.
func devNull(t *testing.T) int {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// pass passes a descriptor from c to s and returns the received one.
func pass(t *testing.T, c, s *Conn) int {
	t.Helper()
	if err := c.WriteFrame(1, nil, devNull(t)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	fd, err := s.TakeFD()
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestFrames(t *testing.T) {
	c, s := pair(t)
	big := bytes.Repeat([]byte("0123456789"), MaxFrame/10)
	go func() {
		c.WriteFrame(1, nil)
		c.WriteFrame(2, []byte("two"))
		c.WriteFrame(3, big)
		c.Close()
	}()
	for _, want := range []struct {
		typ byte
		p   []byte
	}{{1, nil}, {2, []byte("two")}, {3, big}} {
		typ, p, err := s.ReadFrame()
		if err != nil || typ != want.typ || !bytes.Equal(p, want.p) {
			t.Fatalf("got type %d, %d bytes, %v; want %d, %d bytes", typ, len(p), err, want.typ, len(want.p))
		}
	}
	if _, _, err := s.ReadFrame(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	if err := c.WriteFrame(1, make([]byte, MaxFrame+1)); !errors.Is(err, ErrProtocol) {
		t.Errorf("too long a frame: got %v", err)
	}
}

// TestDescriptors sends many frames with and without descriptors: each must
// arrive with its own.
func TestDescriptors(t *testing.T) {
	c, s := pair(t)
	dir := t.TempDir()
	const n = 50
	go func() {
		for i := range n {
			if i%3 == 0 {
				c.WriteFrame(1, []byte("none"))
			}
			f, err := os.Create(filepath.Join(dir, string(rune('A'+i))))
			if err != nil {
				t.Error(err)
				return
			}
			f.WriteString(f.Name())
			c.WriteFrame(2, []byte(f.Name()), int(f.Fd()))
			f.Close()
		}
		c.Close()
	}()
	seen := 0
	for {
		typ, p, err := s.ReadFrame()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if typ != 2 {
			continue
		}
		want := string(p)
		fd, err := s.TakeFD()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		k, err := syscall.Pread(fd, b, 0)
		syscall.Close(fd)
		if err != nil || string(b[:k]) != want {
			t.Fatalf("descriptor of %q leads to %q, %v", want, b[:max(k, 0)], err)
		}
		seen++
	}
	if seen != n {
		t.Errorf("got %d descriptors, want %d", seen, n)
	}
}

// TestWhoseDescriptor: of frames that are read in one go only that one which
// carries a descriptor has it, and what is not taken from it is nobody's.
func TestWhoseDescriptor(t *testing.T) {
	c, s := pair(t)
	null := devNull(t)
	frames := [][]int{nil, {null, null}, nil, {null}}
	for i, fds := range frames {
		if err := c.WriteFrame(byte(i+1), nil, fds...); err != nil {
			t.Fatal(err)
		}
	}
	for i, fds := range frames {
		if typ, _, err := s.ReadFrame(); err != nil || int(typ) != i+1 {
			t.Fatalf("frame %d is of type %d, %v", i+1, typ, err)
		}
		fd, err := s.TakeFD()
		if (err == nil) != (fds != nil) {
			t.Errorf("frame %d: %v", i+1, err)
		}
		if err == nil {
			syscall.Close(fd)
		}
	}
}

// TestTakenDescriptor: one that was taken is not touched any more, however the
// wait for the next frame ends.
func TestTakenDescriptor(t *testing.T) {
	for name, end := range map[string]func(c, s *Conn){
		"deadline":   func(c, s *Conn) { s.SetReadDeadline(time.Now()) },
		"end":        func(c, s *Conn) { c.Close() },
		"closed":     func(c, s *Conn) { s.c.Close() },
		"cut short":  func(c, s *Conn) { c.c.Write([]byte("\x00\x00")); c.Close() },
		"next frame": func(c, s *Conn) { c.WriteFrame(1, nil) },
	} {
		c, s := pair(t)
		fd := pass(t, c, s)
		over := make(chan error)
		go func() {
			_, _, err := s.ReadFrame()
			over <- err
		}()
		time.Sleep(20 * time.Millisecond) // so that the reader waits
		end(c, s)
		if err := <-over; (err == nil) != (name == "next frame") {
			t.Errorf("%s: %v", name, err)
		}
		if err := syscall.Close(fd); err != nil {
			t.Errorf("%s: the descriptor was closed: %v", name, err)
		}
	}
}

// TestUnwantedDescriptors: a peer that sends what nobody asked for leaves
// nothing open behind.
func TestUnwantedDescriptors(t *testing.T) {
	open := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(l)
	}
	null := devNull(t)
	before := open()
	for _, closes := range []bool{true, false} { // the peer first, or the reader
		for range 5 {
			c, s := pair(t)
			c.WriteFrame(1, []byte("x"), null, null, null, null)
			c.WriteFrame(1, []byte("y"), null, null, null, null)
			if _, _, err := s.ReadFrame(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.ReadFrame(); err != nil {
				t.Fatal(err)
			}
			c.Close()
			if closes {
				if _, _, err := s.ReadFrame(); err != io.EOF {
					t.Fatalf("got %v, want EOF", err)
				}
			}
			s.Close()
		}
	}
	if n := open(); n > before {
		t.Errorf("%d descriptors are still open", n-before)
	}
}

func TestWrongProtocol(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			if _, err := Accept(c, "other/1", time.Second); err == nil {
				t.Error("the server accepted another protocol")
			}
			c.Close()
		}
	}()
	if _, err := Dial(path, "test/1", time.Second); err == nil {
		t.Error("the client accepted another protocol")
	}
}

// FuzzReadFrame feeds a reader what a captured peer might send.
func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(nil, 1, []byte("hello"), 0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Add([]byte{0, 0, 0, 1, 1, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Skip(err)
		}
		syscall.SetNonblock(fds[0], true)
		file := os.NewFile(uintptr(fds[0]), "")
		nc, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go func() {
			syscall.Write(fds[1], b)
			syscall.Close(fds[1])
		}()
		c := NewConn(nc.(*net.UnixConn))
		total := 0
		for {
			_, p, err := c.ReadFrame()
			if err != nil {
				break
			}
			total += len(p)
		}
		if total > len(b) {
			t.Fatalf("%d bytes of payload out of %d", total, len(b))
		}
	})
}

// TestCloseOnExec: what is received stays out of commands that are run.
func TestCloseOnExec(t *testing.T) {
	c, s := pair(t)
	fd := pass(t, c, s)
	defer syscall.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}
