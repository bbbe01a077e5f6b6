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
	"sync"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/service"
)

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
	file *os.File

	mu       sync.Mutex
	done     []bool // by index in Recipients
	left     int
	buf      []byte    // outcome frames not yet written
	since    time.Time // when the oldest of them was put there
	site     proto.Done
	finished bool
}

// Content is the message in CRLF form, without dot-stuffing; each call starts
// at the beginning.
func (j *Job) Content() *io.SectionReader {
	return io.NewSectionReader(j.file, j.ContentOffset, j.ContentLength)
}

// ContentFile is the read-only queue file; the content stands at
// j.ContentOffset. It is closed when deliver returns. Several jobs may share
// its file offset: use ReadAt, or sendfile with an explicit offset.
func (j *Job) ContentFile() *os.File { return j.file }

var errNotReady = errors.New("delivery: not implemented")

// Serve answers one qmgr on c until it hangs up or the process drains, and
// returns when all requests are finished. deliver's ctx ends when the process
// must stop at once and when qmgr is gone: whatever has not been committed by
// then is better abandoned, since nobody would hear of it and it is going to be
// tried again.
func Serve(ctx context.Context, env *service.Env, c net.Conn, deliver func(ctx context.Context, j *Job)) {
	env.Log.Errorf("%v", errNotReady)
}

type conn struct{}

// Report gives recipient i of j.Recipients its outcome and logs the to= line.
// Num and When are filled in; with soft_bounce a bounce becomes a deferral.
// connected is when the connection was ready to take the message (zero: there
// was none); connUse is how many messages it has carried, this one included.
// A second report for the same recipient is a bug, is logged as one and has no
// effect. qmgr may be told that the request is done as soon as the last
// recipient is reported: call SiteProblem before that.
func (j *Job) Report(i int, o envelope.Outcome, connected time.Time, connUse int) {}

// SiteProblem says that the destination as a whole is in trouble (connect,
// greeting or handshake failed): it lowers the concurrency and can suspend the
// destination.
func (j *Job) SiteProblem(dsn, reason string) {}
