package main

import (
	"fmt"
	"time"

	"posthaste/pkg/dsncode"
	"posthaste/pkg/wire"
)

// taskKind is what a worker is asked to do.
type taskKind uint8

const (
	taskScan    taskKind = iota // list the message's Delivered-To: addresses
	taskUser                    // look for a .forward file; without one, deliver by plan
	taskInclude                 // read an :include: file
	taskCommand                 // run a command
	taskFile                    // append to a file, or deliver to a Maildir
	taskSpool                   // append to the mailbox whose descriptor comes along
	maxTask
)

// planKind is what becomes of a user's mail without a .forward file.
type planKind uint8

const (
	planNone    planKind = iota // report notFound
	planCommand                 // mailbox_command
	planMaildir
	planMbox
	planSpool // report needSpool: the dispatcher opens the mailbox
	maxPlan
)

// task is one request to a worker. The message's descriptor comes along.
type task struct {
	Kind     taskKind
	Offset   int64 // content within the descriptor
	Length   int64
	QueueID  string
	Num      uint32
	Arrival  time.Time
	Sender   string // addresses in internal form
	Rcpt     string
	Orig     string
	Deliver  string // Delivered-To: value; "" omits the line
	Loop     string // taskUser: refuse if the message has this in a Delivered-To:
	User     string // login name
	UID      uint32
	Home     string
	NeedHome bool     // defer if Home cannot be entered
	Probe    bool     // taskUser: do not deliver, but look whether the mailbox at Target is full
	Forwards []string // candidates for the .forward file, first match wins
	Plan     planKind
	Target   string   // command, file or Maildir (with trailing slash)
	Env      []string // of commands
	Dir      string   // of commands, "" keeps the queue directory
	DefDSN   string
	Owner    int32 // uid that must own the mailbox, -1 for anyone
}

// verdict is the kind of answer.
type verdict uint8

const (
	done      verdict = iota // delivered, or failed as DSN and Text say
	notFound                 // no .forward file and no plan
	needSpool                // send taskSpool
	isTokens                 // Tokens are the destinations
	isLoop                   // Loop was found
	maxVerdict
)

// reply is a worker's answer.
type reply struct {
	Verdict  verdict
	DSN      string // "" for success
	Text     string
	Diag     string
	Tokens   []string // destinations of a .forward or :include: file
	Which    int      // index in Forwards of the file that was read
	Lists    []string // taskScan: Delivered-To: addresses
	Warnings []string // for the log
}

func (t *task) strings() []*string {
	return []*string{&t.QueueID, &t.Sender, &t.Rcpt, &t.Orig, &t.Deliver, &t.Loop, &t.User, &t.Home, &t.Target, &t.Dir, &t.DefDSN}
}

func (t *task) encode() []byte {
	var e wire.Encoder
	e.Uint(uint64(t.Kind))
	e.Uint(uint64(t.Plan))
	e.Int(t.Offset)
	e.Int(t.Length)
	e.Uint(uint64(t.Num))
	e.Time(t.Arrival)
	for _, s := range t.strings() {
		e.String(*s)
	}
	e.Uint(uint64(t.UID))
	e.Bool(t.NeedHome)
	e.Bool(t.Probe)
	e.Strings(t.Forwards)
	e.Strings(t.Env)
	e.Int(int64(t.Owner))
	return e.B
}

func decodeTask(p []byte) (*task, error) {
	d := wire.NewDecoder(p)
	t := &task{Kind: taskKind(d.Uint()), Plan: planKind(d.Uint()), Offset: d.Int(), Length: d.Int(), Num: uint32(d.Uint()), Arrival: d.Time()}
	for _, s := range t.strings() {
		*s = d.String()
	}
	t.UID = uint32(d.Uint())
	t.NeedHome = d.Bool()
	t.Probe = d.Bool()
	t.Forwards = d.Strings()
	t.Env = d.Strings()
	t.Owner = int32(d.Int())
	if err := d.Done(); err != nil {
		return nil, err
	}
	if t.Kind >= maxTask || t.Plan >= maxPlan || t.Offset < 0 || t.Length < 0 {
		return nil, fmt.Errorf("task of kind %d, plan %d, at %d+%d", t.Kind, t.Plan, t.Offset, t.Length)
	}
	return t, nil
}

func (r *reply) encode() []byte {
	var e wire.Encoder
	e.Uint(uint64(r.Verdict))
	e.String(r.DSN)
	e.String(r.Text)
	e.String(r.Diag)
	e.Strings(r.Tokens)
	e.Uint(uint64(r.Which))
	e.Strings(r.Lists)
	e.Strings(r.Warnings)
	return e.B
}

// Limits on what a worker, which may be under its user's control, can make the
// dispatcher hold.
const (
	maxTokens   = 10000
	maxToken    = 4096
	maxWarnings = 20
	maxText     = 8192 // of a reason or a warning
)

// decodeReply parses a worker's answer, which is not to be trusted.
func decodeReply(p []byte) (*reply, error) {
	d := wire.NewDecoder(p)
	r := &reply{Verdict: verdict(d.Uint()), DSN: d.String(), Text: d.String(), Diag: d.String()}
	r.Tokens = d.Strings()
	r.Which = int(d.Uint())
	r.Lists = d.Strings()
	r.Warnings = d.Strings()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if r.Verdict >= maxVerdict || r.Which < 0 || len(r.Tokens) > maxTokens || len(r.Warnings) > maxWarnings {
		return nil, fmt.Errorf("bad answer of a worker")
	}
	if r.DSN != "" && dsncode.Valid(r.DSN) != len(r.DSN) {
		return nil, fmt.Errorf("bad status code %.20q of a worker", r.DSN)
	}
	for _, s := range r.Tokens {
		if len(s) > maxToken {
			return nil, fmt.Errorf("worker answered with a destination of %d bytes", len(s))
		}
	}
	r.Text, r.Diag = cut(r.Text), cut(r.Diag)
	for i := range r.Warnings {
		r.Warnings[i] = cut(r.Warnings[i])
	}
	return r, nil
}

func cut(s string) string {
	if len(s) > maxText {
		return s[:maxText]
	}
	return s
}
