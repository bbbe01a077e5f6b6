package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/address"
	"posthaste/pkg/delivery"
	"posthaste/pkg/dsncode"
	"posthaste/pkg/envelope"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
)

// maxLevel bounds the nesting of aliases, .forward and :include: files, and
// maxVisits the destinations of one recipient in all: aliases that list each
// other many times over grow without being a loop.
const (
	maxLevel  = 100
	maxVisits = 100000
)

// leaf is what became of one final destination.
type leaf struct {
	envelope.Outcome
	to     string // its address
	silent bool   // another agent has logged it
}

// forward is one new message that cleanup is going to get.
type forward struct {
	delivered string // Delivered-To:
	sender    string
	list      bool // sender is a list owner: ENVID, RET and ORCPT stay behind
	rcpts     []envelope.Recipient
}

// expansion is the delivery of one recipient of a request.
type expansion struct {
	d        *dispatcher
	j        *delivery.Job
	i        int
	orig     envelope.Recipient
	seen     map[string]struct{}
	visits   int
	loops    []string // Delivered-To: addresses, folded
	scanned  bool
	forwards []*forward
	leaves   []leaf
	expanded bool // an alias or .forward file was involved
	list     bool // with an owner
}

// attr is what is known about the destination at hand; it is copied from level
// to level.
type attr struct {
	level     int
	rcpt      envelope.Recipient
	local     string // local part, folded
	user      string // without extension
	domain    string
	ext       string
	delim     string
	unmatched string // extension to be appended to addresses in the expansion
	delivered string // Delivered-To: of copies
	sender    string
	owner     string // set by owner- aliases, .forward and :include: files: local recipients get a new message
	list      bool   // sender was replaced by a list owner's
	expFrom   string // alias or user whose list this came from
	from      source // kind of list this came from; 0 for a recipient of the message
	rights    *rights
}

func newExpansion(d *dispatcher, j *delivery.Job, i int) *expansion {
	return &expansion{d: d, j: j, i: i, orig: j.Recipients[i]}
}

// run delivers to everything that the recipient stands for.
func (x *expansion) run(ctx context.Context) {
	x.recipient(ctx, attr{rcpt: x.orig, sender: x.j.Message.Sender})
	// A destination that fails for good must not keep the mail from the others:
	// this recipient is not tried again.
	if x.worst() != envelope.Deferred {
		x.submit(ctx)
	}
}

// has tells whether key was seen before.
func (x *expansion) has(key string) bool {
	_, ok := x.seen[key]
	return ok
}

// dup tells whether key was seen before, within duplicate_filter_limit, and
// keeps it.
func (x *expansion) dup(format string, a ...any) bool {
	key := fmt.Sprintf(format, a...)
	if x.has(key) {
		return true
	}
	if n := x.d.set.dupLimit; n == 0 || len(x.seen) < n {
		if x.seen == nil {
			x.seen = map[string]struct{}{}
		}
		x.seen[key] = struct{}{}
	}
	return false
}

func (x *expansion) result(a *attr, s envelope.Status, dsn, text string) {
	x.leaves = append(x.leaves, leaf{to: a.rcpt.Address, Outcome: envelope.Outcome{Status: s, DSN: dsn, Relay: x.d.service, Reason: text}})
}

func (x *expansion) sent(a *attr, text string)            { x.result(a, envelope.Sent, "2.0.0", text) }
func (x *expansion) fail(a *attr, dsn, text string)       { x.result(a, failure(dsn), dsn, text) }
func (x *expansion) failf(a *attr, d, f string, p ...any) { x.fail(a, d, fmt.Sprintf(f, p...)) }
func (x *expansion) warnf(format string, args ...any) {
	x.d.log.Warningf(x.j.Message.ID+": "+format, args...)
}
func (x *expansion) tableTrouble(a *attr, err error)      { x.trouble(a, err, "table lookup failure") }
func (x *expansion) trouble(a *attr, err error, t string) { x.warnf("%v", err); x.fail(a, "4.3.0", t) }
func (x *expansion) failErr(a *attr, err error, d string) { x.failDSN(a, dsncode.As(err, d)) }

func (x *expansion) failDSN(a *attr, e *dsncode.Error) {
	x.fail(a, e.DSN, e.Text)
	if e.Diag != "" {
		l := &x.leaves[len(x.leaves)-1]
		l.DiagType, l.DiagText = "x-unix", e.Diag
	}
}

func failure(dsn string) envelope.Status {
	if strings.HasPrefix(dsn, "4") {
		return envelope.Deferred
	}
	return envelope.Bounced
}

// worst is the status that the recipient as a whole has: one destination to
// be tried again makes the recipient one to be tried again.
func (x *expansion) worst() envelope.Status {
	w := envelope.Sent
	for i := range x.leaves {
		switch s := x.leaves[i].Status; {
		case s == envelope.Deferred:
			return s
		case s == envelope.Bounced || s == envelope.Undeliverable || s == envelope.Expired:
			w = envelope.Bounced
		}
	}
	return w
}

// deep enforces the limits on nesting and on the whole expansion.
func (x *expansion) deep(a *attr, what string) bool {
	a.level++
	x.visits++
	switch {
	case a.level > maxLevel:
		x.warnf("%s", what)
		x.fail(a, "5.4.6", what)
	case x.visits == maxVisits+1:
		x.warnf("%s expands to more than %d destinations", x.orig.Address, maxVisits)
		x.failf(a, "5.4.6", "%s expands to too many destinations", x.orig.Address)
	case x.visits > maxVisits:
	default:
		return false
	}
	return true
}

// recipient handles a local address: loop check, then alias, then user.
func (x *expansion) recipient(ctx context.Context, a attr) {
	if x.visits > maxVisits || ctx.Err() != nil {
		return
	}
	if x.deep(&a, "recipient nesting limit exceeded for "+a.rcpt.Address) {
		return
	}
	if x.dup("recipient %d %s", a.level, a.rcpt.Address) {
		return
	}
	if a.delivered == "" {
		a.delivered = a.rcpt.Address
	}
	local, domain := address.Split(a.rcpt.Address)
	a.local, a.domain = address.Fold(local), domain
	a.split(x.d.route.Delims(), x)
	a.unmatched = a.ext
	if a.user == "" {
		x.failf(&a, "5.1.3", "null username in %q", a.rcpt.Address)
		return
	}
	x.choose(ctx, a)
}

// split separates the extension; one with a slash is dropped, since file names
// are made from it.
func (a *attr) split(delims string, x *expansion) {
	a.user, a.ext = address.Extension{Delims: delims, SplitOwner: !x.d.set.ownerSpecial}.Split(a.local)
	a.delim = ""
	if len(a.user) < len(a.local) {
		a.delim = strings.TrimSuffix(a.local[len(a.user):], a.ext)
	}
	if strings.Contains(a.ext, "/") {
		x.warnf("address with illegal extension: %s", a.local)
		a.local, a.ext, a.delim = a.user, "", ""
	}
}

// choose goes on by what the address names.
func (x *expansion) choose(ctx context.Context, a attr) {
	if strings.HasPrefix(a.local, `\`) {
		// \user: no alias, no .forward file.
		a.rcpt.Address = a.rcpt.Address[1:]
		a.local, a.user = a.local[1:], a.user[1:]
		if x.checkLoop(ctx, &a) {
			return
		}
		x.user(ctx, a, false)
		return
	}
	b := a
	b.unmatched = ""
	if x.alias(ctx, b, a.local) {
		return
	}
	if a.ext != "" {
		if x.d.set.propAlias {
			b.unmatched = a.ext
		}
		if x.alias(ctx, b, a.user) {
			return
		}
	}
	// Mail that a .forward or :include: file or a list with an owner sends to a
	// local user becomes a new message, so that each recipient has a record of his
	// own. An alias without an owner is delivered right away.
	if a.owner != "" && !strings.EqualFold(a.owner, a.user) || a.from == fromInclude {
		if !x.checkLoop(ctx, &a) {
			x.indirect(&a)
		}
		return
	}
	x.user(ctx, a, true)
}

// checkLoop compares with the message's Delivered-To: headers.
func (x *expansion) checkLoop(ctx context.Context, a *attr) bool {
	if !x.scanned {
		rep := x.d.perform(ctx, x.j, nil, &task{Kind: taskScan, Num: x.orig.Num}, nil)
		if rep.DSN != "" {
			x.fail(a, rep.DSN, rep.Text)
			return true
		}
		x.keepLoops(rep.Lists)
	}
	for _, l := range x.loops {
		if l == address.Fold(a.rcpt.Address) {
			x.loop(a)
			return true
		}
	}
	return false
}

func (x *expansion) keepLoops(lists []string) {
	x.scanned = true
	for _, l := range lists {
		for _, addr := range address.ExtractList([]byte(l)) {
			x.loops = append(x.loops, address.Fold(addr))
		}
	}
}

func (x *expansion) loop(a *attr) {
	x.failf(a, "5.4.6", "mail forwarding loop for %s", a.rcpt.Address)
}

// alias delivers to the expansion of an alias; false means that there is none.
func (x *expansion) alias(ctx context.Context, a attr, name string) bool {
	// An alias that lists its own name means the user of that name.
	if a.expFrom != "" && strings.EqualFold(a.expFrom, name) {
		return false
	}
	for _, t := range x.tables() {
		value, ok, err := t.Get(name)
		if err != nil {
			x.trouble(&a, err, "alias database unavailable")
			return true
		}
		if !ok {
			continue
		}
		if x.checkLoop(ctx, &a) || x.deep(&a, "alias database loop for "+name) {
			return true
		}
		if x.j.Message.VerifyOnly {
			x.sent(&a, "aliased to "+value)
			return true
		}
		x.expand(ctx, a, t, name, value)
		return true
	}
	return false
}

func (x *expansion) tables() []lookup.Table {
	if x.d.set.aliases == nil {
		return nil
	}
	return x.d.set.aliases.Tables()
}

// expand delivers to an alias' right-hand side.
func (x *expansion) expand(ctx context.Context, a attr, t lookup.Table, name, value string) {
	r, err := x.aliasRights(t)
	if err != nil {
		x.trouble(&a, err, "cannot find alias database owner")
		return
	}
	a.rights, a.expFrom, a.from = r, name, fromAlias
	if x.d.set.ownerSpecial {
		owner := "owner-" + name
		rhs, ok, err := x.d.set.aliases.Get(owner)
		switch {
		case err != nil:
			x.trouble(&a, err, "alias database unavailable")
			return
		case ok:
			if x.d.set.expandOwner {
				owner = firstAddress(rhs, owner)
			}
			a.owner = x.d.route.Rewrite(owner, true)
			a.sender, a.list = a.owner, true
			a.rcpt.Orcpt, a.rcpt.Orig = "", ""
			x.list = true
		case x.d.set.resetOwner:
			a.owner = ""
		}
	}
	if !x.d.set.frozen {
		a.delivered = a.rcpt.Address
	}
	a.rcpt.Notify = withoutSuccess(a.rcpt.Notify)
	x.expanded = true
	list := tokens(value)
	if len(list) == 0 {
		x.warnf("no recipient in alias lookup result for %s", name)
		x.fail(&a, "4.3.0", "alias database unavailable")
		return
	}
	for _, tok := range list {
		x.token(ctx, a, tok)
	}
}

func firstAddress(rhs, def string) string {
	if l := tokens(rhs); len(l) > 0 {
		return l[0]
	}
	return def
}

// withoutSuccess is the NOTIFY that destinations inherit: the report of
// success is about the alias (RFC 3461, section 6.2.7.2).
func withoutSuccess(n envelope.Notify) envelope.Notify {
	if n == envelope.NotifySuccess {
		return envelope.NotifyNever
	}
	return n &^ envelope.NotifySuccess
}

// aliasRights are those of the owner of the table, or the default ones if that
// is root. A table that nobody is known to own is not to be trusted with
// anybody's.
func (x *expansion) aliasRights(t lookup.Table) (*rights, error) {
	if x.d.euid != 0 {
		return nil, nil
	}
	uid, known := lookup.Owner(t)
	switch {
	case !known:
		return nil, fmt.Errorf("no owner UID for alias database %s", t.Name())
	case uid == 0:
		return nil, nil
	}
	u, err := x.d.users.LookupUID(uid)
	if err == nil && u == nil {
		err = fmt.Errorf("alias database %s is owned by uid %d, which is no user", t.Name(), uid)
	}
	if err != nil {
		return nil, err
	}
	return x.d.rightsOf(u)
}

// token delivers to one destination of an alias, a .forward or an :include:
// file.
func (x *expansion) token(ctx context.Context, a attr, tok string) {
	if x.visits > maxVisits || ctx.Err() != nil {
		return
	}
	const include = ":include:"
	switch {
	case tok[0] == '/':
		x.file(ctx, a, tok)
	case tok[0] == '~':
		switch {
		case len(tok) < 2 || tok[1] != '/':
			x.warnf("bad home directory syntax for: %s", tok)
			x.fail(&a, "5.3.5", "mail system configuration error")
		case a.rights == nil || a.rights.user == nil:
			x.warnf("unknown home directory for: %s", tok)
			x.fail(&a, "5.3.5", "mail system configuration error")
		default:
			x.file(ctx, a, strings.TrimRight(a.rights.user.Home, "/")+tok[1:])
		}
	case tok[0] == '|':
		if x.d.set.allowCommands&a.from == 0 {
			x.fail(&a, "5.7.1", "mail to command is restricted")
			return
		}
		x.command(ctx, a, tok[1:])
	case len(tok) >= len(include) && strings.EqualFold(tok[:len(include)], include):
		x.include(ctx, a, tok[len(include):])
	default:
		x.address(ctx, a, tok)
	}
}

// address resolves an address: ours go on here, others into a new message.
func (x *expansion) address(ctx context.Context, a attr, addr string) {
	if x.deep(&a, "recipient nesting limit exceeded for "+addr) {
		return
	}
	if len(addr) > envelope.MaxAddress-256 {
		x.fail(&a, "5.1.3", "bad recipient address syntax: address too long")
		return
	}
	r, err := x.d.route.Resolve(a.sender, x.d.route.Rewrite(addr, true))
	if err != nil {
		x.trouble(&a, err, "address resolver failure")
		return
	}
	if r.Invalid {
		x.failf(&a, "5.1.3", "bad recipient address syntax: %s", addr)
		return
	}
	to := r.Recipient
	if a.unmatched != "" {
		local, domain := address.Split(to)
		to = local + a.delim + a.unmatched
		if domain != "" {
			to += "@" + domain
		}
	}
	if x.orig.Orig == "" && a.rcpt.Orig == "" && !a.list {
		a.rcpt.Orig = x.orig.Address
	}
	a.rcpt.Address = to
	if r.Transport == x.d.service {
		x.recipient(ctx, a)
		return
	}
	x.indirect(&a)
}

// indirect puts the address into a new message.
func (x *expansion) indirect(a *attr) {
	if x.dup("indirect %s", a.rcpt.Address) {
		return
	}
	if x.j.Message.VerifyOnly {
		x.sent(a, "forwards to "+a.rcpt.Address)
		return
	}
	var f *forward
	for _, o := range x.forwards {
		if o.delivered == a.delivered && o.sender == a.sender && o.list == a.list {
			f = o
		}
	}
	if f == nil {
		f = &forward{delivered: a.delivered, sender: a.sender, list: a.list}
		x.forwards = append(x.forwards, f)
	}
	r := a.rcpt
	r.Num, r.Flags = 0, 0
	f.rcpts = append(f.rcpts, r)
}

// include delivers to the destinations in an :include: file, with the rights
// of the file's owner if the list that names it has none.
func (x *expansion) include(ctx context.Context, a attr, path string) {
	if x.deep(&a, ":include: nesting limit exceeded") {
		return
	}
	if x.dup("include %d %s", a.rights.uid(), path) {
		return
	}
	a.expFrom = a.local
	config := func(format string, args ...any) {
		x.warnf(format, args...)
		x.fail(&a, "5.3.5", "mail system configuration error")
	}
	if !strings.HasPrefix(path, "/") {
		config(":include:%s uses a relative path", path)
		return
	}
	owner := int32(-1)
	if a.rights == nil && x.d.euid == 0 {
		// Named by root's alias: the file's owner gets what its destinations can do,
		// or he would have the default account.
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			config("unable to lookup :include: file %s: %v", path, err)
			return
		}
		// Root's files are opened with default_privs, not with root's rights: what
		// lies at the path may be a link that a user made, to a file that only root
		// may read, and what it says would go into a report.
		if owner = int32(st.Uid); st.Uid != 0 {
			u, err := x.d.users.LookupUID(st.Uid)
			if err != nil || u == nil {
				x.warnf("cannot find username for uid %d, which owns :include: file %s", st.Uid, path)
				x.fail(&a, "4.3.5", "mail system configuration error")
				return
			}
			if a.rights, err = x.d.rightsOf(u); err != nil {
				x.tableTrouble(&a, err)
				return
			}
		}
	}
	a.from = fromInclude
	if a.owner == "" {
		a.owner = a.rcpt.Address
	}
	if !x.d.set.propInclude {
		a.unmatched = ""
	}
	rep := x.d.perform(ctx, x.j, a.rights, &task{Kind: taskInclude, Num: x.orig.Num, Target: path, Owner: owner}, nil)
	if rep.DSN != "" {
		x.fail(&a, rep.DSN, rep.Text)
		return
	}
	for _, tok := range rep.Tokens {
		if tok != "" {
			x.token(ctx, a, tok)
		}
	}
}

// report tells qmgr and the log what became of the recipient.
func (x *expansion) report() {
	if len(x.leaves) == 0 {
		x.leaves = append(x.leaves, leaf{to: x.orig.Address, Outcome: envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Relay: x.d.service, Reason: "all destinations are duplicates"}})
	}
	worst, chosen := x.worst(), 0
	for i := range x.leaves {
		if l := &x.leaves[i]; l.Status == worst || worst == envelope.Bounced && l.Status != envelope.Sent {
			chosen = i
			break
		}
	}
	rc := &x.j.Recipients[x.i]
	for i := range x.leaves {
		l := &x.leaves[i]
		if x.j.Message.VerifyOnly {
			switch l.Status {
			case envelope.Sent:
				l.Status = envelope.Deliverable
			case envelope.Bounced:
				l.Status = envelope.Undeliverable
			}
		}
		if i == chosen || l.silent {
			continue
		}
		x.d.log.Event(maillog.Delivery{
			ID: x.j.Message.ID, To: l.to, OrigTo: origOf(&x.orig, l.to), Relay: l.Relay,
			Delays: maillog.Delays{Arrival: x.j.Message.Arrival, Activated: x.j.Activated, Started: x.j.Started, Finished: time.Now()},
			DSN:    l.DSN, Status: delivery.StatusWord(l.Status), Reason: l.Reason,
		})
	}
	l := x.leaves[chosen]
	if l.Status == envelope.Sent && x.expanded && !x.list && x.orig.Notify&envelope.NotifySuccess != 0 {
		l.Action = delivery.Expanded
	}
	log := x.j.Log
	if l.silent {
		x.j.Log = nil // the other agent's line is the line
	}
	rc.Orig, rc.Address = origOf(&x.orig, l.to), l.to
	x.j.Report(x.i, l.Outcome, time.Time{}, 0)
	x.j.Log = log
	rc.Orig, rc.Address = x.orig.Orig, x.orig.Address
}

func origOf(r *envelope.Recipient, to string) string {
	if r.Orig != "" {
		return r.Orig
	}
	if r.Address != to {
		return r.Address
	}
	return ""
}
