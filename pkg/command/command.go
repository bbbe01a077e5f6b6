// Package command is the skeleton of the command-line tools: where the
// configuration is, how errors look and which exit status they give.
package command

import (
	"errors"
	"fmt"
	"os"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
)

// Exit statuses of sysexits.h that the tools use.
const (
	ExUsage       = 64
	ExDataErr     = 65
	ExNoUser      = 67
	ExUnavailable = 69
	ExSoftware    = 70
	ExOSErr       = 71
	ExTempFail    = 75
	ExNoPerm      = 77
)

// Tool is a running command.
type Tool struct {
	Name   string
	Status int // exit status of Fatalf; 0 means 1
	log    *maillog.Logger
}

// Warningf prints "NAME: warning: text" to standard error.
func (t *Tool) Warningf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%s: warning: %s\n", t.Name, fmt.Sprintf(format, a...))
	t.log.Warningf(format, a...)
}

// Fatalf prints "NAME: fatal: text" to standard error and exits.
func (t *Tool) Fatalf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%s: fatal: %s\n", t.Name, fmt.Sprintf(format, a...))
	t.log.Fatalf(format, a...)
	if t.Status != 0 {
		os.Exit(t.Status)
	}
	os.Exit(1)
}

// Config loads main.cf of dir (from -c; "" means MAIL_CONFIG or the default),
// and ends the program with a message if it cannot.
func (t *Tool) Config(dir string) *config.Config {
	c, err := config.Load(config.Options{Dir: dir, Known: params.All, Program: t.Name})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
}

// OpenLog makes problems go to the mail log, too, under the name of program: for
// tools that other programs start, whose standard error nobody reads.
func (t *Tool) OpenLog(c *config.Config, program string) {
	t.log = maillog.New(params.SyslogName.In(c)+"/"+program, maillog.OpenSink(c, program))
}

// Recover turns the panic of a bad parameter value into Fatalf; defer it in
// main.
func (t *Tool) Recover() {
	if r := recover(); r != nil {
		var ve *config.ValueError
		if err, ok := r.(error); ok && errors.As(err, &ve) {
			t.Fatalf("%v", ve)
		}
		panic(r)
	}
}
