package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// proxyBuffer is what one read from a session program may bring; it is taken
	// from a pool only while there is something to read.
	proxyBuffer = 64 << 10
	// smallRead is what an idle client keeps a buffer for.
	smallRead = 2 << 10
	// record is the most that one record of TLS holds.
	record = 16 << 10
	// writeTimeout is how long a client may take to accept what one read brought.
	writeTimeout = 5 * time.Minute
	// linger is how long a client may take to notice that its session is over.
	linger = 5 * time.Second
)

var (
	buffers = sync.Pool{New: func() any { b := make([]byte, proxyBuffer); return &b }}
	uploads = sync.Pool{New: func() any { b := make([]byte, record); return &b }}
)

// proxy copies between a client under TLS and its session program until both
// have ended, or one cannot be written to. The end of the client's stream is
// passed on to the session program, which ends the session in its own way; the
// end of the session ends the connection.
func proxy(ctx context.Context, raw net.Conn, client *tls.Conn, program *net.UnixConn) {
	stop := context.AfterFunc(ctx, func() { raw.Close(); program.Close() })
	defer stop()
	up := make(chan struct{})
	go func() {
		defer close(up)
		if toProgram(client, program) == nil {
			program.CloseWrite()
		} else {
			// Nobody reads, or the client is gone without a word: the session
			// program shall see that at once.
			program.Close()
		}
	}()
	err := toClient(raw, client, program)
	raw.SetDeadline(time.Now().Add(linger))
	if err == nil {
		client.CloseWrite()
		<-up // until the client closes, too, so that what was sent arrives
	}
	raw.Close()
	program.Close()
	<-up
}

// toProgram copies what the client sends. nil is the end that the client
// announced.
func toProgram(client *tls.Conn, program *net.UnixConn) error {
	small := make([]byte, smallRead)
	for {
		n, err := client.Read(small)
		if n > 0 {
			if _, werr := program.Write(small[:n]); werr != nil {
				return discard(client)
			}
		}
		for large := n == len(small); large && err == nil; {
			large, err = copyLarge(client, program)
		}
		switch {
		case errors.Is(err, errProgram):
			return discard(client)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// errProgram says that the session program reads no more.
var errProgram = errors.New("session program is gone")

// discard reads on until the client notices that its session is over: closing
// with input unread would take back what was sent last.
func discard(client *tls.Conn) error {
	_, err := io.Copy(io.Discard, client)
	return err
}

// copyLarge copies one large read of an upload; more tells that it was as large
// as a read can be.
func copyLarge(client *tls.Conn, program *net.UnixConn) (more bool, err error) {
	b := uploads.Get().(*[]byte)
	defer uploads.Put(b)
	n, err := client.Read(*b)
	if n > 0 {
		if _, werr := program.Write((*b)[:n]); werr != nil {
			return false, errProgram
		}
	}
	return n == len(*b), err
}

// toClient copies what the session program sends. nil is its end.
func toClient(raw net.Conn, client *tls.Conn, program *net.UnixConn) error {
	rc, err := program.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var b *[]byte
		var n int
		var rerr error
		err := rc.Read(func(fd uintptr) bool {
			b = buffers.Get().(*[]byte)
			for {
				n, rerr = syscall.Read(int(fd), *b)
				if rerr != syscall.EINTR {
					break
				}
			}
			if rerr == syscall.EAGAIN {
				buffers.Put(b) // an idle session holds none
				b = nil
				return false
			}
			return true
		})
		if err == nil {
			err = rerr
		}
		if err == nil && n > 0 {
			raw.SetWriteDeadline(time.Now().Add(writeTimeout))
			_, err = client.Write((*b)[:n])
			// None between writes: what TLS has to say while it reads is no sign of
			// a client that takes nothing.
			raw.SetWriteDeadline(time.Time{})
		} else if err == nil {
			err = io.EOF
		}
		if b != nil {
			buffers.Put(b)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
