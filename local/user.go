package main

import (
	"context"
	"strconv"
	"strings"

	"posthaste/pkg/envelope"
	"posthaste/pkg/macro"
	"posthaste/pkg/userdb"
)

// user delivers to a user of this system: .forward file, then mailbox; and to
// who is none.
func (x *expansion) user(ctx context.Context, a attr, forwarding bool) {
	u, err := x.d.users.Lookup(a.user)
	if err != nil {
		x.trouble(&a, err, "user lookup error")
		return
	}
	t := &task{Kind: taskUser, Num: x.orig.Num, User: a.user, DefDSN: "4.2.0", Owner: -1}
	var r *rights
	if u != nil {
		if r, err = x.d.rightsOf(u); err != nil {
			x.trouble(&a, err, "user lookup error")
			return
		}
		t.UID, t.Home, t.NeedHome = u.UID, u.Home, x.d.set.needHome
	}
	var exts []bool
	served := false // the .forward file has had its turn
	// Without root the commands in another user's .forward file would run as us.
	if forwarding && u != nil && (x.d.euid == 0 || x.d.euid == u.UID) {
		t.Forwards, exts, served = x.forwardFiles(&a, u)
	}
	pass, ok := x.plan(&a, u, t)
	if !ok {
		return
	}
	if x.j.Message.VerifyOnly {
		x.verify(ctx, a, u, r, t, pass)
		return
	}
	// Root's .forward file is his to read, but his mailbox command is not run as
	// root.
	rootCommand := ""
	if r.uid() == 0 && t.Plan == planCommand {
		rootCommand, t.Plan = t.Target, planNone
	}
	mailbox := "mailbox " + a.local
	if served || x.has(mailbox) {
		// Nothing but a .forward file of another extension is of interest.
		if served = true; len(t.Forwards) == 0 {
			return
		}
		t.Plan = planNone
	}
	x.commandTask(&a, r, t)
	rep, ok := x.tryUser(ctx, &a, u, r, t, pass+rootCommand)
	if !ok {
		return
	}
	if rep.Verdict == isTokens {
		x.forward(ctx, a, r, t.Forwards, exts, rep)
		return
	}
	if served && rep.Verdict == notFound {
		return
	}
	x.dup("%s", mailbox)
	switch rep.Verdict {
	case isLoop:
		x.loop(&a)
	case needSpool:
		// Only where that was the plan: a worker that has been taken over must not
		// choose what the dispatcher opens.
		if t.Plan != planSpool {
			x.confused(&a)
			return
		}
		x.spool(ctx, a, u, r, t)
	case notFound:
		switch {
		case pass != "":
			x.pass(ctx, &a, pass)
		case rootCommand != "":
			a.rights = r
			x.command(ctx, a, rootCommand)
		default:
			x.unknown(ctx, a)
		}
	default:
		x.finish(&a, rep, deliveredText(t))
	}
}

// tryUser asks the user's worker, if there is something to ask it, and checks
// for loops; false means that a loop or trouble is reported. next is where the
// mail goes without a .forward file, if not to the worker.
func (x *expansion) tryUser(ctx context.Context, a *attr, u *userdb.User, r *rights, t *task, next string) (*reply, bool) {
	if u == nil || len(t.Forwards) == 0 && t.Plan == planNone && !t.NeedHome {
		set := x.d.set
		// A bounce needs no check; what goes on elsewhere does.
		if next != "" || set.luser != "" || set.fallback != "" || !set.fallbackMaps.Empty() {
			return &reply{Verdict: notFound}, !x.checkLoop(ctx, a)
		}
		return &reply{Verdict: notFound}, true
	}
	if x.scanned {
		if x.checkLoop(ctx, a) {
			return nil, false
		}
	} else {
		t.Loop = a.rcpt.Address
	}
	rep := x.d.perform(ctx, x.j, r, t, nil)
	if t.Loop != "" && rep.DSN == "" {
		x.keepLoops(rep.Lists)
	}
	return rep, true
}

// confused reports an answer that does not fit the task.
func (x *expansion) confused(a *attr) {
	x.warnf("the worker of user %s gave an answer that was not asked for", a.user)
	x.fail(a, "4.3.0", "local delivery failed: confused worker process")
}

func deliveredText(t *task) string {
	switch t.Plan {
	case planCommand:
		return "delivered to command: " + t.Target
	case planMaildir:
		return "delivered to maildir"
	}
	return "delivered to mailbox"
}

// finish turns a worker's answer into a result.
func (x *expansion) finish(a *attr, rep *reply, text string) {
	if rep.DSN == "" {
		x.sent(a, text)
		return
	}
	x.fail(a, rep.DSN, rep.Text)
	if rep.Diag != "" {
		l := &x.leaves[len(x.leaves)-1]
		l.DiagType, l.DiagText = "x-unix", rep.Diag
	}
}

// forwardFiles expands forward_path. exts tells for each file whether its name
// took up the address extension. The list ends before a file that is being
// worked on: a user who lists himself means his mailbox. served tells that the
// file has been dealt with altogether.
func (x *expansion) forwardFiles(a *attr, u *userdb.User) (files []string, exts []bool, served bool) {
	for _, p := range x.d.set.forwardPath {
		usedExt := false
		path, undefined, err := macro.Expand(p, x.d.set.forwardFilter, func(name string) (string, bool) {
			if name == "extension" {
				usedExt = true
			}
			return a.value(name, u, x.d.route.Delims())
		})
		if err != nil {
			x.warnf("forward_path: %v", err)
			continue
		}
		if undefined || !strings.HasPrefix(path, "/") {
			continue
		}
		if x.has("forward " + path) {
			return files, exts, x.has("forward-done " + path)
		}
		files, exts = append(files, path), append(exts, usedExt && a.ext != "")
	}
	return files, exts, false
}

// value is what $name stands for in forward_path, luser_relay and
// command_execution_directory.
func (a *attr) value(name string, u *userdb.User, delims string) (string, bool) {
	switch name {
	case "user":
		return a.user, true
	case "home":
		if u != nil {
			return u.Home, true
		}
	case "shell":
		if u != nil {
			return u.Shell, true
		}
	case "domain":
		return a.domain, a.domain != ""
	case "local", "mailbox":
		return a.local, true
	case "recipient":
		return a.rcpt.Address, true
	case "extension":
		return a.ext, a.ext != ""
	case "recipient_delimiter":
		if a.delim != "" {
			return a.delim, true
		}
		if delims != "" {
			return delims[:1], true
		}
	}
	return "", false
}

// plan decides what becomes of the user's mail without a .forward file: pass is
// the transport that gets it. false means that there was trouble, which is
// reported.
func (x *expansion) plan(a *attr, u *userdb.User, t *task) (pass string, ok bool) {
	set := x.d.set
	v, found, err := set.transportMaps.Get(a.user)
	if err != nil {
		x.tableTrouble(a, err)
		return "", false
	}
	if !found {
		v = set.transport
	}
	if v != "" {
		return v, true
	}
	if u == nil {
		return "", true
	}
	command, found, err := set.commandMaps.Get(a.user)
	if err != nil {
		x.tableTrouble(a, err)
		return "", false
	}
	if !found {
		command = set.command
	}
	t.Deliver = x.deliveredTo(a, forFile)
	t.Sender, t.Rcpt, t.Orig = a.sender, a.rcpt.Address, x.origTo(a)
	switch {
	case command != "":
		t.Plan, t.Target = planCommand, command
		t.Deliver = x.deliveredTo(a, forCommand)
	case strings.HasSuffix(set.homeMailbox, "/"):
		t.Plan, t.Target = planMaildir, u.Home+"/"+set.homeMailbox
	case set.homeMailbox != "":
		t.Plan, t.Target = planMbox, u.Home+"/"+set.homeMailbox
	case strings.HasSuffix(set.spool, "/"):
		t.Plan, t.Target = planMaildir, set.spool+a.user+"/"
	default:
		t.Plan, _ = x.d.spoolPlan(u)
		t.Target = set.spool + "/" + a.user
	}
	if t.Plan == planMbox && set.strictOwner {
		t.Owner = int32(u.UID)
		if x.d.euid != 0 {
			t.Owner = int32(x.d.euid)
		}
	}
	if t.Plan != planCommand && !set.frozen && t.Deliver != "" {
		t.Deliver = a.rcpt.Address
	}
	return "", true
}

// deliveredTo is the Delivered-To: header for a kind of destination.
func (x *expansion) deliveredTo(a *attr, h headerFor) string {
	if x.d.set.prepend&h == 0 {
		return ""
	}
	return a.delivered
}

// origTo is the X-Original-To: header.
func (x *expansion) origTo(a *attr) string {
	if a.list {
		return ""
	}
	if x.orig.Orig != "" {
		return x.orig.Orig
	}
	return x.orig.Address
}

// verify tells what would happen (sendmail -bv).
func (x *expansion) verify(ctx context.Context, a attr, u *userdb.User, r *rights, t *task, pass string) {
	switch {
	case pass != "":
		x.pass(ctx, &a, pass)
	case u == nil:
		x.unknown(ctx, a)
	case t.Plan == planCommand:
		x.sent(&a, "delivers to command: "+t.Target)
	default:
		text := "delivers to mailbox"
		if t.Plan == planMaildir {
			text = "delivers to maildir"
		}
		// A user who has his mail forwarded may have a full mailbox.
		t.Probe = true
		x.finish(&a, x.d.perform(ctx, x.j, r, t, nil), text)
	}
}

// forward delivers to the destinations of a .forward file.
func (x *expansion) forward(ctx context.Context, a attr, r *rights, files []string, exts []bool, rep *reply) {
	if rep.Which >= len(files) {
		x.confused(&a)
		return
	}
	x.dup("forward %s", files[rep.Which])
	if exts[rep.Which] || !x.d.set.propForward {
		a.unmatched = ""
	}
	if !x.d.set.frozen {
		a.delivered = a.rcpt.Address
	}
	a.rights, a.from, a.owner, a.expFrom = r, fromForward, a.user, a.local
	a.rcpt.Notify = withoutSuccess(a.rcpt.Notify)
	x.expanded = true
	for _, tok := range rep.Tokens {
		if tok != "" {
			x.token(ctx, a, tok)
		}
	}
	x.dup("forward-done %s", files[rep.Which])
}

// spool has a mailbox in mail_spool_directory written that the dispatcher
// opens.
func (x *expansion) spool(ctx context.Context, a attr, u *userdb.User, r *rights, t *task) {
	_, gid := x.d.spoolPlan(u)
	f, err := x.d.openSpool(ctx, u, t.Target, gid)
	if err != nil {
		x.failErr(&a, err, "4.2.0")
		l := &x.leaves[len(x.leaves)-1]
		l.Reason = "cannot update mailbox " + t.Target + " for user " + a.user + ". " + l.Reason
		return
	}
	defer f.Release()
	t.Kind, t.Loop, t.Forwards = taskSpool, "", nil
	x.finish(&a, x.d.perform(ctx, x.j, r, t, f.File), "delivered to mailbox")
}

// pass gives the recipient to another transport.
func (x *expansion) pass(ctx context.Context, a *attr, spec string) {
	r := a.rcpt
	r.Num = x.orig.Num
	r.Orig = origOf(&x.orig, r.Address)
	o := x.d.passRecipient(ctx, x.j, spec, r)
	silent := o.Relay != "none" || o.Reason != "mail transport unavailable"
	o.Num = x.orig.Num
	x.leaves = append(x.leaves, leaf{to: r.Address, Outcome: o, silent: silent})
}

// unknown handles an address that is neither alias nor user.
func (x *expansion) unknown(ctx context.Context, a attr) {
	if x.dup("unknown %s", a.local) {
		return
	}
	set := x.d.set
	v, ok, err := set.fallbackMaps.Get(a.user)
	if err != nil {
		x.tableTrouble(&a, err)
		return
	}
	if !ok {
		v = set.fallback
	}
	if v != "" {
		x.pass(ctx, &a, v)
		return
	}
	if set.luser != "" {
		a.unmatched = ""
		to, _, err := macro.Expand(set.luser, "", func(n string) (string, bool) { return a.value(n, nil, x.d.route.Delims()) })
		if err != nil {
			x.warnf("luser_relay: %v", err)
			x.fail(&a, "4.3.5", "mail system configuration error")
			return
		}
		if !strings.EqualFold(x.d.route.Rewrite(to, true), a.rcpt.Address) {
			x.address(ctx, a, to)
			return
		}
	} else if a.user == "mailer-daemon" || a.user == "postmaster" {
		x.warnf("required alias not found: %s", a.user)
		x.result(&a, envelope.Sent, "2.0.0", "discarded")
		return
	}
	x.fail(&a, "5.1.1", "unknown user: "+strconv.Quote(a.user))
}

// file delivers to a file that an alias or a .forward file names.
func (x *expansion) file(ctx context.Context, a attr, path string) {
	if x.dup("file %d %s", a.rights.uid(), path) {
		return
	}
	switch {
	case x.d.set.allowFiles&a.from == 0:
		x.fail(&a, "5.7.1", "mail to file is restricted")
		return
	case strings.ContainsAny(path, "\x00\n"):
		x.fail(&a, "5.3.5", "mail system configuration error")
		return
	case x.j.Message.VerifyOnly:
		x.sent(&a, "delivers to file: "+path)
		return
	}
	t := &task{Kind: taskFile, Num: x.orig.Num, User: a.user, Target: path, DefDSN: "5.2.0", Owner: -1,
		Sender: a.sender, Rcpt: a.rcpt.Address, Orig: x.origTo(&a), Deliver: x.deliveredTo(&a, forFile)}
	text := "delivered to file: " + path
	if strings.HasSuffix(path, "/") {
		text = "delivered to maildir"
	}
	x.finish(&a, x.d.perform(ctx, x.j, a.rights, t, nil), text)
}

// command delivers to a command that an alias or a .forward file names.
func (x *expansion) command(ctx context.Context, a attr, line string) {
	if x.dup("command %s:%d %s", a.user, a.rights.uid(), line) {
		return
	}
	if x.j.Message.VerifyOnly {
		x.sent(&a, "delivers to command: "+line)
		return
	}
	t := &task{Kind: taskCommand, Num: x.orig.Num, User: a.user, Target: line, Owner: -1, Plan: planCommand,
		Sender: a.sender, Rcpt: a.rcpt.Address, Orig: x.origTo(&a), Deliver: x.deliveredTo(&a, forCommand)}
	if !x.commandTask(&a, a.rights, t) {
		return
	}
	x.finish(&a, x.d.perform(ctx, x.j, a.rights, t, nil), "delivered to command: "+line)
}

// commandTask fills in environment and directory if t is about a command.
func (x *expansion) commandTask(a *attr, r *rights, t *task) bool {
	if t.Plan != planCommand {
		return true
	}
	var u *userdb.User
	if r != nil {
		u = r.user
	}
	t.Env = x.environment(a, u)
	dir, _, err := macro.Expand(x.d.set.execDir, x.d.set.execFilter, func(n string) (string, bool) { return a.value(n, u, x.d.route.Delims()) })
	if err != nil {
		x.warnf("command_execution_directory: %v", err)
		x.fail(a, "4.3.5", "mail system configuration error")
		return false
	}
	t.Dir = dir
	return true
}

// environment is that of commands: what export_environment names, then what
// is known of the message, with every character that could mean something to a
// shell replaced (command_expansion_filter).
func (x *expansion) environment(a *attr, u *userdb.User) []string {
	env := append([]string(nil), x.d.set.export...)
	put := func(name, value string) {
		env = append(env, name+"="+macro.Filter(value, x.d.set.commandFilter))
	}
	some := func(name, value string) {
		if value != "" {
			put(name, value)
		}
	}
	if u != nil {
		put("HOME", u.Home)
		put("SHELL", u.Shell)
	}
	put("LOGNAME", a.user)
	put("USER", a.user)
	put("SENDER", a.sender)
	put("RECIPIENT", a.rcpt.Address)
	put("LOCAL", a.local)
	some("DOMAIN", a.domain)
	some("EXTENSION", a.ext)
	some("ORIGINAL_RECIPIENT", x.origTo(a))
	m := &x.j.Message
	some("ENVID", m.Envid)
	some("CLIENT_HOSTNAME", m.Client.Name)
	some("CLIENT_ADDRESS", m.Client.Address)
	some("CLIENT_HELO", m.Client.Helo)
	some("CLIENT_PROTOCOL", m.Client.Protocol)
	some("SASL_METHOD", m.Client.SASLMethod)
	some("SASL_SENDER", m.Client.SASLSender)
	some("SASL_USERNAME", m.Client.SASLUser)
	return env
}
