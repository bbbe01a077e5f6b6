package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/maillog"
)

// TestMain is also the worker: it reports who it is and what it was given.
func TestMain(m *testing.M) {
	if !Requested() {
		os.Exit(m.Run())
	}
	err := Serve(func(hello []byte) (Handler, bool, error) {
		return func(ctx context.Context, p []byte, files []*os.File) []byte {
			switch string(p) {
			case "die":
				os.Exit(3)
			case "read":
				b, _ := io.ReadAll(io.NewSectionReader(files[0], 0, 100))
				return b
			}
			return fmt.Appendf(nil, "%s %s pid=%d uid=%d gid=%d files=%d", hello, p, os.Getpid(), os.Getuid(), os.Getgid(), len(files))
		}, false, nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func self() Identity {
	return Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Groups: []uint32{uint32(os.Getegid())}}
}

func pool(t *testing.T, o Options) *Pool {
	o.Program, o.Hello, o.Log = "test", []byte("hello"), maillog.New("test", maillog.Discard{})
	p := New(o)
	t.Cleanup(p.Close)
	return p
}

func call(t *testing.T, p *Pool, id Identity, req string, fds ...int) string {
	t.Helper()
	b, err := p.Call(context.Background(), id, []byte(req), fds...)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pid(s string) int {
	_, s, _ = strings.Cut(s, "pid=")
	s, _, _ = strings.Cut(s, " ")
	n, _ := strconv.Atoi(s)
	return n
}

func TestCall(t *testing.T) {
	p := pool(t, Options{})
	a := call(t, p, self(), "x")
	if !strings.HasPrefix(a, "hello x pid=") || !strings.HasSuffix(a, fmt.Sprintf("uid=%d gid=%d files=0", os.Getuid(), os.Getgid())) {
		t.Error(a)
	}
	if b := call(t, p, self(), "x"); pid(a) != pid(b) {
		t.Errorf("a second worker: %s, %s", a, b)
	}
	f, _ := os.CreateTemp(t.TempDir(), "f")
	f.WriteString("through a descriptor")
	if got := call(t, p, self(), "read", int(f.Fd())); got != "through a descriptor" {
		t.Errorf("%q", got)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if got := call(t, p, self(), strconv.Itoa(i), int(f.Fd())); !strings.HasPrefix(got, fmt.Sprintf("hello %d pid", i)) || !strings.HasSuffix(got, "files=1") {
				t.Errorf("%d: %s", i, got)
			}
		})
	}
	wg.Wait()
}

func TestDies(t *testing.T) {
	p := pool(t, Options{})
	a := call(t, p, self(), "x")
	if _, err := p.Call(context.Background(), self(), []byte("die")); !errors.Is(err, ErrDied) {
		t.Errorf("%v", err)
	}
	if b := call(t, p, self(), "x"); pid(b) == pid(a) {
		t.Errorf("%s after its death", b)
	}
}

// TestIdle: an unused worker is let go, and its process ends.
func TestIdle(t *testing.T) {
	p := pool(t, Options{Idle: time.Millisecond})
	call(t, p, self(), "x")
	for deadline := time.Now().Add(10 * time.Second); len(p.PIDs()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("still there")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestLimits: with places for two workers and many users, all are served.
func TestLimits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: several uids need root")
	}
	p := pool(t, Options{Max: 2, PerUser: 1})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			id := Identity{UID: uint32(21000 + i%6), GID: 21000}
			if got := call(t, p, id, "x"); !strings.Contains(got, fmt.Sprintf("uid=%d gid=21000", id.UID)) {
				t.Error(got)
			}
			if n := len(p.PIDs()); n > 2 {
				t.Errorf("%d workers", n)
			}
		})
	}
	wg.Wait()
	// New groups mean a new process.
	id := Identity{UID: 21000, GID: 21000}
	a := call(t, p, id, "x")
	id.Groups = []uint32{21001}
	if b := call(t, p, id, "x"); pid(a) == pid(b) {
		t.Error("a worker with old groups was used")
	}
}

func TestCancel(t *testing.T) {
	p := pool(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Call(ctx, self(), []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
