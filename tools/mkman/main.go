// Mkman writes the manual pages in man/: man1 and man8 from the package
// comments of the programs, with the parameters that each of them reads, and
// man5 from the texts in section5/ and from package params.
//
// Usage:
//
//	mkman [-l]
//
// Run anywhere in the module. With -l it lists the pages and writes nothing.
//
// # Description
//
// A program is a folder of the module's root with a main.go. Its page is in
// section 8 if it is a daemon (master, and what is built on pkg/service), else in
// section 1. The text of a page is in the syntax of go/doc/comment. Its first
// sentence becomes the NAME section, what stands under "Usage" the SYNOPSIS.
//
// Pages that have no source any more are removed.
package main

//go:generate go run posthaste/tools/mkman

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthaste/tools/internal/use"
)

func main() {
	list := flag.Bool("l", false, "list the pages")
	flag.Parse()
	if err := run(*list); err != nil {
		fmt.Fprintf(os.Stderr, "mkman: fatal: %v\n", err)
		os.Exit(1)
	}
}

func run(list bool) error {
	root, err := use.Root()
	if err != nil {
		return err
	}
	pages, err := generate(root)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(pages) {
		if list {
			fmt.Println(name)
			continue
		}
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, pages[name], 0o644); err != nil {
			return err
		}
	}
	if list {
		return nil
	}
	old, err := stored(root)
	if err != nil {
		return err
	}
	for _, name := range old {
		if pages[name] == nil {
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// generate makes all pages, by their names relative to root.
func generate(root string) (map[string][]byte, error) {
	pages := map[string][]byte{}
	if err := programs(root, pages); err != nil {
		return nil, err
	}
	return pages, formats(root, pages)
}

// stored lists the pages in man/.
func stored(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, "man", "man*", "*"))
	for i, f := range files {
		files[i], _ = filepath.Rel(root, f)
		files[i] = filepath.ToSlash(files[i])
	}
	return files, err
}

func sortedKeys[V any](m map[string]V) []string {
	l := make([]string, 0, len(m))
	for k := range m {
		l = append(l, k)
	}
	slices.Sort(l)
	return l
}

// pageName is man/man8/smtpd.8 for smtpd and 8.
func pageName(name string, section int) string {
	return fmt.Sprintf("man/man%d/%s.%d", section, name, section)
}

// alias makes a page that is another name of the same section's page.
func alias(pages map[string][]byte, name, of string, section int) {
	target := strings.TrimPrefix(pageName(of, section), "man/")
	pages[pageName(name, section)] = []byte(".so " + target + "\n")
}
