package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/pipeargs"
	"posthaste/pkg/userdb"
)

// builtIn says of Postfix's programs that have no process here who does
// their work.
var builtIn = map[string]string{
	"trivial-rewrite": "each program rewrites and resolves addresses itself",
	"scache":          "the client keeps its idle connections itself",
	"tlsmgr":          "each program keeps its TLS sessions and tickets itself",
	"dnsblog":         "the SMTP server asks DNS lists itself",
	"tlsproxy":        "programs speak TLS themselves",
	"postlogd":        "master writes the log file",
	"proxymap":        "each program opens its tables itself",
	"flush":           "the queue manager knows which mail waits for which destination",
	"oqmgr":           "qmgr is the only queue manager",
}

// builtInService are services that a program which exists serves in Postfix
// alone.
var builtInService = map[string]string{
	"defer": "the queue file records what was deferred",
	"trace": "the queue file records what was delivered",
}

// BuiltInService says whether a stock service of Postfix is built in here, and into
// what.
func BuiltInService(service, command string) (why string, ok bool) {
	if why, ok = builtInService[service]; ok && command == "bounce" {
		return why, true
	}
	why, ok = builtIn[command]
	return why, ok
}

// takesArgs are the programs whose commands have arguments other than options.
var takesArgs = []string{"pipe", "login", "spawn"}

// entry checks one service: its program, its -o settings, and for an SMTP
// server that it does not relay for everybody.
func (k *checker) entry(e *mastercf.Entry) {
	k.command(e)
	if _, ok := BuiltInService(e.Name, e.Command); !ok {
		switch e.Type {
		case "unix-dgram":
			k.add(e.Pos, Error, "service %s: type unix-dgram is not supported", e.Name)
		case "fifo":
			k.add(e.Pos, Note, "service %s: type fifo means a socket here, as unix does", e.Name)
		}
	}
	if len(e.Rest) > 0 && !slices.Contains(takesArgs, e.Command) {
		k.add(e.Pos, Error, "service %s: unexpected command-line argument: %s (a setting with blanks needs braces: -o { name = value })", e.Name, e.Rest[0])
	}
	if e.Command == "pipe" {
		k.pipe(e)
	}
	c := e.Config(k.cfg)
	done := map[string]bool{}
	for _, o := range slices.Backward(e.Overrides) { // the last one counts
		if !done[o.Name] {
			done[o.Name] = true
			k.parameter(c, o.Name, e.Pos)
		}
	}
	if e.Command == "smtpd" {
		k.relayControl(e, c)
	}
}

// pipe checks what an entry tells pipe(8) to run. A user who is missing is
// no mistake: stock configurations have entries for programs that most hosts lack.
func (k *checker) pipe(e *mastercf.Entry) {
	a, err := pipeargs.Parse(e.Rest)
	if err != nil {
		k.add(e.Pos, Error, "service %s: %v", e.Name, err)
		return
	}
	if os.Geteuid() != 0 {
		return // commands run as the user who runs everything
	}
	if u, err := userdb.New("", "").Lookup(a.User); err == nil && u == nil {
		k.add(e.Pos, Note, "service %s: there is no user %s: mail for this service waits", e.Name, a.User)
	} else if u != nil && u.UID == 0 {
		k.add(e.Pos, Error, "service %s: user= specifies root privileges", e.Name)
	}
}

// command checks that the program of an entry exists.
func (k *checker) command(e *mastercf.Entry) {
	dir := k.get(k.cfg, "daemon_directory")
	st, err := os.Stat(filepath.Join(dir, e.Command))
	_, always := builtInService[e.Name]
	if why, ok := BuiltInService(e.Name, e.Command); ok && (err != nil || always) {
		k.add(e.Pos, Note, "service %s (%s) is built in: %s", e.Name, e.Command, why)
		return
	}
	switch {
	case os.IsNotExist(err):
		var names []string
		list, err := os.ReadDir(dir)
		if err != nil {
			return // reported once, with the directories
		}
		for _, f := range list {
			names = append(names, f.Name())
		}
		k.suggest(closest(e.Command, names), e.Pos, Error, "service %s: there is no program %s in %s", e.Name, e.Command, dir)
	case err != nil:
		k.add(e.Pos, Error, "service %s: %v", e.Name, err)
	case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
		k.add(e.Pos, Error, "service %s: %s is not a program", e.Name, filepath.Join(dir, e.Command))
	}
}

// transportParameters hold transport:nexthop.
var transportParameters = []string{"local_transport", "virtual_transport", "default_transport", "relay_transport", "mailbox_transport",
	"fallback_transport", "content_filter", "best_mx_transport", "address_verify_local_transport", "address_verify_virtual_transport",
	"address_verify_default_transport", "address_verify_relay_transport", "error_service_name", "retry_service_name"}

// transports checks that the transport that a parameter names is a service.
func (k *checker) transports(name, value string, pos config.Position) {
	if !slices.Contains(transportParameters, name) || value == "" || len(k.lines) == 0 {
		return
	}
	transport, _, _ := strings.Cut(value, ":")
	if transport == "" || k.master.Find(transport, "unix") != nil {
		return
	}
	var names []string
	for _, e := range k.master.Entries {
		if e.Type == "unix" {
			names = append(names, e.Name)
		}
	}
	if slices.ContainsFunc(k.master.Disabled, func(e mastercf.Entry) bool { return e.Name == transport && e.Type == "unix" }) {
		k.add(pos, Error, "%s: transport %s is disabled by master_service_disable", name, transport)
		return
	}
	if slices.ContainsFunc(k.lines, func(l mastercf.Line) bool { return l.Field[0] == transport && l.Field[1] == "unix" }) {
		return // its line has a mistake of its own
	}
	k.suggest(closest(transport, names), pos, Error, "%s: there is no service %s/unix in master.cf", name, transport)
}

// services checks that the parts exist without which no mail moves.
func (k *checker) services() {
	if len(k.lines) == 0 {
		return
	}
	for _, p := range []struct{ param, why string }{
		{"cleanup_service_name", "no mail can enter the queue"},
		{"queue_service_name", "no mail is delivered"},
		{"bounce_service_name", "senders hear of no failure"},
		{"pickup_service_name", "mail of the sendmail command stays in maildrop"},
		{"showq_service_name", "the queue cannot be listed"},
		{"error_service_name", "mail that cannot be routed is not returned"},
		{"retry_service_name", "mail for suspended destinations is not deferred"},
	} {
		name := k.get(k.cfg, p.param)
		if name == "" || slices.ContainsFunc(k.lines, func(l mastercf.Line) bool { return l.Field[0] == name }) {
			continue
		}
		k.add(k.cfg.Pos(p.param), Warning, "there is no service %s in master.cf: %s", name, p.why)
	}
}

// relaying are the restrictions one of which every SMTP server needs.
var relaying = []string{"reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit", "check_relay_domains"}

// relayControl checks that a server's restrictions can refuse to relay.
func (k *checker) relayControl(e *mastercf.Entry, c *config.Config) {
	relay, err := c.Lookup("smtpd_relay_restrictions")
	if err != nil {
		return
	}
	recipient, err := c.Lookup("smtpd_recipient_restrictions")
	if err != nil {
		return
	}
	if controls(c, config.SplitList(relay), 0) || controls(c, config.SplitList(recipient), 0) {
		return
	}
	pos := e.Pos
	if !slices.ContainsFunc(e.Overrides, func(o config.Override) bool {
		return o.Name == "smtpd_relay_restrictions" || o.Name == "smtpd_recipient_restrictions"
	}) {
		if p := c.Pos("smtpd_relay_restrictions"); p.File != "" {
			pos = p
		} else if p := c.Pos("smtpd_recipient_restrictions"); p.File != "" {
			pos = p
		}
	}
	k.add(pos, Error, "service %s: neither smtpd_relay_restrictions nor smtpd_recipient_restrictions has a working instance of %s",
		e.Name, strings.Join(relaying[:len(relaying)-1], ", "))
}

// controls says whether a list of restrictions reaches one of relaying, also
// by way of a restriction class.
func controls(c *config.Config, list []string, depth int) bool {
	classes, _ := c.Lookup("smtpd_restriction_classes")
	for _, r := range list {
		word := strings.ToLower(r)
		if word == "permit" || word == "warn_if_reject" {
			return false
		}
		if slices.Contains(relaying, word) {
			return true
		}
		if depth < 10 && slices.Contains(config.SplitList(classes), r) {
			if v, err := c.Lookup(r); err == nil && controls(c, config.SplitList(v), depth+1) {
				return true
			}
		}
	}
	return false
}
