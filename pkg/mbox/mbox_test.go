package mbox

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"posthaste/pkg/dsncode"
	"posthaste/pkg/filelock"
	"posthaste/pkg/mailcopy"
)

var all = filelock.Options{Methods: filelock.Fcntl | filelock.Flock | filelock.Dotlock, Attempts: 3}

func msg(r io.Reader) *Message {
	return &Message{Envelope: mailcopy.Envelope{Sender: "a@b"}, Flags: mailcopy.Mbox, Content: r}
}

func TestAppend(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir() + "/box"
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := Append(ctx, NewTarget(path, all), msg(strings.NewReader("x\r\nFrom y\r\n"))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, _ := os.ReadFile(path)
	if n := strings.Count(string(b), "\nReturn-Path: <a@b>\nx\n>From y\n\n"); n != 20 {
		t.Errorf("%d whole messages, want 20:\n%s", n, b)
	}
}

type failing struct{ r io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = errors.New("disk on fire")
	}
	return n, err
}

// TestTruncateBack: a delivery that fails half-way leaves no half.
func TestTruncateBack(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir() + "/box"
	if err := Append(ctx, NewTarget(path, all), msg(strings.NewReader("one\r\n"))); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	err := Append(ctx, NewTarget(path, all), msg(failing{strings.NewReader(strings.Repeat("0123456789\r\n", 20000))}))
	if e := dsncode.As(err, ""); e == nil || e.DSN != "4.3.0" {
		t.Errorf("%v", err)
	}
	limited := NewTarget(path, all)
	limited.Limit = int64(len(before)) + 100000
	err = Append(ctx, limited, msg(strings.NewReader(strings.Repeat("0123456789\r\n", 20000))))
	if e := dsncode.As(err, ""); e == nil || e.DSN != "5.2.2" {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("%d bytes, were %d", len(after), len(before))
	}
}

func TestRefused(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	os.WriteFile(dir+"/exe", nil, 0o755)
	os.WriteFile(dir+"/a", nil, 0o600)
	os.Link(dir+"/a", dir+"/b")
	os.Mkdir(dir+"/d", 0o700)
	for path, dsn := range map[string]string{"/exe": "5.7.1", "/b": "4.2.0", "/d": "4.2.0", "/none/x": "4.2.0"} {
		err := Append(ctx, NewTarget(dir+path, all), msg(strings.NewReader("x\r\n")))
		if e := dsncode.As(err, ""); e == nil || e.DSN != dsn {
			t.Errorf("%s: %v", path, err)
		}
	}
	null := NewTarget("/dev/null", all)
	if err := Append(ctx, null, msg(strings.NewReader("x\r\n"))); err == nil {
		t.Error("a device was taken for a mailbox")
	}
	null.AllowOther = true
	if err := Append(ctx, null, msg(strings.NewReader("x\r\n"))); err != nil {
		t.Error(err)
	}
}
