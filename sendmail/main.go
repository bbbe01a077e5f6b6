// Sendmail submits mail, in the way that programs have expected since long
// before this mail system. Under the name mailq it lists the queue, under the
// name newaliases it rebuilds the alias database.
//
// # Usage
//
//	sendmail [option ...] [recipient ...]
//	mailq
//	newaliases
//
// # Description
//
// By default sendmail reads a message from standard input until end-of-file or
// a line with only a dot, and hands it to postdrop(1). It succeeds when the
// message is on stable storage, also while the mail system is down.
// Options come before recipients and may be joined (-oi -t as -oit is not
// an option of that kind: letters that take no argument may be joined).
//
//	-Am, -Ac          ignored
//	-B 7BIT|8BITMIME  body type
//	-bd, -bl          start the mail system
//	-bh, -bH          ignored
//	-bi, -I           rebuild the alias database
//	-bm               read mail from standard input (default)
//	-bp               list the queue
//	-bs               SMTP on standard input and output
//	-bv               deliver nothing; mail a report of what would happen
//	-C FILE|DIR       configuration file or directory
//	-F NAME           full name of the sender, for a missing From: header
//	-f, -r ADDRESS    envelope sender; "" and "<>" are the null sender
//	-G                gateway submission: headers are not completed
//	-h N, -L TAG, -m, -n, -o7, -o8, -om, -oX..., -U  ignored
//	-i, -oi           a line with only a dot is text
//	-n, -X FILE       (no aliases, log of the dialogue) are refused, as by Postfix
//	-N DSN            never, or a list of success, failure, delay; other values
//	                  are reported and ignored, and so they are with -R
//	-O OPTION=VALUE   smtputf8=yes and requiretls=yes count; others are ignored
//	-oA[TYPE:]FILE    alias database for -I
//	-q                flush the queue; -q TIME does nothing
//	-qI ID            try one message now
//	-qR SITE          try the mail for a site now
//	-R full|hdrs      what of the message a report returns
//	-t                take recipients from the To:, Cc: and Bcc: headers, or from
//	                  their Resent- forms if there are some
//	-V ENVID          envelope id; -XV is VERP in Postfix and is refused here
//	-v                mail a report of the delivery; twice: log more
//
// A leading "From " or ">From " line is dropped. Whether CRLF is a line end is
// for sendmail_fix_line_endings to say.
//
// # Security
//
// sendmail has no rights of its own; postdrop(1) checks what it is told.
//
// # Diagnostics
//
// Exit status 0: the message is in maildrop. 75: something was wrong, whatever
// it was; standard error and the log say what. 1: there is no configuration. Programs that
// are started in sendmail's place return their own status.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"posthaste/pkg/address"
	"posthaste/pkg/command"
	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/postdrop"
)

func main() {
	name := filepath.Base(os.Args[0])
	t := &command.Tool{Name: name}
	defer t.Recover()
	o, err := parse(name, os.Args[1:])
	// Without a configuration the status is 1. With one, even a wrong option is a 75.
	cfg := t.Config(o.config)
	t.OpenLog(cfg, "sendmail") // whatever its name is
	t.Status = command.ExTempFail
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, w := range o.warnings {
		t.Warningf("%s", w)
	}
	switch o.mode {
	case modeNothing:
	case modeMail:
		if err := submit(t, cfg, o); err != nil {
			t.Fatalf("%v", err)
		}
	default:
		t.Fatalf("%v", become(cfg, o))
	}
}

// become replaces the process by the program that a mode stands for.
func become(cfg *config.Config, o *options) error {
	bin := params.CommandDirectory.In(cfg)
	prog, argv := "", []string{}
	switch o.mode {
	case modeList:
		prog, argv = "postqueue", []string{"-p"}
	case modeFlush:
		prog, argv = "postqueue", []string{"-f"}
	case modeFlushID:
		prog, argv = "postqueue", []string{"-i", o.flush}
	case modeFlushSite:
		prog, argv = "postqueue", []string{"-s", o.flush}
	case modeDaemon:
		prog, argv = "posthaste", []string{"start"}
	case modeSMTP:
		bin, prog, argv = params.DaemonDirectory.In(cfg), "smtpd", []string{"-S"}
	case modeAliases:
		l := o.aliases
		if len(l) == 0 {
			l = params.AliasDatabase.List(cfg)
		}
		if len(l) == 0 {
			os.Exit(0)
		}
		prog, argv = "postalias", append([]string{"--"}, l...)
	}
	if o.config != "" {
		flag := "-c"
		if o.mode == modeSMTP {
			flag = "-C" // daemons have Postfix's -c for chroot
		}
		argv = append([]string{flag, cfg.Dir()}, argv...)
	}
	path := filepath.Join(bin, prog)
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, append([]string{prog}, argv...), os.Environ()))
}

// submit reads a message and gives it to postdrop.
func submit(t *command.Tool, cfg *config.Config, o *options) error {
	m, err := envelopeOf(t, o)
	if err != nil {
		return err
	}
	rcpts, err := recipients(o)
	if err != nil {
		return err
	}
	var c *content
	if o.verifyOnly {
		// Nothing is delivered, so that there is nothing to read.
		c = newContent(strings.NewReader("Subject: probe\n\nprobe\n"), contentOptions{dots: true})
	} else {
		c = newContent(os.Stdin, contentOptions{dots: o.dots, fix: params.SendmailFixLineEndings.In(cfg)})
	}
	if err := c.readHeader(params.HeaderSizeLimit.In(cfg)); err != nil {
		return err
	}
	if o.extract {
		rcpts = append(rcpts, c.recipients()...)
	}
	for _, a := range rcpts {
		m.SMTPUTF8 = m.SMTPUTF8 || !address.IsASCII(a)
	}
	if len(rcpts) == 0 {
		if o.extract {
			return fmt.Errorf("%s: no recipient addresses found in message header", caller())
		}
		return fmt.Errorf("%s: Recipient addresses must be specified on the command line or via the -t option", caller())
	}
	path := filepath.Join(params.CommandDirectory.In(cfg), "postdrop")
	argv := []string{"-r"}
	if o.config != "" {
		argv = append(argv, "-c", cfg.Dir())
	}
	cmd := exec.Command(path, argv...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd.Stdout = &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	w := postdrop.NewWriter(in, m)
	for _, a := range rcpts {
		w.Recipient(&envelope.Recipient{Address: a, Notify: o.notify, Orcpt: ""})
	}
	copyErr := c.copy(w, params.MessageSizeLimit.In64(cfg))
	if copyErr == nil {
		w.End() // an error shows in the exit status
	}
	in.Close()
	// postdrop has said why on the same standard error.
	if err := cmd.Wait(); copyErr == nil && err != nil {
		return fmt.Errorf("postdrop: %w", err)
	}
	if copyErr != nil {
		return copyErr
	}
	if o.verbose > 0 || o.verifyOnly {
		fmt.Printf("Mail Delivery Status Report will be mailed to <%s>.\n", m.Sender)
	}
	return nil
}

// envelopeOf makes the envelope that the options ask for.
func envelopeOf(t *command.Tool, o *options) (*envelope.Message, error) {
	m := &envelope.Message{Envid: o.envid, Ret: o.ret, Body: o.body, SMTPUTF8: o.utf8, Local: !o.gateway, Verbose: o.verbose > 0, VerifyOnly: o.verifyOnly, Origin: "pickup"}
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	switch {
	case o.senderSet:
		if o.sender != "" && o.sender != "<>" { // both are the null sender
			l := address.ExtractList([]byte(o.sender))
			if len(l) == 0 {
				return nil, fmt.Errorf("-f option specified malformed sender: %s", o.sender)
			}
			if len(l) > 1 {
				t.Warningf("-f option specified malformed sender: %s", o.sender)
			}
			m.Sender = l[0]
		}
	case err != nil:
		return nil, fmt.Errorf("no login name found for user ID %d", os.Getuid())
	default:
		m.Sender = login(u)
	}
	if m.FullName = o.fullName; !o.fullNameSet {
		if m.FullName = os.Getenv("NAME"); m.FullName == "" && err == nil {
			m.FullName = strings.ReplaceAll(u.Name, "&", capital(u.Username))
		}
	}
	m.SMTPUTF8 = m.SMTPUTF8 || !address.IsASCII(m.Sender)
	return m, m.Validate()
}

// caller names the user in messages that the log has, too.
func caller() string {
	name := "unknown"
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		name = u.Username
	}
	return fmt.Sprintf("%s(%d)", name, os.Getuid())
}

// login is the user's name: what the environment says if that is the same user.
func login(u *user.User) string {
	for _, v := range []string{"LOGNAME", "USER"} {
		if n := os.Getenv(v); n != "" {
			if e, err := user.Lookup(n); err == nil && e.Uid == u.Uid {
				return n
			}
		}
	}
	return u.Username
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// recipients reads the addresses of the command line; one argument may be a
// list.
func recipients(o *options) ([]string, error) {
	var out []string
	for _, a := range o.rcpts {
		l := address.ExtractList([]byte(a))
		if len(l) == 0 {
			return nil, fmt.Errorf("bad recipient %q", a)
		}
		out = append(out, l...)
	}
	return out, nil
}
