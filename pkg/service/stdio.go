package service

import (
	"net"
	"os"
	"strconv"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// stdioConn is standard input and output as a connection.
type stdioConn struct{}

func (stdioConn) Read(b []byte) (int, error)  { return os.Stdin.Read(b) }
func (stdioConn) Write(b []byte) (int, error) { return os.Stdout.Write(b) }
func (stdioConn) Close() error                { return os.Stdout.Close() }
func (stdioConn) LocalAddr() net.Addr         { return &net.UnixAddr{Name: "stdout", Net: "unix"} }
func (stdioConn) RemoteAddr() net.Addr        { return &net.UnixAddr{Name: "stdin", Net: "unix"} }
func (stdioConn) SetDeadline(t time.Time) error {
	stdioConn{}.SetReadDeadline(t)
	return stdioConn{}.SetWriteDeadline(t)
}
func (stdioConn) SetReadDeadline(t time.Time) error  { os.Stdin.SetReadDeadline(t); return nil } // files have none: the session then has no time limit
func (stdioConn) SetWriteDeadline(t time.Time) error { os.Stdout.SetWriteDeadline(t); return nil }
