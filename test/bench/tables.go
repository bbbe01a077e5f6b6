package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tables compiles a large table and asks it for keys that it has.
func tables(b *bench) error {
	if err := b.up(1); err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "tables")
	if err := os.MkdirAll(dir, 0755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	const asked = 100_000
	table, sample := filepath.Join(dir, "table"), filepath.Join(dir, "sample")
	if err := writeLines(table, b.keys, func(i int) string {
		return fmt.Sprintf("user%d@example%d.test\tmailbox%d@store%d.test\n", i, i%1000, i, i%100)
	}); err != nil {
		return err
	}
	k := uint64(1)
	if err := writeLines(sample, asked, func(int) string {
		k = k*6364136223846793005 + 1442695040888963407
		i := (k >> 33) % uint64(b.keys)
		return fmt.Sprintf("user%d@example%d.test\n", i, i%1000)
	}); err != nil {
		return err
	}
	syscall.Sync()
	t := time.Now()
	if _, err := b.ctl(0, "postmap", "cdb", table); err != nil {
		return err
	}
	b.put("build", time.Since(t).Seconds(), "s")
	if st, err := os.Stat(table + ".cdb"); err == nil {
		b.put("size", float64(st.Size())/(1<<20), "MiB")
	}
	t = time.Now()
	found, err := b.ctl(0, "postmapq", "cdb", table, sample)
	if err != nil {
		return err
	}
	b.put("lookups", asked/time.Since(t).Seconds(), "key/s")
	if n := strings.Count(found, "\n"); n != asked {
		return fmt.Errorf("%d of %d keys found", n, asked)
	}
	return nil
}

func writeLines(name string, n int, line func(int) string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	for i := range n {
		w.WriteString(line(i))
	}
	return w.Flush()
}
