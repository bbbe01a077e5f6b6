package main

import (
	"errors"
	"os"
	"strconv"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maillog"
	"posthaste/pkg/pop3"
)

// maxBad is how many bad commands a client may send.
const maxBad = 20

// transaction is RFC 1939's TRANSACTION state of one session.
type transaction struct {
	*conn
	drop *drop
	log  *maillog.Logger
	user string

	bad  int
	over bool // the session ends as it should
	end  maillog.Pop3End
}

// command is one row of the table.
type command struct {
	min, max int // number of arguments
	run      func(t *transaction, args []string)
}

// commands are those of the TRANSACTION state.
var commands = map[string]command{
	"CAPA": {0, 0, (*transaction).capa},
	"DELE": {1, 1, (*transaction).dele},
	"LIST": {0, 1, (*transaction).list},
	"NOOP": {0, 0, (*transaction).noop},
	"QUIT": {0, 0, (*transaction).quit},
	"RETR": {1, 1, (*transaction).retr},
	"RSET": {0, 0, (*transaction).rset},
	"STAT": {0, 0, (*transaction).stat},
	"TOP":  {2, 2, (*transaction).top},
	"UIDL": {0, 1, (*transaction).uidl},
}

// run serves the client until it leaves.
func (t *transaction) run() {
	t.end = maillog.Pop3End{User: t.user, Messages: t.drop.count, Size: t.drop.original}
	t.say("+OK Logged in.")
	for t.end.Why == "" {
		line, err := t.readLine()
		switch {
		case err == errTooLong:
			t.error("Command line is too long")
		case err != nil:
			t.lost(err)
		default:
			t.command(line)
		}
		if t.bad >= maxBad && t.end.Why == "" {
			t.end.Why = "Too many bad commands"
			t.say("-ERR Too many bad commands")
		}
	}
	t.flush()
	if !t.over { // QUIT has done it
		if err := t.drop.markRead(); err != nil {
			t.log.Warningf("pop3(%s): marking messages as read: %v", t.user, err)
		}
	}
	t.log.Event(t.end)
}

// lost ends a session whose client, or time, or process is gone.
func (t *transaction) lost(err error) {
	switch {
	case t.stopped.Load():
		t.end.Why = "Server is shutting down"
		t.say("-ERR [SYS/TEMP] Server is shutting down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.end.Why = "Inactivity"
		t.say("-ERR Disconnected for inactivity")
	default:
		t.end.Why = "Connection closed"
	}
}

func (t *transaction) command(line []byte) {
	c, err := pop3.Parse(line)
	if err != nil {
		t.error("Malformed command")
		return
	}
	cmd, ok := commands[c.Verb]
	if !ok {
		t.error("Unknown command")
		return
	}
	args := c.Fields()
	if len(args) < cmd.min || len(args) > cmd.max {
		t.error("Wrong number of arguments")
		return
	}
	cmd.run(t, args)
}

// error answers a bad command.
func (t *transaction) error(text string) {
	t.bad++
	t.say("-ERR " + text)
}

// message finds the message that an argument names, and says so if it cannot.
func (t *transaction) message(arg string) (i int, ok bool) {
	n, ok := pop3.Number(arg)
	if !ok {
		t.error("Not a message number")
		return 0, false
	}
	if i, ok = t.drop.find(n); !ok {
		t.say("-ERR There's no message " + strconv.Itoa(n) + ".")
	}
	return i, ok
}

func (t *transaction) capa([]string) { t.Write(pop3.AppendCapa(nil, pop3.Offer{User: true})) }
func (t *transaction) noop([]string) { t.say("+OK") }

func (t *transaction) stat([]string) {
	t.say("+OK " + strconv.Itoa(t.drop.count) + " " + strconv.FormatInt(t.drop.total, 10))
}

// each answers LIST and UIDL: one line a message, or the one of the message in
// the argument.
func (t *transaction) each(args []string, first string, value func(b []byte, i int) []byte) {
	var buf [80]byte
	row := func(b []byte, i int) []byte {
		b = strconv.AppendInt(b, int64(i+1), 10)
		return append(value(append(b, ' '), i), '\r', '\n')
	}
	if len(args) > 0 {
		if i, ok := t.message(args[0]); ok {
			t.Write(row(append(buf[:0], "+OK "...), i))
		}
		return
	}
	t.say(first)
	for i, gone := range t.drop.deleted {
		if !gone {
			t.Write(row(buf[:0], i))
		}
	}
	t.say(".")
}

func (t *transaction) list(args []string) {
	t.each(args, "+OK "+strconv.Itoa(t.drop.count)+" messages:", func(b []byte, i int) []byte {
		return strconv.AppendInt(b, t.drop.sizes[i], 10)
	})
}

func (t *transaction) uidl(args []string) { t.each(args, "+OK", t.drop.appendID) }

func (t *transaction) dele(args []string) {
	if i, ok := t.message(args[0]); ok {
		t.drop.remove(i)
		t.say("+OK Marked to be deleted.")
	}
}

func (t *transaction) rset([]string) {
	t.drop.reset()
	t.say("+OK")
}

func (t *transaction) retr(args []string) {
	if i, ok := t.message(args[0]); ok && t.send(i, -1) {
		t.drop.read[i] = true
		t.end.Retrs++
		t.end.RetrBytes += t.drop.sizes[i]
	}
}

func (t *transaction) top(args []string) {
	lines, ok := pop3.Number(args[1])
	if !ok {
		t.error("Not a number of lines")
		return
	}
	if i, ok := t.message(args[0]); ok && t.send(i, lines) {
		t.end.Tops++
	}
}

// send answers RETR, or with lines of 0 and above TOP.
func (t *transaction) send(i, lines int) bool {
	c, err := t.drop.box.Content(t.drop.view.Messages[i])
	if err != nil {
		if errors.Is(err, mailbox.ErrExpunged) {
			t.say("-ERR [SYS/PERM] Message was removed by another program.")
			return false
		}
		t.log.Warningf("pop3(%s): message %d: %v", t.user, i+1, err)
		t.say("-ERR [SYS/TEMP] Message cannot be read.")
		return false
	}
	defer c.Close()
	body := pop3.NewStuffer(t)
	if lines < 0 {
		t.say("+OK " + strconv.FormatInt(c.Size(), 10) + " octets")
		_, err = c.WriteTo(body)
	} else {
		t.say("+OK")
		var n int64
		n, err = c.WriteTo(pop3.NewTop(body, lines))
		t.end.TopBytes += n
		if errors.Is(err, pop3.ErrEnough) {
			err = nil
		}
	}
	if err != nil {
		// The answer has begun: only the end of the connection tells the client
		// that it is not whole.
		if t.err == nil {
			t.log.Warningf("pop3(%s): message %d: %v", t.user, i+1, err)
			t.end.Why = "Message cannot be read"
		} else {
			t.lost(t.err)
		}
		return false
	}
	return body.Close() == nil
}

// quit enters the UPDATE state. The client gets its answer when the messages
// are gone.
func (t *transaction) quit([]string) {
	t.over = true
	t.end.Why = "Logged out"
	rerr := t.drop.markRead()
	n, err := t.drop.update()
	t.end.Deleted = n
	if err != nil {
		t.log.Warningf("pop3(%s): deleting messages: %v", t.user, err)
		t.say("-ERR [SYS/TEMP] Some deleted messages were not removed.")
		return
	}
	if rerr != nil {
		t.log.Warningf("pop3(%s): marking messages as read: %v", t.user, rerr)
	}
	t.say("+OK Logging out.")
}
