package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"posthaste/pkg/mailtool"
	"posthaste/pkg/params"
)

// mailbox lists, verifies, rebuilds, fills and hands over mail stores.
func (c *control) mailbox(args []string) {
	err := mailtool.Run(args, mailtool.Options{Maildir: c.maildir, Host: params.Myhostname.In(c.cfg), Out: os.Stdout})
	switch {
	case errors.Is(err, mailtool.ErrUsage):
		fmt.Fprint(os.Stderr, strings.ReplaceAll(mailtool.Usage, "MAILDIR", "USER|MAILDIR"))
		os.Exit(1)
	case errors.Is(err, mailtool.ErrProblems):
		os.Exit(1)
	case err != nil:
		tool.Fatalf("%v", err)
	}
}
