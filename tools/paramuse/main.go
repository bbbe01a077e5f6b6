// Paramuse writes pkg/params/used.go: the sorted list of the parameters that
// some program reads. It looks for references to the declarations of package
// params, for calls that name a parameter in a string, and for the names that
// the defaults of those refer to.
//
// Usage:
//
//	paramuse [-n]
//
// Run anywhere in the module. With -n it prints the list and writes nothing.
//
// A program that makes up names as it goes (lmtp_ from smtp_) says so in a
// comment: //params:use lmtp_tls_*
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"posthaste/tools/internal/use"
)

func main() {
	dry := flag.Bool("n", false, "print, do not write")
	flag.Parse()
	root, err := use.Root()
	if err != nil {
		fatal(err)
	}
	text, err := use.Generate(root)
	if err != nil {
		fatal(err)
	}
	if *dry {
		os.Stdout.Write(text)
		return
	}
	if err := os.WriteFile(filepath.Join(root, use.File), text, 0o644); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "paramuse: fatal: %v\n", err)
	os.Exit(1)
}
