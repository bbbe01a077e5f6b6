// Package privs holds the one table of what each program may do, and enforces
// it: identity, chroot, resource limits, no_new_privs, Landlock and seccomp are
// all set from the row of the program. The manual prints the table; a test
// tries to break each row.
package privs

// Identity names the user a program runs as when master is root. As an
// ordinary user everything runs under that user and the rest of the row still
// applies.
type Identity string

// The identities. Roles that face different enemies have different ones.
const (
	Queue      Identity = "posthaste"          // owns the queue
	SMTPServer Identity = "posthaste-smtpd"    // talks to clients
	SMTPClient Identity = "posthaste-smtp"     // talks to servers
	Login      Identity = "posthaste-login"    // talks to mail readers before authentication
	Auth       Identity = "posthaste-auth"     // sees password data
	Resolver   Identity = "posthaste-resolver" // talks to name servers
	Shadow     Identity = "posthaste-shadow"   // has the system's passwords
	Null       Identity = "posthaste-null"     // needs nothing but its socket
	Superuser  Identity = "root"               // acts as the recipient through workers
	MailUser   Identity = "(the mail's owner)" // started as that user by master
)

// Identities lists all that need a system user, in the order of their offsets
// from role_uid_base.
var Identities = []Identity{Queue, SMTPServer, SMTPClient, Login, Auth, Resolver, Null, Shadow}

// Role is one row: what one program may do.
type Role struct {
	Program string
	As      Identity
	// Read and Write list directories or files, $name standing for a parameter.
	// A path that does not exist is left out. Everything else is out of reach
	// once the sandbox is closed; what Before opened stays open.
	Read, Write []string
	// Dial lists the sockets that the program connects to, for the manual and
	// for the callers' check at the other end.
	Dial []string
	// Callers lists the programs whose identity may connect to the program's
	// Unix sockets; "setgid" admits the set-gid commands (postdrop, postqueue).
	Callers []string
	// Network: the program may create Internet sockets. Programs that only
	// accept on inherited listeners do not need it.
	Network bool
	// Exec: the program may start other programs.
	Exec bool
}

// Table has a row for every daemon.
var Table = []Role{
	{Program: "smtpd", As: SMTPServer, Read: tables,
		Dial:    []string{"public/cleanup", "public/qmgr", "private/auth", "private/anvil", "private/resolver", "private/verify"},
		Callers: []string{"postscreen"}},
	{Program: "cleanup", As: Queue, Read: tables, Write: []string{"$queue_directory/incoming", "$queue_directory/hold", "$queue_directory/journal"},
		Dial:    []string{"public/qmgr"},
		Callers: []string{"smtpd", "pickup", "bounce", "local", "verify", "qmqpd"}},
	{Program: "qmgr", As: Queue, Read: tables, Write: queues,
		Dial:    []string{"private/*"},
		Callers: []string{"cleanup", "smtpd", "pickup", "setgid"}},
	{Program: "pickup", As: Queue, Read: tables, Write: []string{"$queue_directory/maildrop"},
		Dial:    []string{"public/cleanup"},
		Callers: []string{"setgid"}},
	{Program: "showq", As: Queue, Read: append([]string{"$queue_directory"}, tables...),
		Callers: []string{"setgid"}},
	{Program: "bounce", As: Queue, Read: tables, Dial: []string{"public/cleanup", "private/verify"}, Callers: []string{"qmgr", "cleanup"}},
	{Program: "verify", As: Queue, Read: tables, Dial: []string{"public/cleanup"}, Callers: []string{"smtpd", "bounce"}},
	{Program: "error", As: Null, Callers: []string{"qmgr"}},
	{Program: "anvil", As: Null, Callers: []string{"smtpd", "login"}},
	{Program: "discard", As: Null, Callers: []string{"qmgr"}},
	{Program: "smtp", As: SMTPClient, Read: append([]string{"/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"}, tables...),
		Dial: []string{"private/resolver"}, Callers: []string{"qmgr"}, Network: true},
	{Program: "lmtp", As: SMTPClient, Read: append([]string{"/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"}, tables...),
		Dial: []string{"private/resolver"}, Callers: []string{"qmgr"}, Network: true},
	{Program: "local", As: Superuser, Read: []string{"/"}, Write: []string{"/"}, Dial: []string{"public/cleanup", "private/*"}, Callers: []string{"qmgr"}, Exec: true, Network: true},
	{Program: "virtual", As: Superuser, Read: tables, Write: []string{"$virtual_mailbox_base"}, Callers: []string{"qmgr"}, Exec: true},
	{Program: "pipe", As: Superuser, Read: []string{"/"}, Write: []string{"/"}, Callers: []string{"qmgr"}, Exec: true, Network: true},
	{Program: "auth", As: Auth, Read: tables, Dial: []string{"private/session", "private/shadow"}, Callers: []string{"smtpd", "login"}},
	// Before it gives up master's rights it opens /etc/passwd and /etc/shadow, each
	// once; to open them again takes a new process.
	{Program: "shadow", As: Shadow, Callers: []string{"auth"}},
	{Program: "login", As: Login, Read: tables, Dial: []string{"private/auth", "private/session", "private/anvil"}},
	{Program: "imapd", As: MailUser, Read: []string{"/"}, Write: []string{"/"}},
	{Program: "pop3d", As: MailUser, Read: []string{"/"}, Write: []string{"/"}},
	{Program: "resolver", As: Resolver, Read: []string{"/etc/hosts", "/etc/resolv.conf"}, Callers: []string{"smtpd", "smtp", "lmtp"}, Network: true},
}

var (
	// tables is where look-up tables and what they need may lie.
	tables = []string{"$config_directory", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/services", "/etc/aliases", "/etc/aliases.cdb", "/usr/share/zoneinfo", "/etc/localtime"}
	queues = []string{"$queue_directory/incoming", "$queue_directory/active", "$queue_directory/deferred", "$queue_directory/hold", "$queue_directory/corrupt", "$queue_directory/journal", "$queue_directory/pid"}
)

// Find returns the row of a program.
func Find(program string) (Role, bool) {
	for _, r := range Table {
		if r.Program == program {
			return r, true
		}
	}
	return Role{}, false
}
