package params

import "posthaste/pkg/config"

// Parameters that Postfix does not have.
var (
	AuthDefaultRealm    = config.String{Name: "auth_default_realm", Default: "$mydomain", Note: "domain that a login name may have or lack: a line for USER in the password file serves USER@auth_default_realm too, and the other way round; empty for none"}
	AuthFailureDelay    = config.Time{Name: "auth_failure_delay", Default: "2s", Unit: 's', Max: 60, Note: "how long auth(8) waits before it answers a failed attempt; doubles with each failure of a client or for a user name, up to eight times"}
	AuthMechanisms      = config.String{Name: "auth_mechanisms", Default: "plain login scram-sha-256", MinLen: 1, Note: "SASL mechanisms that auth(8) offers; scram-sha-256 only while every user of the password file has a SCRAM-SHA-256 or PLAIN value"}
	AuthPasswdFile      = config.String{Name: "auth_passwd_file", Default: "$config_directory/users", MinLen: 1, Note: "password file of auth(8): user:{SCHEME}hash:uid:gid:gecos:home:shell:extra"}
	AuthClientUsers     = config.String{Name: "auth_client_users", Note: "users, by name or number, whose programs may ask the auth service besides our own smtpd: an Exim or Postfix that uses it as its Dovecot SASL server"}
	MaillogJson         = config.Bool{Name: "maillog_json", Default: "no", Note: "write each log event as one JSON object instead of Postfix's line"}
	QueueSyncfs         = config.String{Name: "queue_syncfs", Default: "auto", MinLen: 1, Note: "whether many messages that arrive at the same time are made durable by one syncfs: auto (if the queue's file system, ext4 with a journal or xfs, holds nothing but mail), yes or no"}
	ResolverNameservers = config.String{Name: "resolver_nameservers", Note: "name servers that resolver(8) and programs with a network of their own ask, as address or address:port; empty means those of /etc/resolv.conf"}
	RoleUidBase         = config.Int{Name: "role_uid_base", Default: "0", Note: "first of the consecutive user and group IDs that the programs run under when master is root; 0 means the named system users (posthaste, posthaste-smtpd, ...)"}
)
