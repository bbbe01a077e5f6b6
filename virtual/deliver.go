package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/config"
	"posthaste/pkg/delivery"
	"posthaste/pkg/dsncode"
	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/filelock"
	"posthaste/pkg/lookup"
	"posthaste/pkg/mailcopy"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mbox"
	"posthaste/pkg/params"
	"posthaste/pkg/privs"
	"posthaste/pkg/service"
	"posthaste/pkg/wire"
	"posthaste/pkg/worker"
)

// writerConf is what delivering takes, in this process or in a worker.
type writerConf struct {
	Hostname    string
	Lock        filelock.Options
	Limit       int64
	StrictOwner bool
	Mounts      []byte // durable.Survey of the process that could look
}

func (c *writerConf) encode() []byte {
	var e wire.Encoder
	e.String(c.Hostname)
	e.Uint(uint64(c.Lock.Methods))
	e.Int(int64(c.Lock.Attempts))
	e.Int(int64(c.Lock.Delay))
	e.Int(int64(c.Lock.Stale))
	e.Int(c.Limit)
	e.Bool(c.StrictOwner)
	e.Bytes(c.Mounts)
	return e.B
}

func decodeConf(p []byte) (*writerConf, error) {
	d := wire.NewDecoder(p)
	c := &writerConf{Hostname: d.String()}
	c.Lock.Methods = filelock.Methods(d.Uint())
	c.Lock.Attempts = int(d.Int())
	c.Lock.Delay = time.Duration(d.Int())
	c.Lock.Stale = time.Duration(d.Int())
	c.Limit = d.Int()
	c.StrictOwner = d.Bool()
	c.Mounts = bytes.Clone(d.Bytes())
	return c, d.Done()
}

// copyTask is one copy of a message.
type copyTask struct {
	Path    string // mailbox; a Maildir ends in a slash
	Rcpt    string
	Orig    string
	Sender  string
	QueueID string
	Num     uint32
	Arrival time.Time
	Offset  int64
	Length  int64
	Probe   bool // only look whether the mailbox is full
}

func (t *copyTask) encode() []byte {
	var e wire.Encoder
	for _, s := range []string{t.Path, t.Rcpt, t.Orig, t.Sender, t.QueueID} {
		e.String(s)
	}
	e.Uint(uint64(t.Num))
	e.Time(t.Arrival)
	e.Int(t.Offset)
	e.Int(t.Length)
	e.Bool(t.Probe)
	return e.B
}

func decodeTask(p []byte) (*copyTask, error) {
	d := wire.NewDecoder(p)
	t := &copyTask{Path: d.String(), Rcpt: d.String(), Orig: d.String(), Sender: d.String(), QueueID: d.String(),
		Num: uint32(d.Uint()), Arrival: d.Time(), Offset: d.Int(), Length: d.Int(), Probe: d.Bool()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if t.Offset < 0 || t.Length < 0 || t.Path == "" {
		return nil, wire.ErrMalformed
	}
	return t, nil
}

// writer puts copies into mailboxes with the rights of its process.
type writer struct {
	conf  *writerConf
	store maildir.Store
}

// pace is how deliveries wait for others to share a sync with: it suits the 20
// of one destination that qmgr has under way at a time, and keeps a message in
// the queue for 20 ms more at most, when others came just before it.
var pace = durable.Pace{Interval: 20 * time.Millisecond, Quiet: 4 * time.Millisecond, Crowd: 16}

func newWriter(conf *writerConf) *writer {
	return &writer{conf: conf, store: maildir.Store{Pace: pace}}
}

// watch tells the process when mailboxes are on a file system that keeps it
// waiting.
func (w *writer) watch(env *service.Env) {
	w.store.Found = func(fs durable.FileSystem) {
		if !fs.Local() {
			env.Blocks()
		}
	}
}

func (w *writer) write(ctx context.Context, t *copyTask, content *io.SectionReader) error {
	if t.Probe {
		return w.full(t.Path)
	}
	env := mailcopy.Envelope{Sender: address.Quote(t.Sender), OrigTo: address.Quote(t.Orig), DeliveredTo: address.Quote(t.Rcpt), When: clock.Now()}
	if strings.HasSuffix(t.Path, "/") {
		_, err := w.store.Deliver(&maildir.Message{
			Dir:     filepath.Clean(t.Path),
			Name:    maildir.UniqueName(t.Arrival, t.QueueID, t.Num, w.conf.Hostname),
			Header:  mailcopy.AppendHeader(make([]byte, 0, 256), &env, mailcopy.Maildir, "\n"),
			Content: content, Arrival: t.Arrival, Limit: w.conf.Limit,
		})
		return prefix(err, "maildir delivery failed: ")
	}
	target := mbox.NewTarget(t.Path, w.conf.Lock)
	target.Limit = w.conf.Limit
	if w.conf.StrictOwner {
		target.Owner = os.Geteuid()
	}
	err := mbox.Append(ctx, target, &mbox.Message{Envelope: env, Flags: mailcopy.Mbox, Content: content})
	return prefix(err, "delivery failed to mailbox "+t.Path+": ")
}

// full tells what a delivery would say if the mailbox is full: an address probe
// must not find deliverable what is not.
func (w *writer) full(path string) error {
	if strings.HasSuffix(path, "/") {
		return prefix(maildir.Full(filepath.Clean(path)), "maildir delivery failed: ")
	}
	return prefix(mbox.Full(path, w.conf.Limit), "delivery failed to mailbox "+path+": ")
}

func prefix(err error, what string) error {
	if err == nil {
		return nil
	}
	e := dsncode.As(err, "4.2.0")
	return &dsncode.Error{DSN: e.DSN, Text: what + e.Text, Err: e.Err}
}

// dispatcher finds mailbox and identity of each recipient.
type dispatcher struct {
	log     *maillog.Logger
	service string
	base    string
	maps    *lookup.Maps
	uids    *lookup.Maps
	gids    *lookup.Maps
	delims  string
	opts    lookup.AddressOptions
	minUID  uint64
	writer  *writer      // deliveries in this process
	pool    *worker.Pool // as root with several identities
	self    *privs.IDs   // the only identity there is
	warned  sync.Map     // of uids that cannot be had
}

// errConfig is what recipients see of mistakes in the configuration; the log
// has the details.
var errConfig = dsncode.New("4.3.5", "mail system configuration error")

func newDispatcher(env *service.Env) (*dispatcher, error) {
	cfg := env.Config
	le := &lookup.Env{Config: cfg, Log: env.Log, Stale: func(t string) { env.RequestDrain("table " + t + " has changed") }}
	methods, err := filelock.ParseMethods(params.VirtualMailboxLock.List(cfg))
	if err != nil {
		return nil, fmt.Errorf("virtual_mailbox_lock: %w", err)
	}
	conf := &writerConf{
		Hostname: params.Myhostname.In(cfg),
		Lock: filelock.Options{Methods: methods, Attempts: params.DeliverLockAttempts.In(cfg),
			Delay: params.DeliverLockDelay.In(cfg), Stale: params.StaleLockTime.In(cfg)},
		Limit:       params.VirtualMailboxLimit.In64(cfg),
		StrictOwner: params.StrictMailboxOwnership.In(cfg),
		Mounts:      durable.Survey(), // the sandbox hides /proc
	}
	if n := params.MessageSizeLimit.In64(cfg); conf.Limit > 0 && (n == 0 || n > conf.Limit) {
		return nil, fmt.Errorf("virtual_mailbox_limit is smaller than message_size_limit")
	}
	d := &dispatcher{log: env.Log, service: env.Service, base: params.VirtualMailboxBase.In(cfg), delims: params.RecipientDelimiter.In(cfg),
		opts: lookup.AddressOptions{Keys: lookup.FindMailbox}, minUID: uint64(params.VirtualMinimumUid.In(cfg))}
	d.opts.Ext = address.Extension{Delims: d.delims, SplitOwner: !params.OwnerRequestSpecial.In(cfg)}
	if !strings.HasPrefix(d.base, "/") {
		return nil, fmt.Errorf("do not specify relative pathname: virtual_mailbox_base = %s", d.base)
	}
	for _, m := range []struct {
		p   *config.String
		dst **lookup.Maps
	}{{&params.VirtualMailboxMaps, &d.maps}, {&params.VirtualUidMaps, &d.uids}, {&params.VirtualGidMaps, &d.gids}} {
		if *m.dst, err = lookup.OpenMaps(m.p.Decl().Name, m.p.In(cfg), le); err != nil {
			return nil, err
		}
	}
	return d, d.identify(env, conf)
}

// identify decides whether deliveries need workers: not as an ordinary user,
// and not if all mailboxes belong to one static uid.
func (d *dispatcher) identify(env *service.Env, conf *writerConf) error {
	if os.Geteuid() != 0 {
		d.self = &privs.IDs{UID: os.Geteuid(), GID: os.Getegid()}
		d.writer = newWriter(conf)
		d.writer.watch(env)
		// The sandbox lets us write there only if it exists by now.
		return os.MkdirAll(d.base, 0o700)
	}
	uid, ok1 := static(d.uids)
	gid, ok2 := static(d.gids)
	if ok1 && ok2 {
		u, g, err := d.numbers(uid, gid)
		if err != nil {
			return err
		}
		d.self = &privs.IDs{UID: int(u), GID: int(g)}
		d.writer = newWriter(conf)
		d.writer.watch(env)
		env.RunAs(*d.self)
		return nil
	}
	d.pool = worker.New(worker.Options{Program: "virtual", Hello: conf.encode(), Env: workerEnv(), Log: env.Log, PerUser: 32})
	return nil
}

func workerEnv() []string {
	env := []string{"PATH=/usr/bin:/bin", "GOMAXPROCS=2"}
	for _, n := range []string{"TZ", clock.Variable} {
		if v, ok := os.LookupEnv(n); ok {
			env = append(env, n+"="+v)
		}
	}
	return env
}

// static returns the value of a list that is one static: table.
func static(m *lookup.Maps) (string, bool) {
	if m == nil || len(m.Tables()) != 1 {
		return "", false
	}
	if typ, v := lookup.SplitSpec(m.Tables()[0].Name(), ""); typ == "static" {
		return strings.Trim(strings.TrimSpace(v), "{}"), true
	}
	return "", false
}

// numbers checks what the uid and gid tables say.
func (d *dispatcher) numbers(uid, gid string) (uint32, uint32, error) {
	const no = 1<<32 - 1 // (uid_t) -1 means "leave as it is" to system calls
	u, err := strconv.ParseUint(strings.TrimSpace(uid), 10, 32)
	if err != nil || u < d.minUID || u == no {
		return 0, 0, fmt.Errorf("bad uid %q in virtual_uid_maps (at least virtual_minimum_uid = %d)", uid, d.minUID)
	}
	g, err := strconv.ParseUint(strings.TrimSpace(gid), 10, 32)
	if err != nil || g == 0 || g == no {
		return 0, 0, fmt.Errorf("bad gid %q in virtual_gid_maps", gid)
	}
	return uint32(u), uint32(g), nil
}

func (d *dispatcher) find(m *lookup.Maps, rcpt string) (string, bool, error) {
	v, _, ok, err := m.Address(rcpt, d.delims, d.opts)
	return v, ok, err
}

// atOnce is how many recipients of one request are delivered to at a time, so
// that they share syncs.
const atOnce = 16

// deliver serves one request of qmgr.
func (d *dispatcher) deliver(ctx context.Context, j *delivery.Job) {
	if len(j.Recipients) == 1 {
		d.recipient(ctx, j, 0)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range j.Recipients {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			d.recipient(ctx, j, i)
		})
	}
	wg.Wait()
}

func (d *dispatcher) recipient(ctx context.Context, j *delivery.Job, i int) {
	if ctx.Err() != nil {
		return
	}
	o := envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Relay: d.service}
	path, err := d.one(ctx, j, &j.Recipients[i])
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		e := dsncode.As(err, "4.2.0")
		o.DSN, o.Reason, o.Status = e.DSN, e.Text, envelope.Bounced
		if e.Temporary() {
			o.Status = envelope.Deferred
		}
		if j.Message.VerifyOnly && o.Status == envelope.Bounced {
			o.Status = envelope.Undeliverable
		}
	case j.Message.VerifyOnly:
		o.Status, o.Reason = envelope.Deliverable, "delivers to "+kind(path)
	default:
		o.Reason = "delivered to " + kind(path)
	}
	j.Report(i, o, time.Time{}, 0)
}

func kind(path string) string {
	if strings.HasSuffix(path, "/") {
		return "maildir"
	}
	return "mailbox"
}

// one delivers to one recipient and returns the mailbox.
func (d *dispatcher) one(ctx context.Context, j *delivery.Job, r *envelope.Recipient) (string, error) {
	misconfigured := func(format string, a ...any) (string, error) {
		d.log.Warningf("%s: recipient %s: %s", j.Message.ID, r.Address, fmt.Sprintf(format, a...))
		return "", errConfig
	}
	v, ok, err := d.find(d.maps, r.Address)
	if err != nil {
		return misconfigured("%v", err)
	}
	if !ok {
		return "", dsncode.New("5.1.1", "unknown user: \"%s\"", address.Fold(r.Address))
	}
	path := d.base + "/" + v
	if strings.Contains("/"+v+"/", "/../") || strings.ContainsAny(v, "\x00\n") {
		return misconfigured("bad mailbox path %s in virtual_mailbox_maps", v)
	}
	id, err := d.identity(r.Address)
	if err != nil {
		return misconfigured("%v", err)
	}
	t := &copyTask{Probe: j.Message.VerifyOnly, Path: path, Rcpt: r.Address, Orig: r.Orig, Sender: j.Message.Sender, QueueID: j.Message.ID, Num: r.Num,
		Arrival: j.Message.Arrival, Offset: j.ContentOffset, Length: j.ContentLength}
	if t.Orig == "" {
		t.Orig = r.Address
	}
	if d.writer != nil {
		return path, d.writer.write(ctx, t, j.Content())
	}
	b, err := d.pool.Call(ctx, id, t.encode(), int(j.ContentFile().Fd()))
	if err == nil {
		err = decodeReply(b)
	}
	var de *dsncode.Error
	if err != nil && !errors.As(err, &de) {
		d.log.Warningf("%s: worker for uid %d: %v", j.Message.ID, id.UID, err)
		return "", dsncode.New("4.3.0", "delivery failed: no answer from the worker process")
	}
	return path, err
}

// identity looks the owner of a mailbox up.
func (d *dispatcher) identity(rcpt string) (worker.Identity, error) {
	uid, ok, err := d.find(d.uids, rcpt)
	if err == nil && !ok {
		err = fmt.Errorf("not found in virtual_uid_maps")
	}
	gid := ""
	if err == nil {
		if gid, ok, err = d.find(d.gids, rcpt); err == nil && !ok {
			err = fmt.Errorf("not found in virtual_gid_maps")
		}
	}
	var u, g uint32
	if err == nil {
		u, g, err = d.numbers(uid, gid)
	}
	if d.self == nil {
		return worker.Identity{UID: u, GID: g, Groups: []uint32{g}}, err
	}
	// One identity is all there is: that of an ordinary user, or the static one.
	own := worker.Identity{UID: uint32(d.self.UID), GID: uint32(d.self.GID)}
	if err != nil || u != own.UID {
		if _, seen := d.warned.LoadOrStore(uid, true); !seen && !(d.uids.Empty() && d.gids.Empty()) {
			d.log.Warningf("uid %q of virtual_uid_maps is ignored: not being root, this process delivers as uid %d", uid, own.UID)
		}
	}
	return own, nil
}

// encodeReply and decodeReply carry an outcome from a worker.
func encodeReply(err error) []byte {
	var e wire.Encoder
	if err == nil {
		e.String("")
		e.String("")
		return e.B
	}
	de := dsncode.As(err, "4.2.0")
	e.String(de.DSN)
	e.String(de.Text)
	return e.B
}

func decodeReply(p []byte) error {
	d := wire.NewDecoder(p)
	dsn, text := d.String(), d.String()
	if err := d.Done(); err != nil {
		return err
	}
	if dsn == "" {
		return nil
	}
	if dsncode.Valid(dsn) == 0 {
		return wire.ErrMalformed
	}
	return &dsncode.Error{DSN: dsn, Text: text}
}

// openWorker makes the handler of a worker process.
func openWorker(hello []byte) (worker.Handler, bool, error) {
	conf, err := decodeConf(hello)
	if err != nil {
		return nil, false, err
	}
	if err := durable.Adopt(conf.Mounts); err != nil {
		return nil, false, err
	}
	w := newWriter(conf)
	return func(ctx context.Context, payload []byte, files []*os.File) []byte {
		t, err := decodeTask(payload)
		if err == nil && len(files) == 0 {
			err = wire.ErrMalformed
		}
		if err == nil {
			err = w.write(ctx, t, io.NewSectionReader(files[0], t.Offset, t.Length))
		}
		return encodeReply(err)
	}, true, nil
}
