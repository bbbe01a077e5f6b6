//go:build !race

package sockio

import (
	"syscall"
	"unsafe"
)

func read(fd uintptr, p []byte) (n uintptr, e syscall.Errno) {
	n, _, e = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return n, e
}

func write(fd uintptr, p []byte) (n uintptr, e syscall.Errno) {
	n, _, e = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return n, e
}
