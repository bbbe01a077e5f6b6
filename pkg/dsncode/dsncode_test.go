package dsncode

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestSplit(t *testing.T) {
	for in, want := range map[string][2]string{
		"4.2.2 full":   {"4.2.2", "full"},
		"5.7.1":        {"5.7.1", ""},
		"2.0.0\tok":    {"2.0.0", "ok"},
		"3.2.2 x":      {"D", "3.2.2 x"},
		"5.7 x":        {"D", "5.7 x"},
		"5.7.1x":       {"D", "5.7.1x"},
		"5.1234.1 x":   {"D", "5.1234.1 x"},
		"":             {"D", ""},
		"4.123.456  y": {"4.123.456", "y"},
	} {
		if d, r := Split("D", in); d != want[0] || r != want[1] {
			t.Errorf("Split(%q) = %q, %q; want %q", in, d, r, want)
		}
	}
}

func TestErrno(t *testing.T) {
	for no, want := range map[syscall.Errno]string{syscall.ENOSPC: "4.3.0", syscall.EDQUOT: "4.2.2", syscall.EFBIG: "5.2.2", syscall.EACCES: "4.9.9", syscall.ESTALE: "4.2.0"} {
		err := fmt.Errorf("write: %w", &os.PathError{Op: "write", Path: "/x", Err: no})
		if e := As(err, "4.9.9"); e.DSN != want || !e.Temporary() != (want[0] == '5') {
			t.Errorf("%v: %s, want %s", no, e.DSN, want)
		}
	}
	if As(nil, "4.0.0") != nil {
		t.Error("an error from none")
	}
}
