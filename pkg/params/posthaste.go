package params

import "posthaste/pkg/config"

// Parameters that Postfix does not have.
var (
	MaillogJson = config.Bool{Name: "maillog_json", Default: "no", Note: "write each log event as one JSON object instead of Postfix's line"}
	RoleUidBase = config.Int{Name: "role_uid_base", Default: "0", Note: "first of the consecutive user and group IDs that the programs run under when master is root; 0 means the named system users (posthaste, posthaste-smtpd, ...)"}
)
