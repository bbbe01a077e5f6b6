package params

import "posthaste/pkg/config"

var (
	SmtpdAuthorizedVerpClients            = config.String{Name: "smtpd_authorized_verp_clients", Default: "$authorized_verp_clients"}
	SmtpdAuthorizedXclientHosts           = config.String{Name: "smtpd_authorized_xclient_hosts", Note: "clients that may use XCLIENT to give another client's name, address and login, in the form of mynetworks"}
	SmtpdAuthorizedXforwardHosts          = config.String{Name: "smtpd_authorized_xforward_hosts", Note: "clients that may use XFORWARD to give another client's name and address for the log, in the form of mynetworks"}
	SmtpdBanner                           = config.String{Name: "smtpd_banner", Default: "$myhostname ESMTP $mail_name", MinLen: 1, Note: "text after 220 in the greeting; must begin with the server's name"}
	SmtpdClientAuthRateLimit              = config.Int{Name: "smtpd_client_auth_rate_limit", Default: "0", Note: "AUTH commands of a client in anvil_rate_time_unit; 0 means no limit"}
	SmtpdClientConnectionCountLimit       = config.Int{Name: "smtpd_client_connection_count_limit", Default: "50", Note: "connections of a client at a time; 0 means no limit"}
	SmtpdClientConnectionLimitExceptions  = config.String{Name: "smtpd_client_connection_limit_exceptions", Handling: "alias", Note: "supplies the default of smtpd_client_event_limit_exceptions"}
	SmtpdClientConnectionRateLimit        = config.Int{Name: "smtpd_client_connection_rate_limit", Default: "0", Note: "connections that a client makes in anvil_rate_time_unit; 0 means no limit"}
	SmtpdClientEventLimitExceptions       = config.String{Name: "smtpd_client_event_limit_exceptions", Default: "${smtpd_client_connection_limit_exceptions:$mynetworks}", Note: "clients without smtpd_client_* limits, in the form of mynetworks"}
	SmtpdClientIpv4PrefixLength           = config.Int{Name: "smtpd_client_ipv4_prefix_length", Default: "32", Max: 32, Note: "bits of IPv4 addresses that make clients one client to the smtpd_client_* limits"}
	SmtpdClientIpv6PrefixLength           = config.Int{Name: "smtpd_client_ipv6_prefix_length", Default: "84", Max: 128, Note: "bits of IPv6 addresses that make clients one client to the smtpd_client_* limits"}
	SmtpdClientMessageRateLimit           = config.Int{Name: "smtpd_client_message_rate_limit", Default: "0", Note: "MAIL commands of a client in anvil_rate_time_unit; 0 means no limit"}
	SmtpdClientNewTlsSessionRateLimit     = config.Int{Name: "smtpd_client_new_tls_session_rate_limit", Default: "0", Note: "TLS handshakes of a client in anvil_rate_time_unit; 0 means no limit"}
	SmtpdClientPortLogging                = config.Bool{Name: "smtpd_client_port_logging", Default: "no"}
	SmtpdClientRecipientRateLimit         = config.Int{Name: "smtpd_client_recipient_rate_limit", Default: "0", Note: "RCPT commands of a client in anvil_rate_time_unit; 0 means no limit"}
	SmtpdClientRestrictions               = config.String{Name: "smtpd_client_restrictions", Note: "restrictions on who may connect; a bare type:table means check_client_access"}
	SmtpdCommandFilter                    = config.String{Name: "smtpd_command_filter", Note: "tables from a command line to the one that is used in its place"}
	SmtpdDataRestrictions                 = config.String{Name: "smtpd_data_restrictions", Note: "restrictions at DATA"}
	SmtpdDelayOpenUntilValidRcpt          = config.Bool{Name: "smtpd_delay_open_until_valid_rcpt", Default: "yes"}
	SmtpdDelayReject                      = config.Bool{Name: "smtpd_delay_reject", Default: "yes", Note: "evaluate client, HELO and sender restrictions at RCPT, so that refusals are logged with sender and recipient"}
	SmtpdDiscardEhloKeywordAddressMaps    = config.String{Name: "smtpd_discard_ehlo_keyword_address_maps", Note: "tables from client address to EHLO keywords that are not announced to it, in place of smtpd_discard_ehlo_keywords"}
	SmtpdDiscardEhloKeywords              = config.String{Name: "smtpd_discard_ehlo_keywords", Note: "EHLO keywords that are not announced"}
	SmtpdDnsReplyFilter                   = config.String{Name: "smtpd_dns_reply_filter"}
	SmtpdEndOfDataRestrictions            = config.String{Name: "smtpd_end_of_data_restrictions", Note: "restrictions at the end of a message"}
	SmtpdEnforceTls                       = config.Bool{Name: "smtpd_enforce_tls", Default: "no", Note: "old name of smtpd_tls_security_level = encrypt; only looked at if that is empty"}
	SmtpdErrorSleepTime                   = config.Time{Name: "smtpd_error_sleep_time", Default: "1s", Unit: 's', Note: "pause before each reply after smtpd_soft_error_limit errors"}
	SmtpdEtrnRestrictions                 = config.String{Name: "smtpd_etrn_restrictions", Note: "restrictions on ETRN; a bare type:table means check_etrn_access"}
	SmtpdExpansionFilter                  = config.Raw{Name: "smtpd_expansion_filter", Default: "\\t\\40!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~", MinLen: 1}
	SmtpdForbidBareNewline                = config.String{Name: "smtpd_forbid_bare_newline", Default: "normalize", MinLen: 1, Note: "lines that end in LF alone: no (accept), note (accept and log), normalize or yes (accept, but only CRLF.CRLF ends a message), reject"}
	SmtpdForbidBareNewlineExclusions      = config.String{Name: "smtpd_forbid_bare_newline_exclusions", Default: "$mynetworks", Note: "clients that smtpd_forbid_bare_newline does not apply to, in the form of mynetworks"}
	SmtpdForbidBareNewlineRejectCode      = config.Int{Name: "smtpd_forbid_bare_newline_reject_code", Default: "550", Min: 500, Max: 599, Note: "reply code of smtpd_forbid_bare_newline = reject"}
	SmtpdForbidUnauthPipelining           = config.Bool{Name: "smtpd_forbid_unauth_pipelining", Default: "yes", Note: "end sessions of clients that send commands before their turn without having been offered PIPELINING"}
	SmtpdForbiddenCommands                = config.String{Name: "smtpd_forbidden_commands", Default: "CONNECT GET POST regexp:{{/^[^A-Z]/ Bogus}}", Note: "commands that end the session with 221, as a list of names and type:table"}
	SmtpdHardErrorLimit                   = config.Int{Name: "smtpd_hard_error_limit", Default: "${stress?{1}:{20}}", Min: 1, Note: "errors after which a session is ended"}
	SmtpdHeloRequired                     = config.Bool{Name: "smtpd_helo_required", Default: "no", Note: "refuse MAIL before HELO or EHLO"}
	SmtpdHeloRestrictions                 = config.String{Name: "smtpd_helo_restrictions", Note: "restrictions on the name given in HELO and EHLO; a bare type:table means check_helo_access"}
	SmtpdHideClientSession                = config.Bool{Name: "smtpd_hide_client_session", Default: "no"}
	SmtpdHistoryFlushThreshold            = config.Int{Name: "smtpd_history_flush_threshold", Default: "100", Min: 1}
	SmtpdJunkCommandLimit                 = config.Int{Name: "smtpd_junk_command_limit", Default: "${stress?{1}:{100}}", Min: 1, Note: "RSET, NOOP, VRFY, ETRN and HELP commands in a session after which each further one counts as an error"}
	SmtpdLogAccessPermitActions           = config.String{Name: "smtpd_log_access_permit_actions"}
	SmtpdMilterMaps                       = config.String{Name: "smtpd_milter_maps", Note: "mail filters are not supported: a value is only warned about"}
	SmtpdMilters                          = config.String{Name: "smtpd_milters", Note: "mail filters are not supported: a value is only warned about"}
	SmtpdMinDataRate                      = config.Int{Name: "smtpd_min_data_rate", Default: "500", Min: 1, Note: "bytes a second that a client must keep up while it sends content, see smtpd_per_request_deadline"}
	SmtpdNoopCommands                     = config.String{Name: "smtpd_noop_commands", Note: "commands that are answered with 250 and do nothing, as a list of names and type:table"}
	SmtpdNullAccessLookupKey              = config.String{Name: "smtpd_null_access_lookup_key", Default: "<>", Note: "what the null sender is looked up as by check_sender_access"}
	SmtpdPeernameLookup                   = config.Bool{Name: "smtpd_peername_lookup", Default: "yes", Note: "find clients' names by their addresses; without it all are \"unknown\""}
	SmtpdPerRecordDeadline                = config.Bool{Name: "smtpd_per_record_deadline", Handling: "alias", Note: "supplies the default of smtpd_per_request_deadline"}
	SmtpdPerRequestDeadline               = config.Bool{Name: "smtpd_per_request_deadline", Default: "${smtpd_per_record_deadline?{$smtpd_per_record_deadline}:{${stress?{yes}:{no}}}}", Note: "make smtpd_timeout the limit of a whole message, plus its size over smtpd_min_data_rate, rather than of each read"}
	SmtpdPolicyServiceDefaultAction       = config.String{Name: "smtpd_policy_service_default_action", Default: "451 4.3.5 Server configuration problem", MinLen: 1, Note: "access(5) action when a policy server cannot be asked"}
	SmtpdPolicyServiceMaxIdle             = config.Time{Name: "smtpd_policy_service_max_idle", Default: "300s", Unit: 's', Min: 1, Note: "how long an unused connection to a policy server is kept"}
	SmtpdPolicyServiceMaxTtl              = config.Time{Name: "smtpd_policy_service_max_ttl", Default: "1000s", Unit: 's', Min: 1, Note: "age beyond which a connection to a policy server is not used"}
	SmtpdPolicyServicePolicyContext       = config.String{Name: "smtpd_policy_service_policy_context", Note: "value of policy_context in requests to policy servers"}
	SmtpdPolicyServiceRequestLimit        = config.Int{Name: "smtpd_policy_service_request_limit", Default: "0", Note: "requests in one connection to a policy server; 0 means no limit"}
	SmtpdPolicyServiceRetryDelay          = config.Time{Name: "smtpd_policy_service_retry_delay", Default: "1s", Unit: 's', Min: 1, Note: "pause between attempts to ask a policy server"}
	SmtpdPolicyServiceTimeout             = config.Time{Name: "smtpd_policy_service_timeout", Default: "100s", Unit: 's', Min: 1, Note: "how long a policy server may take to answer"}
	SmtpdPolicyServiceTryLimit            = config.Int{Name: "smtpd_policy_service_try_limit", Default: "2", Min: 1, Note: "attempts to ask a policy server"}
	SmtpdProxyEhlo                        = config.String{Name: "smtpd_proxy_ehlo", Default: "$myhostname"}
	SmtpdProxyFilter                      = config.String{Name: "smtpd_proxy_filter", Note: "not supported: with a value smtpd(8) does not start, rather than let mail in unfiltered"}
	SmtpdProxyOptions                     = config.String{Name: "smtpd_proxy_options"}
	SmtpdProxyTimeout                     = config.Time{Name: "smtpd_proxy_timeout", Default: "100s", Unit: 's', Min: 1}
	SmtpdRecipientLimit                   = config.Int{Name: "smtpd_recipient_limit", Default: "1000", Min: 1, Note: "recipients of one message; more are refused with 452"}
	SmtpdRecipientOvershootLimit          = config.Int{Name: "smtpd_recipient_overshoot_limit", Default: "1000", Min: 1, Note: "recipients beyond smtpd_recipient_limit that do not count as errors"}
	SmtpdRecipientRestrictions            = config.String{Name: "smtpd_recipient_restrictions", Note: "restrictions on recipients, after smtpd_relay_restrictions; a bare type:table means check_recipient_access"}
	SmtpdRejectFilterMaps                 = config.String{Name: "smtpd_reject_filter_maps"}
	SmtpdRejectFooter                     = config.Raw{Name: "smtpd_reject_footer", Note: "text appended to every refusal; \\n begins a new line, \\c at the start continues the last, and $client_address, $client_name, $client_port, $helo_name, $localtime, $pid and other facts are replaced"}
	SmtpdRejectFooterMaps                 = config.String{Name: "smtpd_reject_footer_maps", Note: "tables from a refusal to a footer, in place of smtpd_reject_footer"}
	SmtpdRejectUnlistedRecipient          = config.Bool{Name: "smtpd_reject_unlisted_recipient", Default: "yes", Note: "refuse recipients in this system's domains that its tables do not have"}
	SmtpdRejectUnlistedSender             = config.Bool{Name: "smtpd_reject_unlisted_sender", Default: "no", Note: "refuse senders in this system's domains that its tables do not have"}
	SmtpdRelayBeforeRecipientRestrictions = config.Bool{Name: "smtpd_relay_before_recipient_restrictions", Default: "${{$compatibility_level} <level {3.6} ? {no} : {yes}}", Note: "evaluate smtpd_relay_restrictions before smtpd_recipient_restrictions"}
	SmtpdRelayRestrictions                = config.String{Name: "smtpd_relay_restrictions", Default: "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}", Note: "restrictions that keep strangers from relaying; this or smtpd_recipient_restrictions must have reject_unauth_destination or another refusal"}
	SmtpdRestrictionClasses               = config.String{Name: "smtpd_restriction_classes", Note: "names of parameters that hold restrictions and may be used as one"}
	SmtpdSaslApplicationName              = config.String{Name: "smtpd_sasl_application_name", Default: "smtpd", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpdSaslAuthEnable                   = config.Bool{Name: "smtpd_sasl_auth_enable", Default: "no", Note: "offer AUTH"}
	SmtpdSaslAuthenticatedHeader          = config.Bool{Name: "smtpd_sasl_authenticated_header", Default: "no", Note: "name the login in the Received: header"}
	SmtpdSaslExceptionsNetworks           = config.String{Name: "smtpd_sasl_exceptions_networks", Note: "clients that AUTH is not offered to, in the form of mynetworks"}
	SmtpdSaslLocalDomain                  = config.String{Name: "smtpd_sasl_local_domain"}
	SmtpdSaslMechanismFilter              = config.String{Name: "smtpd_sasl_mechanism_filter", Default: "!external, static:rest", Note: "mechanisms that may be offered, as a list of names, type:table and !name"}
	SmtpdSaslPath                         = config.String{Name: "smtpd_sasl_path", Default: "smtpd", MinLen: 1, Note: "socket of the authentication service, below the queue directory: private/auth for auth(8), another name for Dovecot"}
	SmtpdSaslResponseLimit                = config.Int{Name: "smtpd_sasl_response_limit", Default: "12288", Min: 12288, Note: "bytes of the longest line in an AUTH exchange"}
	SmtpdSaslSecurityOptions              = config.String{Name: "smtpd_sasl_security_options", Default: "noanonymous", Note: "mechanisms that are not offered without TLS: any of noplaintext, noactive, nodictionary, noanonymous, mutual_auth and forward_secrecy"}
	SmtpdSaslService                      = config.String{Name: "smtpd_sasl_service", Default: "smtp", MinLen: 1, Note: "name of the service that the authentication service is told"}
	SmtpdSaslTlsSecurityOptions           = config.String{Name: "smtpd_sasl_tls_security_options", Default: "$smtpd_sasl_security_options", Note: "the same as smtpd_sasl_security_options, with TLS"}
	SmtpdSaslType                         = config.String{Name: "smtpd_sasl_type", Default: "dovecot", MinLen: 1, Note: "kind of authentication service: dovecot, which auth(8) is too"}
	SmtpdSenderLoginMaps                  = config.String{Name: "smtpd_sender_login_maps", Note: "tables from sender address to the logins that own it, for the reject_*_sender_login_mismatch restrictions"}
	SmtpdSenderRestrictions               = config.String{Name: "smtpd_sender_restrictions", Note: "restrictions on senders; a bare type:table means check_sender_access"}
	SmtpdServiceName                      = config.String{Name: "smtpd_service_name", Default: "smtpd", MinLen: 1}
	SmtpdSoftErrorLimit                   = config.Int{Name: "smtpd_soft_error_limit", Default: "10", Min: 1, Note: "errors after which replies are delayed by smtpd_error_sleep_time"}
	SmtpdStarttlsTimeout                  = config.Time{Name: "smtpd_starttls_timeout", Default: "${stress?{10}:{300}}s", Unit: 's', Min: 1, Note: "how long a TLS handshake may take"}
	SmtpdTimeout                          = config.Time{Name: "smtpd_timeout", Default: "${stress?{10}:{300}}s", Unit: 's', Min: 1, Note: "how long to wait for a command, and for progress while content arrives; also for a client to take a reply"}
	SmtpdUpstreamProxyProtocol            = config.String{Name: "smtpd_upstream_proxy_protocol", Note: "not supported: with a value smtpd(8) does not start, rather than log false addresses"}
	SmtpdUpstreamProxyTimeout             = config.Time{Name: "smtpd_upstream_proxy_timeout", Default: "5s", Unit: 's', Min: 1}
	SmtpdUseTls                           = config.Bool{Name: "smtpd_use_tls", Default: "no", Note: "old name of smtpd_tls_security_level = may; only looked at if that is empty"}
)
