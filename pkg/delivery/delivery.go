// Package delivery is the skeleton of the delivery agents: it answers qmgr on
// one connection, runs each request in a goroutine, sends the recipients'
// outcomes and writes their "to=" lines. An agent's own code is one function:
//
//	func deliver(ctx context.Context, j *delivery.Job) {
//		…
//		j.Report(i, envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Relay: "local", Reason: "delivered to mailbox"}, time.Time{}, 0)
//	}
//
//	service.Main(service.Spec{Name: "local", Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
//		delivery.Serve(ctx, env, c, deliver)
//	}})
//
// Recipients that deliver leaves unreported are deferred with 4.3.0.
package delivery

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/service"
	"posthaste/pkg/wire"
)

// helloTimeout bounds the hello; writeTimeout a write to qmgr, which reads all
// the time; leaveTimeout how long a draining agent waits for qmgr to hang up.
const (
	helloTimeout = 10 * time.Second
	writeTimeout = 60 * time.Second
	leaveTimeout = 30 * time.Second
)

// HoldBack is how long an outcome may wait for company in the same write. What
// is lost with a crash in between is delivered again.
const HoldBack = 50 * time.Millisecond

// Values of Outcome.Action. Empty means what the status implies: "delivered"
// for Sent, "delayed" for Deferred, "failed" for Bounced and Expired.
const (
	// Relayed: handed to a host that does not do DSN, so a success report, if
	// asked for, is ours to send.
	Relayed = "relayed"
	// Expanded: an alias or .forward turned the recipient into several.
	Expanded = "expanded"
	// Delegated: the next hop does DSN and was told NOTIFY; it reports success,
	// we do not.
	Delegated = "delegated"
)

// Job is one request being served. Its methods are safe for concurrent use.
type Job struct {
	*proto.Request
	Log *maillog.Logger

	c    *conn
	file queueFile

	mu    sync.Mutex
	done  []bool // by index in Recipients
	left  int
	buf   []byte    // outcome frames not yet written
	since time.Time // when the oldest of them was put there
	end   proto.Done
}

// queueFile is the descriptor of the queue file. Most agents only read it, for
// which an os.File would take three more system calls and a finalizer.
type queueFile struct {
	mu     sync.RWMutex // against reads of a number that is somebody else's by now
	fd     int
	file   *os.File // of fd, once somebody asked for it
	closed bool
}

// ReadAt reads from the queue file.
func (f *queueFile) ReadAt(p []byte, off int64) (n int, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	for n < len(p) {
		m, err := unix.Pread(f.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return n, &os.PathError{Op: "read", Path: "queue file", Err: err}
		case m == 0:
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func (f *queueFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.file != nil {
		f.file.Close()
		return
	}
	unix.Close(f.fd)
}

// Content is the message in CRLF form, without dot-stuffing; each call starts
// at the beginning. It can be read until deliver returns.
func (j *Job) Content() *io.SectionReader {
	return io.NewSectionReader(&j.file, j.ContentOffset, j.ContentLength)
}

// ContentFile is the read-only queue file; the content stands at
// j.ContentOffset. It is closed when deliver returns. Several jobs may share
// its file offset: use ReadAt, or sendfile with an explicit offset.
func (j *Job) ContentFile() *os.File {
	j.file.mu.Lock()
	defer j.file.mu.Unlock()
	if j.file.file == nil {
		j.file.file = os.NewFile(uintptr(j.file.fd), "queue file")
	}
	return j.file.file
}

// conn is one qmgr that is being served.
type conn struct {
	ipc   *ipc.Conn
	log   *maillog.Logger
	soft  bool          // soft_bounce
	slots chan struct{} // nil: no limit
	jobs  sync.WaitGroup

	mu      sync.Mutex
	leaving bool
}

// Serve answers one qmgr on nc until it hangs up or the process drains, and
// returns when all requests are finished. deliver's ctx ends when the process
// must stop at once and when qmgr is gone: whatever has not been committed by
// then is better abandoned, since nobody would hear of it and it is going to be
// tried again.
func Serve(ctx context.Context, env *service.Env, nc net.Conn, deliver func(ctx context.Context, j *Job)) {
	fc, err := ipc.Accept(nc, proto.Protocol, helloTimeout)
	if err != nil {
		env.Log.Warningf("%s service: %v", env.Service, err)
		return
	}
	c := &conn{ipc: fc, log: env.Log, soft: params.SoftBounce.In(env.Config)}
	if env.Limit > 0 {
		c.slots = make(chan struct{}, env.Limit)
	}
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		select {
		case <-env.Draining():
			c.leave()
		case <-gone:
			return
		case <-ctx.Done():
		}
		select {
		case <-gone:
		case <-ctx.Done():
			fc.SetReadDeadline(time.Now()) // ends the reader below
		}
	}()
	err = c.read(ctx, env, deliver)
	close(gone)
	cancel()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.log.Warningf("%s service: connection with qmgr: %v", env.Service, err)
	}
	c.jobs.Wait()
	fc.Close()
}

// leave announces that no more requests are taken. qmgr hangs up when it has
// its answers.
func (c *conn) leave() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.write(ipc.AppendFrame(nil, proto.TypeDrain, nil, 0))
	go func() {
		// The deadline is only for a qmgr that does not hang up.
		c.jobs.Wait()
		c.ipc.SetReadDeadline(time.Now().Add(leaveTimeout))
	}()
}

func (c *conn) write(frames []byte) error {
	c.ipc.WriteWithin(writeTimeout)
	return c.ipc.WriteRaw(frames)
}

// read takes requests until the connection ends.
func (c *conn) read(ctx context.Context, env *service.Env, deliver func(context.Context, *Job)) error {
	for {
		typ, p, err := c.ipc.ReadFrame()
		if err != nil {
			return err
		}
		if typ != proto.TypeRequest {
			return ipc.ErrProtocol
		}
		fd, err := c.ipc.TakeFD()
		if err != nil {
			return err
		}
		req, err := proto.DecodeRequest(p)
		if err != nil {
			unix.Close(fd)
			return err
		}
		j := &Job{Request: req, Log: c.log, c: c, file: queueFile{fd: fd}, done: make([]bool, len(req.Recipients)), left: len(req.Recipients)}
		j.end.Seq = req.Seq
		c.mu.Lock()
		leaving := c.leaving
		if !leaving {
			c.jobs.Add(1)
		}
		c.mu.Unlock()
		if leaving {
			j.file.close()
			j.end.Again = true
			j.mu.Lock()
			err := j.finish()
			j.mu.Unlock()
			if err != nil {
				return err
			}
			continue
		}
		env.Go(func() { c.run(ctx, j, deliver) })
	}
}

// run serves one request.
func (c *conn) run(ctx context.Context, j *Job, deliver func(context.Context, *Job)) {
	defer c.jobs.Done()
	defer j.file.close()
	if c.slots != nil {
		c.slots <- struct{}{}
		defer func() { <-c.slots }()
	}
	defer func() {
		reason := "unknown mail transport error"
		if r := recover(); r != nil {
			c.log.Panicf("%s: %v", j.Message.ID, r)
			reason = "delivery agent failure"
		} else if ctx.Err() != nil {
			reason = "delivery interrupted"
		}
		for i := range j.Recipients {
			if !j.Reported(i) {
				j.Report(i, envelope.Outcome{Status: envelope.Deferred, DSN: "4.3.0", Relay: "none", Reason: reason}, time.Time{}, 0)
			}
		}
	}()
	deliver(ctx, j)
}

// Reported tells whether recipient i has its outcome.
func (j *Job) Reported(i int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[i]
}

// Report gives recipient i of j.Recipients its outcome and logs the to= line.
// Num and When are filled in, Relay defaults to "none"; with soft_bounce a
// bounce becomes a deferral. connected is when, by package clock, the
// connection was ready to take the message (zero: there was none); connUse is
// how many messages it has carried, this one included. A second report for the
// same recipient is a bug, is logged as one and has no effect. qmgr may be told
// that the request is done as soon as the last recipient is reported: call
// SiteProblem before that.
func (j *Job) Report(i int, o envelope.Outcome, connected time.Time, connUse int) {
	now := clock.Now()
	word := probeWord(fill(&o, &j.Recipients[i], now, j.c.soft), j.Message.VerifyOnly)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done[i] {
		j.Log.Panicf("%s: second outcome for recipient %d: %s", j.Message.ID, i, o.Reason)
		return
	}
	j.done[i] = true
	j.left--
	LogOutcome(j.Log, j.Request, i, &o, word, connected, connUse)

	var e wire.Encoder
	proto.EncodeOutcome(&e, j.Seq, &o)
	if len(j.buf) == 0 {
		j.since = now
	}
	j.buf = ipc.AppendFrame(j.buf, proto.TypeOutcome, e.B, 0)
	if j.left == 0 {
		j.finish()
	} else if now.Sub(j.since) > HoldBack || len(j.buf) > 32<<10 {
		j.flush()
	}
}

// fill completes o and returns the status word of the log.
func fill(o *envelope.Outcome, r *envelope.Recipient, now time.Time, soft bool) string {
	o.Num = r.Num
	if o.When.IsZero() {
		o.When = now
	}
	if o.Relay == "" {
		o.Relay = "none"
	}
	for _, s := range []*string{&o.Reason, &o.DiagText, &o.Relay, &o.DSN, &o.DiagType, &o.MTAName} {
		*s = clean(*s)
	}
	if soft && o.Status == envelope.Bounced {
		o.Status = envelope.Deferred
		if strings.HasPrefix(o.DSN, "5") {
			o.DSN = "4" + o.DSN[1:]
		}
		return "SOFTBOUNCE"
	}
	return StatusWord(o.Status)
}

// probeWord is the log's word for what became of a probe that could not be
// delivered for now: such mail is not kept.
func probeWord(word string, probe bool) string {
	if probe && word == StatusWord(envelope.Deferred) {
		return StatusWord(envelope.Undeliverable)
	}
	return word
}

// clean makes text that came from outside fit for an outcome: one line, bounded.
func clean(s string) string {
	if len(s) > envelope.MaxText/2 {
		s = s[:envelope.MaxText/2]
	}
	if strings.ContainsAny(s, "\r\n\x00") {
		s = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ", "\x00", "?").Replace(s)
	}
	return s
}

// StatusWord is the log's word for a status.
func StatusWord(s envelope.Status) string {
	switch s {
	case envelope.Sent, envelope.Discarded:
		return "sent"
	case envelope.Deferred:
		return "deferred"
	case envelope.Expired:
		return "expired"
	case envelope.Deliverable:
		return "deliverable"
	case envelope.Undeliverable:
		return "undeliverable"
	}
	return "bounced"
}

// LogOutcome writes the to= line of recipient i of req. qmgr calls it for
// outcomes that it makes without an agent.
func LogOutcome(log *maillog.Logger, req *proto.Request, i int, o *envelope.Outcome, word string, connected time.Time, connUse int) {
	r := &req.Recipients[i]
	if connected.Before(req.Started) && !connected.IsZero() {
		connected = req.Started
	}
	log.Event(maillog.Delivery{
		ID: req.Message.ID, To: address.Quote(r.Address), OrigTo: address.Quote(r.Orig), Relay: o.Relay, ConnUse: connUse,
		Delays: maillog.Delays{Arrival: req.Message.Arrival, Activated: req.Activated, Started: req.Started, Connected: connected, Finished: o.When},
		DSN:    o.DSN, Status: word, Reason: o.Reason,
	})
}

// SiteProblem says that the destination as a whole is in trouble (connect,
// greeting or handshake failed): it lowers the concurrency and can suspend the
// destination.
func (j *Job) SiteProblem(dsn, reason string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end.SiteDSN, j.end.SiteProblem = clean(dsn), clean(reason)
}

// finish writes what is held back and the Done frame; the caller holds j.mu.
func (j *Job) finish() error {
	var e wire.Encoder
	j.end.Encode(&e)
	j.buf = ipc.AppendFrame(j.buf, proto.TypeDone, e.B, 0)
	return j.flush()
}

// flush writes what is held back. A failure needs no handling: the reader sees
// the end of the connection, and qmgr defers what it has not heard of.
func (j *Job) flush() error {
	err := j.c.write(j.buf)
	j.buf = j.buf[:0]
	return err
}

// SplitDSN takes an enhanced status code (RFC 3463: class, subject, detail) off
// the front of text; without one it returns def.
func SplitDSN(text, def string) (dsn, rest string) {
	text = strings.TrimSpace(text)
	word, after, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return def, text
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return def, text
		}
	}
	return word, strings.TrimSpace(after)
}
