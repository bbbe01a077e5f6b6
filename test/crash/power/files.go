package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
)

// writers is how many files are on their way at a time.
const writers = 12

// recordFiles has files made durable by pkg/durable as mailboxes do it, and marks
// each in the record when that is done, beside others who sync files of their own, so
// that the file system commits in the middle of what is tried.
func (b *bench) recordFiles() (start int, err error) {
	if err := b.mount("disk"); err != nil {
		return 0, err
	}
	dir := filepath.Join(b.mnt, "box")
	for _, d := range []string{dir, dir + "/tmp", dir + "/new", dir + "/noise"} {
		if err := os.Mkdir(d, 0700); err != nil {
			return 0, err
		}
	}
	c, err := durable.New(dir, durable.Options{Syncfs: b.o.syncfs})
	if err != nil {
		return 0, err
	}
	unix.Sync()
	start = b.dev.rec.position("start")

	var next atomic.Int64
	var failed atomic.Pointer[error]
	var work, noise sync.WaitGroup
	stop := make(chan struct{})
	for i := range 2 {
		noise.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				f, err := os.Create(fmt.Sprint(dir, "/noise/", i))
				if err == nil {
					f.WriteString("x")
					f.Sync()
					f.Close()
				}
			}
		})
	}
	for range writers {
		work.Go(func() {
			for n := next.Add(1); int(n) <= b.o.n && failed.Load() == nil; n = next.Add(1) {
				name := fmt.Sprintf("f%06d", n)
				if err := writeFile(c, dir, name); err != nil {
					failed.Store(&err)
					return
				}
				b.dev.rec.mark("ack " + name)
			}
		})
	}
	work.Wait()
	close(stop)
	noise.Wait()
	c.Close()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	alone, shared := c.Stats()
	fmt.Printf("%s: %d files synced alone, %d shared syncs for the others\n", b.o.fs, alone, shared)
	return start, b.unmount()
}

func writeFile(c *durable.Committer, dir, name string) error {
	f, err := os.OpenFile(dir+"/tmp/"+name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(fileContent(name)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), dir+"/new/"+name); err != nil {
		return err
	}
	return c.CommitFD(int(f.Fd()), -1, name)
}

var contents sync.Map // of files by name

// fileContent is what is in a file, of up to eight blocks.
func fileContent(name string) []byte {
	if p, ok := contents.Load(name); ok {
		return p.([]byte)
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewSource(int64(h.Sum64())))
	p := make([]byte, 1+rng.Intn(8*block))
	rng.Read(p)
	contents.Store(name, p)
	return p
}

// lookFiles checks that all files are there that k knows of.
func (b *bench) lookFiles(t *tally, k *known) error {
	for _, name := range k.acked {
		t.checked++
		got, err := os.ReadFile(filepath.Join(b.mnt, "box/new", name))
		switch {
		case err != nil:
			t.lost++
			t.wrong("state %d: %v", t.states, err)
		case !bytes.Equal(got, fileContent(name)):
			t.torn++
			t.wrong("state %d: %s: %d bytes, not as they were written", t.states, name, len(got))
		}
	}
	return nil
}
