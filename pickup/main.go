// Pickup takes mail that sendmail(1) submitted from maildrop to cleanup(8).
//
// # Usage
//
// master(8) starts pickup; the master.cf entry is
//
//	pickup    unix  n       -       n       60      1       pickup
//
// # Description
//
// postdrop(1) leaves complete messages in maildrop/ and wakes pickup up, as
// master(8) does once in a while. pickup hands each message to cleanup(8) and
// removes it when cleanup says that its copy is on stable storage. While
// cleanup cannot take a message, it stays.
//
// A message that cleanup refuses for good (by header_checks, say) is handed in
// once more, unfiltered, with the error transport as its destination: the
// sender gets it back in the usual way.
//
// Files that are not complete are left alone: they are being written, or were
// left by a postdrop that died (postsuper -p removes them). Damaged files are
// left alone with a warning.
//
// receive_override_options and content_filter apply as in Postfix.
//
// # Security
//
// The files belong to users, and only postdrop can have made them. pickup runs
// as the queue's owner, may write maildrop/ alone, and has no network.
//
// # Diagnostics
//
// Each message is logged with the user who submitted it and its sender.
//
// # Files
//
//	maildrop/        submitted messages
//	public/pickup    the service's socket: a connection is a wakeup
//	public/cleanup   where the messages go
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/header"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/queue"
	"posthaste/pkg/service"
)

func main() {
	var p *pickup
	service.Main(service.Spec{
		Name: "pickup",
		Before: func(env *service.Env) error {
			spool, err := queue.Open(".", queue.OptionsFrom(env.Config))
			if err != nil {
				return err
			}
			p = newPickup(env.Config, env.Log, spool, "public/"+params.CleanupServiceName.In(env.Config))
			return nil
		},
		Wakeup: func(ctx context.Context, env *service.Env) { p.scan(ctx, env.Draining()) },
	})
}

// workers is how many messages are handed over at a time: cleanup makes those
// that arrive together durable together.
const workers = 8

// pickup moves messages from maildrop to cleanup.
type pickup struct {
	log    *maillog.Logger
	spool  *queue.Spool
	client *cleanup.Client
	flags  cleanup.Flags
	filter string

	mu     sync.Mutex
	warned map[string]bool // damaged files that were reported
}

func newPickup(c *config.Config, log *maillog.Logger, spool *queue.Spool, socket string) *pickup {
	p := &pickup{log: log, spool: spool, client: cleanup.NewClient(socket), flags: cleanup.External, filter: params.ContentFilter.In(c), warned: map[string]bool{}}
	for _, o := range params.ReceiveOverrideOptions.List(c) {
		switch strings.ToLower(o) {
		case "no_address_mappings":
			p.flags &^= cleanup.Map | cleanup.BCC
		case "no_header_body_checks":
			p.flags &^= cleanup.Filter
		case "no_unknown_recipient_checks", "no_milters":
		default:
			log.Warningf("receive_override_options: unknown option %q", o)
		}
	}
	return p
}

// scan hands over what is in maildrop, until it finds nothing that it has not
// tried. It stops early when the process drains.
func (p *pickup) scan(ctx context.Context, draining <-chan struct{}) {
	tried := map[string]bool{}
	for {
		var ids []string
		err := p.spool.List(queue.Maildrop, func(e queue.Entry) bool {
			if !tried[e.ID] {
				tried[e.ID] = true
				ids = append(ids, e.ID)
			}
			return len(ids) < 1000 // the next round lists the rest
		})
		if err != nil {
			p.log.Warningf("maildrop: %v", err)
			return
		}
		if len(ids) == 0 {
			return
		}
		work := make(chan string)
		var wg sync.WaitGroup
		for range min(workers, len(ids)) {
			wg.Go(func() {
				for id := range work {
					p.take(id)
				}
			})
		}
		stop := false
		for _, id := range ids {
			select {
			case work <- id:
			case <-draining:
				stop = true
			case <-ctx.Done():
				stop = true
			}
			if stop {
				break
			}
		}
		close(work)
		wg.Wait()
		if stop {
			return
		}
	}
}

// busyPause is how long pickup waits for another process to let go of a message,
// busyTries how often.
const (
	busyPause = 20 * time.Millisecond
	busyTries = 50
)

// take hands one message over and removes it. While a process leaves, its
// successor looks at the same files: it must not send again what the other is
// about to remove.
func (p *pickup) take(id string) {
	f, err := p.spool.Load(queue.Maildrop, id)
	if err == nil {
		defer f.Close()
		err = f.Claim()
		for n := 0; n < busyTries && errors.Is(err, queue.ErrBusy); n++ {
			time.Sleep(busyPause)
			err = f.Claim()
		}
	}
	if err == nil {
		err = f.Verify()
	}
	switch {
	case err == nil:
	case errors.Is(err, queue.ErrIncomplete), errors.Is(err, os.ErrNotExist), errors.Is(err, queue.ErrBusy):
		return // the next scan sees what became of it
	default:
		p.warnOnce(id, err)
		return
	}
	if f.Pending() == 0 {
		if f.RecipientCount() == 0 {
			p.warnOnce(id, errors.New("message without recipients"))
			return
		}
		p.remove(id) // requeued, and all of it was delivered before
		return
	}
	r, err := p.submit(f, p.flags, p.filter, wholeContent)
	if err != nil {
		p.log.Warningf("%s: %v", id, err)
		return
	}
	switch r.Status {
	case cleanup.OK:
	case cleanup.TooBig, cleanup.TooManyHops, cleanup.Rejected:
		if !p.sendBack(f, r) {
			return
		}
	default:
		p.log.Warningf("%s: message stays in maildrop: %s", id, reason(r))
		return
	}
	p.remove(id)
}

func (p *pickup) remove(id string) {
	if err := p.spool.Remove(queue.Maildrop, id); err != nil {
		// It will be sent again; nothing else can be done about it here.
		p.log.Warningf("%v", err)
	}
}

func (p *pickup) warnOnce(id string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.warned) > 1000 {
		p.warned = map[string]bool{}
	}
	if !p.warned[id] {
		p.warned[id] = true
		p.log.Warningf("%s: message was left alone: %v", id, err)
	}
}

// reason is the text of a failure.
func reason(r *cleanup.Result) string {
	text := r.Reason
	if text == "" {
		text = map[cleanup.Status]string{cleanup.WriteError: "queue file write error", cleanup.NoSpace: "insufficient system storage",
			cleanup.TooBig: "message file too big", cleanup.TooManyHops: "too many hops", cleanup.Rejected: "message content rejected",
			cleanup.NoRecipients: "no recipients", cleanup.BadProtocol: "internal protocol error"}[r.Status]
	}
	if r.DSN != "" {
		return r.DSN + " " + text
	}
	return text
}

// sendBack has a message that cleanup refuses returned to its sender, by
// routing it to the error transport. It tells whether that was accepted.
func (p *pickup) sendBack(f *queue.File, r *cleanup.Result) bool {
	dsn := r.DSN
	if !strings.HasPrefix(dsn, "5.") {
		dsn = "5.0.0"
	}
	filter := "error:" + dsn + " " + strings.TrimPrefix(reason(r), r.DSN+" ")
	mode := wholeContent
	if r.Status != cleanup.Rejected {
		mode = headerOnly // the whole would be refused again
	}
	again, err := p.submit(f, cleanup.MessageInfo, filter, mode)
	if err != nil {
		p.log.Warningf("%s: %v", f.ID(), err)
		return false
	}
	if again.Status != cleanup.OK {
		p.log.Warningf("%s: message stays in maildrop: %s", f.ID(), reason(again))
		return false
	}
	return true
}

type contentMode int

const (
	wholeContent contentMode = iota
	headerOnly               // the header without Received: fields, cut after a while
)

// submit sends a message to cleanup under a new queue id.
func (p *pickup) submit(f *queue.File, flags cleanup.Flags, filter string, mode contentMode) (*cleanup.Result, error) {
	m := *f.Message()
	m.ID = queue.NewID(time.Now())
	m.Origin, m.UID, m.Hops = "pickup", f.Owner(), 0
	if m.Client.Address == "" {
		m.Client = envelope.Client{}
	}
	tx, err := p.client.Begin(&cleanup.Begin{Flags: flags, Message: m, FilterTo: filter})
	if err != nil {
		return nil, err
	}
	defer tx.Abort()
	if err := tx.Connect(); err != nil {
		return nil, err
	}
	p.log.Event(maillog.PickedUp{ID: m.ID, UID: m.UID, From: address.Quote(m.Sender)})
	var c queue.Cursor
	for !c.AtEnd() {
		l, err := f.Recipients(&c, 1000)
		if err != nil {
			return nil, err
		}
		for i := range l {
			if err := tx.Recipient(&l[i]); err != nil {
				return nil, err
			}
		}
	}
	if err := copyContent(tx, f, mode); err != nil {
		return nil, err
	}
	return tx.End()
}

func copyContent(w io.Writer, f *queue.File, mode contentMode) error {
	r, err := f.Content()
	if err != nil {
		return err
	}
	if mode == wholeContent {
		// The buffer's size is that of the client's.
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, min(64<<10, max(f.ContentLength(), 1))))
		return err
	}
	sc := header.Scanner{Limit: 10 << 10}
	buf := make([]byte, 16<<10)
	size := 0
	for size < 64<<10 {
		n, err := r.Read(buf)
		_, _, body := sc.Feed(buf[:n], func(field []byte) {
			if !header.Is(field, "received") && size < 64<<10 {
				size += len(field)
				w.Write(field) // the transaction keeps its error
			}
		})
		if body || err != nil {
			break
		}
	}
	_, err = w.Write([]byte("\r\n"))
	return err
}
