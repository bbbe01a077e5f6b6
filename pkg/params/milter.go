package params

import "posthaste/pkg/config"

var (
	MilterCommandTimeout       = config.Time{Name: "milter_command_timeout", Default: "30s", Unit: 's', Min: 1}
	MilterConnectMacros        = config.String{Name: "milter_connect_macros", Default: "j {daemon_name} {daemon_addr} v _"}
	MilterConnectTimeout       = config.Time{Name: "milter_connect_timeout", Default: "30s", Unit: 's', Min: 1}
	MilterContentTimeout       = config.Time{Name: "milter_content_timeout", Default: "300s", Unit: 's', Min: 1}
	MilterDataMacros           = config.String{Name: "milter_data_macros", Default: "i"}
	MilterDefaultAction        = config.String{Name: "milter_default_action", Default: "shutdown", MinLen: 1}
	MilterEndOfDataMacros      = config.String{Name: "milter_end_of_data_macros", Default: "i"}
	MilterEndOfHeaderMacros    = config.String{Name: "milter_end_of_header_macros", Default: "i"}
	MilterHeaderChecks         = config.String{Name: "milter_header_checks"}
	MilterHeloMacros           = config.String{Name: "milter_helo_macros", Default: "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}"}
	MilterMacroDaemonName      = config.String{Name: "milter_macro_daemon_name", Default: "$myhostname", MinLen: 1}
	MilterMacroDefaults        = config.String{Name: "milter_macro_defaults"}
	MilterMacroV               = config.String{Name: "milter_macro_v", Default: "$mail_name $mail_version", MinLen: 1}
	MilterMailMacros           = config.String{Name: "milter_mail_macros", Default: "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}"}
	MilterProtocol             = config.String{Name: "milter_protocol", Default: "6", MinLen: 1}
	MilterRcptMacros           = config.String{Name: "milter_rcpt_macros", Default: "i {rcpt_addr} {rcpt_host} {rcpt_mailer}"}
	MilterUnknownCommandMacros = config.String{Name: "milter_unknown_command_macros"}
)
