package queue

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
)

// TestDiesAtEachStep ends the writer before each of its system calls, and in
// the middle of each write: what is found afterwards is a complete message or
// is known not to be one, and a message whose Commit returned is there.
func TestDiesAtEachStep(t *testing.T) {
	for _, size := range []int{100, 300_000} {
		for _, hold := range []bool{false, true} {
			for step := 0; ; step++ {
				if finished := dieAt(t, size, hold, step); finished {
					if step < 3 {
						t.Fatalf("only %d steps", step)
					}
					break
				}
			}
		}
	}
}

// dieAt runs a writer whose system calls do nothing from number step on, as if
// the process were gone, and looks at the directory.
func dieAt(t *testing.T, size int, hold bool, step int) (finished bool) {
	t.Helper()
	n := 0
	dead := func() bool { n++; return n > step }
	real := durable.Real()
	half := func(p []byte) []byte {
		if n == step+1 {
			return p[:len(p)/2]
		}
		return nil
	}
	ops := &durable.Ops{
		Open: func(name string, flag int, perm uint32) (int, error) {
			if flag&unix.O_CREAT != 0 && dead() {
				return -1, unix.EIO
			}
			return real.Open(name, flag, perm)
		},
		Write: func(fd int, p []byte) (int, error) {
			if dead() {
				if h := half(p); len(h) > 0 {
					real.Write(fd, h)
				}
				return 0, unix.EIO
			}
			return real.Write(fd, p)
		},
		Pwrite: func(fd int, p []byte, off int64) (int, error) {
			if dead() {
				if h := half(p); len(h) > 0 {
					real.Pwrite(fd, h, off)
				}
				return 0, unix.EIO
			}
			return real.Pwrite(fd, p, off)
		},
		Fsync: func(fd int) error {
			if dead() {
				return unix.EIO
			}
			return nil
		},
		Rename: func(a, b string) error {
			if dead() {
				return unix.EIO
			}
			return real.Rename(a, b)
		},
		// A process that is gone removes nothing.
		Unlink: func(string) error { return unix.EIO },
	}
	s := newSpool(t, Options{Ops: ops})
	m := testMessage()
	w, err := s.Create(Incoming, m)
	if err != nil {
		t.Fatal(err)
	}
	w.Recipient(&envelope.Recipient{Address: "a@b.test"})
	w.Write(everyByte(size))
	w.Recipient(&envelope.Recipient{Address: "late@b.test"})
	if hold {
		w.SetQueue(Hold)
	}
	err = w.Commit()
	found := 0
	for _, q := range []string{Incoming, Hold} {
		f, lerr := s.Load(q, m.ID)
		switch {
		case lerr == nil:
			found++
			if f.Verify() != nil || f.ContentLength() != int64(size) || f.Pending() != 2 {
				t.Errorf("size %d, step %d: what was found in %s is not the message", size, step, q)
			}
			f.Close()
		case errors.Is(lerr, os.ErrNotExist), errors.Is(lerr, ErrIncomplete), errors.Is(lerr, ErrCorrupt):
		default:
			t.Errorf("size %d, step %d: %v", size, step, lerr)
		}
	}
	if err == nil && found != 1 || found > 1 {
		t.Errorf("size %d, step %d: Commit() = %v, found %d times", size, step, err, found)
	}
	return err == nil
}
