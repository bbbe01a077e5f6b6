// Postcat prints queue files.
//
// # Usage
//
//	postcat [-vn] [-c config_dir] [-bdefhoqr] [-s offset] file ...
//
// # Description
//
// Postcat prints the envelope records and the content of queue files in a
// readable form. Without -b, -e and -h it prints everything.
//
//	-b      the body of the message
//	-c dir  the directory of main.cf, for -q
//	-d      the type of each envelope record as a decimal number in front of it
//	-e      the envelope: sender, recipients and what happened to them
//	-f      the name of the file in front of each line
//	-h      the header of the message
//	-n      accepted; there is nothing that it could change
//	-o      the offset in the file in front of each line of the content
//	-q      the arguments are queue IDs; all queues are searched
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
	"flag"
	"fmt"
	"io"
	"os"

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
	for _, arg := range fs.Args() {
		f, err := load(sp, arg, *byID)
		if err == nil {
			err = p.file(f, arg)
			f.Close()
		}
		if err != nil {
			w.Flush()
			t.Fatalf("%v", err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatalf("%v", err)
	}
}

func load(sp *queue.Spool, arg string, byID bool) (*queue.File, error) {
	if !byID {
		return sp.LoadPath(arg)
	}
	for try := 0; ; try++ {
		name, err := sp.Find(arg)
		if err != nil {
			return nil, fmt.Errorf("open queue file %s: %w", arg, err)
		}
		f, err := sp.Load(name, arg)
		if err == nil || !os.IsNotExist(err) || try > 5 {
			return f, err
		}
	}
}
