package params

import "posthaste/pkg/config"

// Parameters that Postfix does not have.
var (
	MaillogJson         = config.Bool{Name: "maillog_json", Default: "no", Note: "write each log event as one JSON object instead of Postfix's line"}
	QueueSyncfs         = config.String{Name: "queue_syncfs", Default: "auto", MinLen: 1, Note: "whether many messages that arrive at the same time are made durable by one syncfs: auto (if the queue is a file system of its own, ext4 with a journal or xfs), yes or no"}
	ResolverNameservers = config.String{Name: "resolver_nameservers", Note: "name servers that resolver(8) and programs with a network of their own ask, as address or address:port; empty means those of /etc/resolv.conf"}
	RoleUidBase         = config.Int{Name: "role_uid_base", Default: "0", Note: "first of the consecutive user and group IDs that the programs run under when master is root; 0 means the named system users (posthaste, posthaste-smtpd, ...)"}
)
