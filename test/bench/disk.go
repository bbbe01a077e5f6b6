package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// disk measures how many 4 KiB messages a second the file system takes
// durably, in the two ways in which a mail server may ask for it: a file and
// an fsync each, or one syncfs for many files.
func disk(b *bench) error {
	dir, err := os.MkdirTemp(b.dir, "disk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, writers := range []int{1, 10, 50} {
		rate, err := commitRate(filepath.Join(dir, fmt.Sprint("fsync", writers)), writers, 0, 2*time.Second)
		if err != nil {
			return err
		}
		b.put(fmt.Sprintf("fsync_%d_writers", writers), rate, "msg/s")
	}
	for _, batch := range []int{10, 50} {
		rate, err := commitRate(filepath.Join(dir, fmt.Sprint("syncfs", batch)), 1, batch, 2*time.Second)
		if err != nil {
			return err
		}
		b.put(fmt.Sprintf("syncfs_of_%d", batch), rate, "msg/s")
	}
	return nil
}

// commitRate writes files for the given time; batch 0 syncs each file.
func commitRate(dir string, writers, batch int, span time.Duration) (float64, error) {
	if err := os.Mkdir(dir, 0700); err != nil {
		return 0, err
	}
	root, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	data := messageBody(messageSize)[:messageSize]
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for k := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; time.Since(start) < span; i++ {
				for j := range max(batch, 1) {
					if err := writeOne(fmt.Sprintf("%s/%d-%d-%d", dir, k, i, j), data, batch == 0); err != nil {
						failed.Store(&err)
						return
					}
				}
				if batch > 0 {
					if err := unix.Syncfs(int(root.Fd())); err != nil {
						failed.Store(&err)
						return
					}
				}
				count.Add(int64(max(batch, 1)))
			}
		}()
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(count.Load()) / time.Since(start).Seconds(), nil
}

func writeOne(name string, data []byte, sync bool) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil || !sync {
		return err
	}
	return f.Sync()
}
