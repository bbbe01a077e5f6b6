package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"posthaste/pkg/instance"
	"posthaste/pkg/sasl/passwd"
)

// initInstance makes a private instance and compiles its tables.
func initInstance(argv []string) {
	fs := flag.NewFlagSet("posthaste init", flag.ContinueOnError)
	in := instance.Init{}
	fs.StringVar(&in.Dir, "dir", "", "`directory` to make")
	fs.StringVar(&in.Domain, "domain", "example.test", "mail `domain`")
	fs.IntVar(&in.PortBase, "port-base", 10000, "`number` that is added to each standard port")
	fs.Func("user", "`NAME:PASSWORD` of a mailbox, may be repeated", func(s string) error {
		u, err := instance.ParseUser(s)
		in.Users = append(in.Users, u)
		return err
	})
	fs.Func("users", "`file` of NAME:PASSWORD lines", func(s string) error {
		l, err := instance.ReadUsers(s)
		in.Users = append(in.Users, l...)
		return err
	})
	if err := fs.Parse(argv); err != nil || in.Dir == "" || fs.NArg() > 0 {
		if err == nil {
			fs.Usage()
		}
		os.Exit(1)
	}
	self, err := os.Executable()
	if err != nil {
		tool.Fatalf("%v", err)
	}
	in.BinDir = filepath.Dir(self)
	in.Hash = passwd.HashScram
	if err := in.Write(); err != nil {
		tool.Fatalf("%v", err)
	}
	etc := filepath.Join(in.Dir, "etc")
	for _, t := range []struct{ program, table string }{{"postmap", "vmailbox"}, {"postmap", "virtual"}, {"postalias", "aliases"}} {
		cmd := exec.Command(filepath.Join(in.BinDir, t.program), "-c", etc, "hash:"+filepath.Join(etc, t.table))
		if out, err := cmd.CombinedOutput(); err != nil {
			tool.Fatalf("%s %s: %v\n%s", t.program, t.table, err, out)
		}
	}
	c := newControl(etc)
	if err := instance.Prepare(c.cfg); err != nil {
		tool.Fatalf("%v", err)
	}
	fmt.Printf("%s: a private mail system for %s\n", in.Dir, in.Domain)
	fmt.Printf("  SMTP 127.0.0.1:%d, submission :%d, submissions :%d\n", in.PortBase+25, in.PortBase+587, in.PortBase+465)
	fmt.Printf("  start it with: %s -c %s start\n", self, etc)
}
