// Postcat prints queue files.
//
// # Usage
//
//	postcat [-vn] [-c config_dir] [-bdefhoqr] [-s offset] [file ...]
//
// # Description
//
// Postcat prints the envelope records and the content of queue files in a
// readable form. Without -b, -e and -h it prints everything; without a file, it
// reads one from standard input.
//
//	-b      the body of the message, from the empty line on that precedes it
//	-c dir  the directory of main.cf, for -q
//	-d      the type of each envelope record as a decimal number in front of it
//	-e      the envelope: sender, recipients and what happened to them
//	-f      the name of the file in front of each line
//	-h      the header of the message
//	-n      accepted; there is nothing that it could change
//	-o      the offset in the file in front of each line of the content
//	-q      the arguments are queue IDs; all queues are searched, and the name of
//	        the file shows in which a message is
//	-r      accepted: these files have no pointers to follow
//	-s off  leave out content in front of this offset in the file
//	-v      verbose
//
// Recipients are printed as "recipient", or as "done_recipient" when they have
// their final outcome. After them stand the outcomes recorded so far, in their
// order.
//
// # Security
//
// Postcat opens what its caller can open.
//
// # Diagnostics
//
// A file that is missing or damaged is a fatal error, exit status 1.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"posthaste/pkg/command"
	"posthaste/pkg/params"
	"posthaste/pkg/queue"
)

func main() {
	t := &command.Tool{Name: "postcat"}
	defer t.Recover()
	fs := flag.NewFlagSet(t.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var p printer
	dir := fs.String("c", "", "")
	byID := fs.Bool("q", false, "")
	fs.BoolVar(&p.body, "b", false, "")
	fs.BoolVar(&p.decimal, "d", false, "")
	fs.BoolVar(&p.envelope, "e", false, "")
	fs.BoolVar(&p.names, "f", false, "")
	fs.BoolVar(&p.header, "h", false, "")
	fs.BoolVar(&p.offsets, "o", false, "")
	fs.Int64Var(&p.start, "s", 0, "")
	for _, o := range []string{"n", "r", "v"} {
		fs.Bool(o, false, "")
	}
	if fs.Parse(command.SplitOptions(os.Args[1:], "cs")) != nil {
		t.Fatalf("usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] [-f (prepend file name)] [-h (header text)] [-o (prepend file offset)] [-q (access queue)] [-s offset] [-v] [file(s)...]")
	}
	if !p.body && !p.envelope && !p.header {
		p.body, p.envelope, p.header = true, true, true
	}
	w := bufio.NewWriter(os.Stdout)
	p.w = w
	o := queue.Options{Syncfs: "no"}
	base := "."
	if *byID {
		cfg := t.Config(*dir)
		o.HashNames, o.HashDepth = params.HashQueueNames.List(cfg), params.HashQueueDepth.In(cfg)
		base = params.QueueDirectory.In(cfg)
	}
	sp, err := queue.Open(base, o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	show := func(f *queue.File, name string, err error) {
		if err == nil {
			err = p.file(f, name)
			f.Close()
		}
		if err != nil {
			w.Flush()
			t.Fatalf("%v", err)
		}
	}
	if fs.NArg() == 0 {
		if f, err := loadStdin(sp); f != nil || err != nil {
			show(f, "stdin", err)
		}
	}
	for _, arg := range fs.Args() {
		if *byID {
			f, path, err := find(sp, arg)
			show(f, strings.TrimPrefix(path, base+"/"), err)
		} else {
			f, err := sp.LoadPath(arg)
			show(f, arg, err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatalf("%v", err)
	}
}

// find opens a message by its ID and says where its file is.
func find(sp *queue.Spool, id string) (f *queue.File, path string, err error) {
	for try := 0; ; try++ {
		name, err := sp.Find(id)
		if err != nil {
			return nil, "", fmt.Errorf("open queue file %s: %w", id, err)
		}
		f, err := sp.Load(name, id)
		if err == nil || !os.IsNotExist(err) || try > 5 {
			return f, sp.Path(name, id), err
		}
	}
}

// loadStdin opens what standard input has: nil if that is nothing. A queue file
// is not read from front to end, so that it is copied.
func loadStdin(sp *queue.Spool) (*queue.File, error) {
	tmp, err := os.CreateTemp("", "postcat")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	n, err := io.Copy(tmp, os.Stdin)
	if n == 0 || err != nil {
		return nil, err
	}
	f, err := sp.LoadPath(tmp.Name())
	var fe *queue.FileError
	if errors.As(err, &fe) {
		fe.Path = "stdin"
	}
	return f, err
}
