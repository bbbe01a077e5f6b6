package sockio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns the two ends of a connection, ours and a client of package net.
func pair(t *testing.T, network, addr string) (*Conn, net.Conn) {
	t.Helper()
	nl, err := net.Listen(network, addr)
	if err != nil {
		t.Skipf("SKIPPED: this machine has no %s: %v", network, err)
	}
	l, err := Listen(nl.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn), client
}

func TestConn(t *testing.T) {
	for _, k := range []struct{ network, addr string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"}} {
		c, client := pair(t, k.network, k.addr)
		if c.LocalAddr().String() != client.RemoteAddr().String() || c.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("%s: addresses %v, %v, the client's %v, %v", k.network, c.LocalAddr(), c.RemoteAddr(), client.LocalAddr(), client.RemoteAddr())
		}
		if some, err := c.Input(); some || err != nil {
			t.Errorf("Input is %v, %v before there is any", some, err)
		}
		// More than the buffers hold, so that both sides wait.
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
		go func() {
			client.Write(sent)
			client.(*net.TCPConn).CloseWrite()
		}()
		time.Sleep(50 * time.Millisecond)
		if some, err := c.Input(); !some || err != nil {
			t.Errorf("Input is %v, %v, want some", some, err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("read %d bytes of %d: %v", len(got), len(sent), err)
		}
		if some, err := c.Input(); some || err != io.EOF {
			t.Errorf("Input is %v, %v at the end, want EOF", some, err)
		}
		go func() {
			c.Write(sent)
			c.CloseWrite()
		}()
		time.Sleep(50 * time.Millisecond)
		if got, err = io.ReadAll(client); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("the client read %d bytes of %d: %v", len(got), len(sent), err)
		}
	}
}

func TestOptions(t *testing.T) {
	c, _ := pair(t, "tcp4", "127.0.0.1:0")
	rc, _ := c.SyscallConn()
	rc.Control(func(fd uintptr) {
		for _, o := range inherited {
			if v, err := syscall.GetsockoptInt(int(fd), o.level, o.opt); v != o.value || err != nil {
				t.Errorf("%s is %d, %v, want %d", o.name, v, err, o.value)
			}
		}
		if v, _, e := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0); v&syscall.FD_CLOEXEC == 0 || e != 0 {
			t.Errorf("descriptor flags are %d: %v", v, e)
		}
	})
}

func TestLimits(t *testing.T) {
	c, client := pair(t, "tcp4", "127.0.0.1:0")
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("after the deadline: %v", err)
	}
	much := make([]byte, 64<<20)
	c.SetWriteDeadline(time.Now().Add(time.Second))
	if n, err := c.Write(much); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(much) {
		t.Errorf("wrote %d bytes to somebody who does not read: %v", n, err)
	}
	c.SetDeadline(time.Time{})
	client.(*net.TCPConn).SetLinger(0)
	client.Close()
	if _, err = c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %v", err)
	}
	if _, err = c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing after a reset: %v", err)
	}
}

// TestClose ends what waits.
func TestClose(t *testing.T) {
	c, _ := pair(t, "tcp4", "127.0.0.1:0")
	done := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read that was closed: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing when closed: %v", err)
	}
	nl, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(nl.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that was closed: %v", err)
	}
}

// TestRecv: control messages are those of this call, none if it fails.
func TestRecv(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var s [2]*Stream
	var f [2]*os.File
	for i, fd := range fds {
		syscall.SetNonblock(fd, true)
		f[i] = os.NewFile(uintptr(fd), "")
		defer f[i].Close()
		s[i] = NewStream(f[i])
	}
	p, oob := make([]byte, 100), make([]byte, 64)
	if n, err := s[0].Send([]byte("with"), syscall.UnixRights(fds[0])); n != 4 || err != nil {
		t.Fatalf("sent %d bytes, %v", n, err)
	}
	n, oobn, err := s[1].Recv(p, oob)
	if string(p[:n]) != "with" || oobn != syscall.CmsgSpace(4) || err != nil {
		t.Errorf("received %q with %d bytes of control messages, %v", p[:n], oobn, err)
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	if rights, err := syscall.ParseUnixRights(&messages[0]); err != nil || len(rights) != 1 || syscall.Close(rights[0]) != nil {
		t.Errorf("descriptors %v, %v", rights, err)
	}
	s[0].Write([]byte("without"))
	if n, oobn, err = s[1].Recv(p, oob); string(p[:n]) != "without" || oobn != 0 || err != nil {
		t.Errorf("received %q with %d bytes of control messages, %v", p[:n], oobn, err)
	}
	f[1].SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, oobn, err = s[1].Recv(p, oob); n != 0 || oobn != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline %d bytes with %d of control messages, %v", n, oobn, err)
	}
}
