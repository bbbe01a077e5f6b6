package mboxio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fastDir is a directory in memory, if there is one: thousands of syncs.
func fastDir(t *testing.T) string {
	d, err := os.MkdirTemp("/dev/shm", "posthaste-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

var errKilled = errors.New("killed")

func message(i, size int) string {
	return fmt.Sprintf("From a@b%sSubject: %d\n\n%s\n\n", date, i, strings.Repeat(fmt.Sprintf("line of %d\n", i), size/10))
}

func subjects(t testing.TB, path string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range scan(t, string(b)) {
		w := wire(t, string(b), m)
		s, _, _ := strings.Cut(strings.TrimPrefix(w, "Subject: "), "\r\n")
		// The whole message, not a part of it.
		for _, l := range strings.Split(strings.TrimSpace(w), "\r\n")[2:] {
			if l != "line of "+s {
				t.Fatalf("message %s has a line %q", s, l)
			}
		}
		list = append(list, s)
	}
	return list
}

// change replaces the messages from the second on by others.
func change(journal string, f *os.File, from int64, tail string) error {
	tx, err := Begin(journal, f, from)
	if err != nil {
		return err
	}
	defer tx.Abort()
	if _, err := io.WriteString(tx, tail); err != nil {
		return err
	}
	return tx.Commit()
}

// TestCrash stops a change after each step and each piece that is written, with
// and without mail that is appended before somebody comes, and sees that nothing is lost.
func TestCrash(t *testing.T) {
	defer func() { Step = nil }()
	first := message(1, 500)
	cases := map[string][2]string{
		"shorter": {message(2, 9000) + message(3, 3000) + message(4, 5000), message(2, 9000) + message(4, 5000)},
		"longer":  {message(2, 3000) + message(4, 2000), message(2, 3000) + message(3, 9000) + message(4, 2000)},
		"append":  {"", message(2, 7000)},
		"expunge": {message(2, 7000), ""},
		"same":    {message(2, 7000), message(5, 7000)},
	}
	for name, c := range cases {
		for _, foreign := range []bool{false, true} {
			for stop := 0; ; stop++ {
				dir := fastDir(t)
				path, journal := dir+"/mbox", dir+"/journal"
				os.WriteFile(path, []byte(first+c[0]), 0o600)
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				n, at := 0, ""
				Step = func(s string) error {
					if n++; n > stop {
						at = s
						return errKilled
					}
					return nil
				}
				err = change(journal, f, int64(len(first)), c[1])
				Step = nil
				if err == nil && at == "" {
					f.Close()
					if got := subjects(t, path); stop < 3 || fmt.Sprint(got) != fmt.Sprint(want(t, first+c[1])) {
						t.Errorf("%s: %v after %d steps", name, got, stop)
					}
					break
				}
				if !errors.Is(err, errKilled) {
					t.Fatalf("%s, stopped at %s: %v", name, at, err)
				}
				if foreign {
					a, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
					io.WriteString(a, message(9, 6000))
					a.Close()
				}
				if err := Recover(journal, f); err != nil {
					t.Fatalf("%s, stopped at %s: recover: %v", name, at, err)
				}
				if Pending(journal) {
					t.Errorf("%s, stopped at %s: still pending", name, at)
				}
				result := first + c[1]
				if at == "journal" { // not committed
					result = first + c[0]
				}
				if foreign {
					result += message(9, 6000)
				}
				if got, want := subjects(t, path), want(t, result); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s, stopped at step %d, %s, foreign mail %v: %v, want %v", name, stop, at, foreign, got, want)
				}
				f.Close()
				os.RemoveAll(dir)
			}
		}
	}
}

func want(t *testing.T, text string) []string {
	path := filepath.Join(t.TempDir(), "want")
	os.WriteFile(path, []byte(text), 0o600)
	return subjects(t, path)
}

// TestPartly: blocks that reached the disk in any order before the power went.
func TestPartly(t *testing.T) {
	defer func() { Step = nil }()
	first := message(1, 100)
	old, now := message(2, 30000)+message(3, 20000), message(3, 20000)+message(4, 40000)
	for mask := 1; mask < 1<<10; mask += 7 {
		dir := fastDir(t)
		path, journal := dir+"/mbox", dir+"/journal"
		os.WriteFile(path, []byte(first+old), 0o600)
		f, _ := os.OpenFile(path, os.O_RDWR, 0)
		Step = func(s string) error {
			if s == "extend" {
				return errKilled
			}
			return nil
		}
		if err := change(journal, f, int64(len(first)), now); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		Step = nil
		for i := range 10 {
			if mask&(1<<i) != 0 {
				lo, hi := max(i*4096, len(first)), (i+1)*4096
				f.WriteAt([]byte(first + now)[lo:hi], int64(lo))
			}
		}
		if err := Recover(journal, f); err != nil {
			t.Fatal(err)
		}
		if got := subjects(t, path); fmt.Sprint(got) != "[1 3 4]" {
			t.Fatalf("%b: %v", mask, got)
		}
		f.Close()
	}
}

// TestRescue: another program has rewritten the file while a change was half done.
func TestRescue(t *testing.T) {
	defer func() { Step = nil }()
	first := message(1, 500)
	dir := t.TempDir()
	path, journal := dir+"/mbox", dir+"/journal"
	os.WriteFile(path, []byte(first+message(2, 9000)+message(3, 9000)), 0o600)
	f, _ := os.OpenFile(path, os.O_RDWR, 0)
	defer f.Close()
	n := 0
	Step = func(s string) error {
		if n++; n > 5 {
			return errKilled
		}
		return nil
	}
	if err := change(journal, f, int64(len(first)), message(3, 9000)+message(7, 100)); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	Step = nil
	os.WriteFile(path, []byte(first+message(8, 100)), 0o600) // what it made of what it found
	if err := Recover(journal, f); err != nil {
		t.Fatal(err)
	}
	if got := subjects(t, path); fmt.Sprint(got) != "[1 8 3 7]" {
		t.Errorf("%v", got)
	}
}

// TestDamagedJournal: it is put aside, and the file stays.
func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	path, journal := dir+"/mbox", dir+"/journal"
	os.WriteFile(path, []byte(message(1, 100)), 0o600)
	f, _ := os.OpenFile(path, os.O_RDWR, 0)
	defer f.Close()
	for _, b := range []string{"", "PHMBOXJ1", strings.Repeat("x", 10000)} {
		os.WriteFile(journal, []byte(b), 0o600)
		if err := Recover(journal, f); err != nil || Pending(journal) || fmt.Sprint(subjects(t, path)) != "[1]" {
			t.Errorf("%v", err)
		}
	}
}

// TestFullAgain: a disk that is full when a change is to be completed leaves the journal.
func TestFullAgain(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("SKIPPED: needs a small file system, and mounting one fails: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	defer func() { Step = nil }()
	first := message(1, 500)
	for _, foreign := range []string{"", message(9, 3000)} {
		path, journal := mnt+"/mbox", t.TempDir()+"/journal"
		os.WriteFile(path, []byte(first+message(2, 30000)+message(3, 20000)), 0o600)
		f, _ := os.OpenFile(path, os.O_RDWR, 0)
		writes := 0
		Step = func(s string) error {
			if s == "write" {
				writes++
			}
			if writes > 4 {
				return errKilled
			}
			return nil
		}
		if err := change(journal, f, int64(len(first)), message(3, 20000)+message(4, 90000)); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		Step = nil
		// As after a power cut: the blocks came to the disk, the new size did not.
		f.Truncate(int64(len(first + message(2, 30000) + message(3, 20000))))
		a, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		io.WriteString(a, foreign)
		a.Close()
		filler, _ := os.Create(mnt + "/filler")
		for err := error(nil); err == nil; {
			_, err = filler.Write(make([]byte, 512))
		}
		filler.Close()
		if err := Recover(journal, f); !errors.Is(err, unix.ENOSPC) || !Pending(journal) {
			t.Errorf("full: %v, pending %v", err, Pending(journal))
		}
		os.Remove(mnt + "/filler")
		if err := Recover(journal, f); err != nil || Pending(journal) {
			t.Errorf("room again: %v", err)
		}
		if got := subjects(t, path); fmt.Sprint(got) != fmt.Sprint(want(t, first+message(3, 20000)+message(4, 90000)+foreign)) {
			t.Errorf("%v", got)
		}
		f.Close()
	}
}

// TestDiskFull: no room for the journal, or for the file, changes nothing.
func TestDiskFull(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("SKIPPED: needs a small file system, and mounting one fails: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	for _, where := range []string{mnt, t.TempDir()} {
		journal := where + "/journal"
		path := mnt + "/mbox"
		text := message(1, 50000) + message(2, 50000)
		os.WriteFile(path, []byte(text), 0o600)
		f, _ := os.OpenFile(path, os.O_RDWR, 0)
		if err := change(journal, f, int64(len(text)), message(3, 400000)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("journal in %s: %v", where, err)
		}
		if got := subjects(t, path); fmt.Sprint(got) != "[1 2]" || Pending(journal) {
			t.Errorf("journal in %s: %v", where, got)
		}
		// With the journal elsewhere, messages can be removed all the same.
		if err := change(t.TempDir()+"/journal", f, 0, message(2, 50000)); err != nil || fmt.Sprint(subjects(t, path)) != "[2]" {
			t.Errorf("%v", err)
		}
		f.Close()
	}
}
