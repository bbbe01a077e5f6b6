//go:build race

package sockio

import "syscall"

// The race detector takes what one goroutine writes to a socket before another
// reads from one for ordered if package syscall does it.

func read(fd uintptr, p []byte) (uintptr, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return result(n, err)
}

func write(fd uintptr, p []byte) (uintptr, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	return result(n, err)
}

func result(n int, err error) (uintptr, syscall.Errno) {
	e, _ := err.(syscall.Errno)
	return uintptr(max(n, 0)), e
}
