package params

import "posthaste/pkg/config"

// Parameters that Postfix does not have.
var (
	AuthDatabases                = config.String{Name: "auth_databases", Default: "passwd-file", MinLen: 1, Note: "where auth(8) looks for users and passwords, in this order: passwd-file (auth_passwd_file), shadow (the users of the system, by /etc/passwd and /etc/shadow)"}
	AuthDefaultRealm             = config.String{Name: "auth_default_realm", Default: "$mydomain", Note: "domain that a login name may have or lack: a line for USER in the password file serves USER@auth_default_realm too, and the other way round; empty for none"}
	AuthFailureDelay             = config.Time{Name: "auth_failure_delay", Default: "2s", Unit: 's', Max: 60, Note: "how long auth(8) waits before it answers a failed attempt; doubles with each failure of a client or for a user name, up to four times; Postfix, as a client, waits no longer than 10s"}
	AuthMechanisms               = config.String{Name: "auth_mechanisms", Default: "plain login scram-sha-256 scram-sha-1", MinLen: 1, Note: "SASL mechanisms that auth(8) offers; scram ones only while every user has a SCRAM value of that hash function, or a PLAIN one. scram-sha-256-plus and scram-sha-1-plus are offered under TLS if they are named here; not by default, since some clients choose them without being able to (mutt 2.2 with GNU SASL cannot send mail then)"}
	AuthPasswdFile               = config.String{Name: "auth_passwd_file", Default: "$config_directory/users", MinLen: 1, Note: "password file of auth(8): user:{SCHEME}hash:uid:gid:gecos:home:shell:extra"}
	AuthClientUsers              = config.String{Name: "auth_client_users", Note: "users, by name or number, whose programs may ask the auth service besides our own smtpd: an Exim or Postfix that uses it as its Dovecot SASL server"}
	LoginClientAuthFailureLimit  = config.Int{Name: "login_client_auth_failure_limit", Default: "100", Note: "failed logins of one client address within anvil_rate_time_unit after which login(8) lets it try no more; 0 for no limit"}
	LoginClientConnectionLimit   = config.Int{Name: "login_client_connection_count_limit", Default: "100", Note: "connections of one client address that may be waiting to log in; beyond it the oldest is closed; 0 for no limit"}
	LoginDisablePlaintextAuth    = config.Bool{Name: "login_disable_plaintext_auth", Default: "yes", Note: "whether login(8) refuses passwords in plain text on connections that neither use TLS nor come from the same host"}
	LoginGreeting                = config.String{Name: "login_greeting", Default: "$myhostname ready", MinLen: 1, Note: "text of the IMAP and POP3 greetings"}
	LoginSessionAuthFailureLimit = config.Int{Name: "login_session_auth_failure_limit", Default: "10", Min: 1, Note: "failed logins after which login(8) closes a connection"}
	LoginSyslogName              = config.String{Name: "login_syslog_name", Default: "dovecot", MinLen: 1, Note: "log tag of login(8), whose lines have Dovecot's form, so that fail2ban and others understand them"}
	LoginTimeout                 = config.Time{Name: "login_timeout", Default: "180s", Unit: 's', Min: 1, Note: "how long a client of login(8) may take from connection to login"}
	LoginTlsCertFile             = config.String{Name: "login_tls_cert_file", Default: "$smtpd_tls_cert_file", Note: "certificate of the IMAP and POP3 servers, with its issuers"}
	LoginTlsChainFiles           = config.String{Name: "login_tls_chain_files", Default: "$smtpd_tls_chain_files", Note: "files with keys and certificates of the IMAP and POP3 servers, in place of login_tls_cert_file and login_tls_key_file"}
	LoginTlsKeyFile              = config.String{Name: "login_tls_key_file", Default: "$smtpd_tls_key_file", Note: "private key of the IMAP and POP3 servers"}
	LoginTlsProtocols            = config.String{Name: "login_tls_protocols", Default: ">=TLSv1.2", Note: "TLS protocols of the IMAP and POP3 servers"}
	ImapdCreateFolders           = config.String{Name: "imapd_create_folders", Default: "Drafts, Junk, Sent, Trash", Note: "folders that a user's first IMAP login makes, each with the special use of its name (Archive, Drafts, Junk, Sent, Trash)"}
	ImapdIdleNotifyInterval      = config.Time{Name: "imapd_idle_notify_interval", Default: "2m", Unit: 's', Note: "how often a client in IDLE gets a sign of life, which keeps address translation from forgetting its connection; 0 for never"}
	ImapdTimeout                 = config.Time{Name: "imapd_timeout", Default: "30m", Unit: 's', Min: 60, Note: "how long an IMAP session may say nothing before imapd(8) ends it; RFC 9051 asks for 30 minutes or more"}
	MailLocation                 = config.String{Name: "mail_location", Note: "where POP3 and IMAP users' mail is, unless the user's line in the password file says it: maildir:PATH or mbox:PATH:INBOX=PATH, in Dovecot's syntax with ~/, %u, %n, %d and %h; empty means, for users of the system, the place where local(8) delivers (home_mailbox, ~/Maildir if there is one, or mail_spool_directory with folders in ~/mail), and ~/Maildir for others"}
	MailMaxUseripConnections     = config.Int{Name: "mail_max_userip_connections", Default: "10", Note: "IMAP sessions, and POP3 sessions, that a user may have from one client address at a time; 0 for no limit"}
	MaillogJson                  = config.Bool{Name: "maillog_json", Default: "no", Note: "write each log event as one JSON object instead of Postfix's line"}
	Pop3dTimeout                 = config.Time{Name: "pop3d_timeout", Default: "600s", Unit: 's', Min: 1, Note: "how long a POP3 client may be silent after login; RFC 1939 wants ten minutes at least"}
	QueueJournal                 = config.String{Name: "queue_journal", Default: "auto", MinLen: 1, Note: "whether new messages are made durable by a journal, some of whose blocks are written for each, rather than by the file system's: auto (while more than 32 messages a second come, if the queue's file system is ext4 with a journal or xfs), yes (from the first message on) or no"}
	QueueSyncfs                  = config.String{Name: "queue_syncfs", Default: "auto", MinLen: 1, Note: "how messages that arrive at the same time are made durable together: auto (on ext4 with a journal and xfs by writing out each file and one sync), yes (by syncfs, which writes out everything else, too) or no (each is synced alone)"}
	ResolverNameservers          = config.String{Name: "resolver_nameservers", Note: "name servers that resolver(8) and programs with a network of their own ask, as address or address:port; empty means those of /etc/resolv.conf"}
	RoleUidBase                  = config.Int{Name: "role_uid_base", Default: "0", Note: "first of the consecutive user and group IDs that the programs run under when master is root; 0 means the named system users (posthaste, posthaste-smtpd, ...)"}
)
