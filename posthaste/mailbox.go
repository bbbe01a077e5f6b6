package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"posthaste/pkg/maildir/store"
	"posthaste/pkg/mailtool"
)

// mailbox lists, verifies, rebuilds, fills and hands over mail stores.
func (c *control) mailbox(args []string) {
	o, err := store.Configured(c.cfg)
	if err == nil {
		err = mailtool.Run(args, mailtool.Options{Find: c.location, Store: o, Out: os.Stdout})
	}
	switch {
	case errors.Is(err, mailtool.ErrUsage):
		fmt.Fprint(os.Stderr, strings.ReplaceAll(mailtool.Usage, " MAIL", " USER|MAIL"))
		os.Exit(1)
	case errors.Is(err, mailtool.ErrProblems):
		os.Exit(1)
	case err != nil:
		tool.Fatalf("%v", err)
	}
}
