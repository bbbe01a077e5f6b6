package params

import "posthaste/pkg/config"

var (
	SmtpdAuthorizedVerpClients            = config.String{Name: "smtpd_authorized_verp_clients", Default: "$authorized_verp_clients"}
	SmtpdAuthorizedXclientHosts           = config.String{Name: "smtpd_authorized_xclient_hosts"}
	SmtpdAuthorizedXforwardHosts          = config.String{Name: "smtpd_authorized_xforward_hosts"}
	SmtpdBanner                           = config.String{Name: "smtpd_banner", Default: "$myhostname ESMTP $mail_name", MinLen: 1}
	SmtpdClientAuthRateLimit              = config.Int{Name: "smtpd_client_auth_rate_limit", Default: "0"}
	SmtpdClientConnectionCountLimit       = config.Int{Name: "smtpd_client_connection_count_limit", Default: "50"}
	SmtpdClientConnectionLimitExceptions  = config.String{Name: "smtpd_client_connection_limit_exceptions", Handling: "alias", Note: "supplies the default of smtpd_client_event_limit_exceptions"}
	SmtpdClientConnectionRateLimit        = config.Int{Name: "smtpd_client_connection_rate_limit", Default: "0"}
	SmtpdClientEventLimitExceptions       = config.String{Name: "smtpd_client_event_limit_exceptions", Default: "${smtpd_client_connection_limit_exceptions:$mynetworks}"}
	SmtpdClientIpv4PrefixLength           = config.Int{Name: "smtpd_client_ipv4_prefix_length", Default: "32", Max: 32}
	SmtpdClientIpv6PrefixLength           = config.Int{Name: "smtpd_client_ipv6_prefix_length", Default: "84", Max: 128}
	SmtpdClientMessageRateLimit           = config.Int{Name: "smtpd_client_message_rate_limit", Default: "0"}
	SmtpdClientNewTlsSessionRateLimit     = config.Int{Name: "smtpd_client_new_tls_session_rate_limit", Default: "0"}
	SmtpdClientPortLogging                = config.Bool{Name: "smtpd_client_port_logging", Default: "no"}
	SmtpdClientRecipientRateLimit         = config.Int{Name: "smtpd_client_recipient_rate_limit", Default: "0"}
	SmtpdClientRestrictions               = config.String{Name: "smtpd_client_restrictions"}
	SmtpdCommandFilter                    = config.String{Name: "smtpd_command_filter"}
	SmtpdDataRestrictions                 = config.String{Name: "smtpd_data_restrictions"}
	SmtpdDelayOpenUntilValidRcpt          = config.Bool{Name: "smtpd_delay_open_until_valid_rcpt", Default: "yes"}
	SmtpdDelayReject                      = config.Bool{Name: "smtpd_delay_reject", Default: "yes"}
	SmtpdDiscardEhloKeywordAddressMaps    = config.String{Name: "smtpd_discard_ehlo_keyword_address_maps"}
	SmtpdDiscardEhloKeywords              = config.String{Name: "smtpd_discard_ehlo_keywords"}
	SmtpdDnsReplyFilter                   = config.String{Name: "smtpd_dns_reply_filter"}
	SmtpdEndOfDataRestrictions            = config.String{Name: "smtpd_end_of_data_restrictions"}
	SmtpdEnforceTls                       = config.Bool{Name: "smtpd_enforce_tls", Default: "no", Note: "use smtpd_tls_security_level=encrypt"}
	SmtpdErrorSleepTime                   = config.Time{Name: "smtpd_error_sleep_time", Default: "1s", Unit: 's'}
	SmtpdEtrnRestrictions                 = config.String{Name: "smtpd_etrn_restrictions"}
	SmtpdExpansionFilter                  = config.Raw{Name: "smtpd_expansion_filter", Default: "\\t\\40!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~", MinLen: 1}
	SmtpdForbidBareNewline                = config.String{Name: "smtpd_forbid_bare_newline", Default: "normalize", MinLen: 1}
	SmtpdForbidBareNewlineExclusions      = config.String{Name: "smtpd_forbid_bare_newline_exclusions", Default: "$mynetworks"}
	SmtpdForbidBareNewlineRejectCode      = config.Int{Name: "smtpd_forbid_bare_newline_reject_code", Default: "550", Min: 500, Max: 599}
	SmtpdForbidUnauthPipelining           = config.Bool{Name: "smtpd_forbid_unauth_pipelining", Default: "yes"}
	SmtpdForbiddenCommands                = config.String{Name: "smtpd_forbidden_commands", Default: "CONNECT GET POST regexp:{{/^[^A-Z]/ Bogus}}"}
	SmtpdHardErrorLimit                   = config.Int{Name: "smtpd_hard_error_limit", Default: "${stress?{1}:{20}}", Min: 1}
	SmtpdHeloRequired                     = config.Bool{Name: "smtpd_helo_required", Default: "no"}
	SmtpdHeloRestrictions                 = config.String{Name: "smtpd_helo_restrictions"}
	SmtpdHideClientSession                = config.Bool{Name: "smtpd_hide_client_session", Default: "no"}
	SmtpdHistoryFlushThreshold            = config.Int{Name: "smtpd_history_flush_threshold", Default: "100", Min: 1}
	SmtpdJunkCommandLimit                 = config.Int{Name: "smtpd_junk_command_limit", Default: "${stress?{1}:{100}}", Min: 1}
	SmtpdLogAccessPermitActions           = config.String{Name: "smtpd_log_access_permit_actions"}
	SmtpdMilterMaps                       = config.String{Name: "smtpd_milter_maps"}
	SmtpdMilters                          = config.String{Name: "smtpd_milters"}
	SmtpdMinDataRate                      = config.Int{Name: "smtpd_min_data_rate", Default: "500", Min: 1}
	SmtpdNoopCommands                     = config.String{Name: "smtpd_noop_commands"}
	SmtpdNullAccessLookupKey              = config.String{Name: "smtpd_null_access_lookup_key", Default: "<>"}
	SmtpdPeernameLookup                   = config.Bool{Name: "smtpd_peername_lookup", Default: "yes"}
	SmtpdPerRecordDeadline                = config.Bool{Name: "smtpd_per_record_deadline", Handling: "alias", Note: "supplies the default of smtpd_per_request_deadline"}
	SmtpdPerRequestDeadline               = config.Bool{Name: "smtpd_per_request_deadline", Default: "${smtpd_per_record_deadline?{$smtpd_per_record_deadline}:{${stress?{yes}:{no}}}}"}
	SmtpdPolicyServiceDefaultAction       = config.String{Name: "smtpd_policy_service_default_action", Default: "451 4.3.5 Server configuration problem", MinLen: 1}
	SmtpdPolicyServiceMaxIdle             = config.Time{Name: "smtpd_policy_service_max_idle", Default: "300s", Unit: 's', Min: 1}
	SmtpdPolicyServiceMaxTtl              = config.Time{Name: "smtpd_policy_service_max_ttl", Default: "1000s", Unit: 's', Min: 1}
	SmtpdPolicyServicePolicyContext       = config.String{Name: "smtpd_policy_service_policy_context"}
	SmtpdPolicyServiceRequestLimit        = config.Int{Name: "smtpd_policy_service_request_limit", Default: "0"}
	SmtpdPolicyServiceRetryDelay          = config.Time{Name: "smtpd_policy_service_retry_delay", Default: "1s", Unit: 's', Min: 1}
	SmtpdPolicyServiceTimeout             = config.Time{Name: "smtpd_policy_service_timeout", Default: "100s", Unit: 's', Min: 1}
	SmtpdPolicyServiceTryLimit            = config.Int{Name: "smtpd_policy_service_try_limit", Default: "2", Min: 1}
	SmtpdProxyEhlo                        = config.String{Name: "smtpd_proxy_ehlo", Default: "$myhostname"}
	SmtpdProxyFilter                      = config.String{Name: "smtpd_proxy_filter"}
	SmtpdProxyOptions                     = config.String{Name: "smtpd_proxy_options"}
	SmtpdProxyTimeout                     = config.Time{Name: "smtpd_proxy_timeout", Default: "100s", Unit: 's', Min: 1}
	SmtpdRecipientLimit                   = config.Int{Name: "smtpd_recipient_limit", Default: "1000", Min: 1}
	SmtpdRecipientOvershootLimit          = config.Int{Name: "smtpd_recipient_overshoot_limit", Default: "1000", Min: 1}
	SmtpdRecipientRestrictions            = config.String{Name: "smtpd_recipient_restrictions"}
	SmtpdRejectFilterMaps                 = config.String{Name: "smtpd_reject_filter_maps"}
	SmtpdRejectFooter                     = config.Raw{Name: "smtpd_reject_footer"}
	SmtpdRejectFooterMaps                 = config.String{Name: "smtpd_reject_footer_maps"}
	SmtpdRejectUnlistedRecipient          = config.Bool{Name: "smtpd_reject_unlisted_recipient", Default: "yes"}
	SmtpdRejectUnlistedSender             = config.Bool{Name: "smtpd_reject_unlisted_sender", Default: "no"}
	SmtpdRelayBeforeRecipientRestrictions = config.Bool{Name: "smtpd_relay_before_recipient_restrictions", Default: "${{$compatibility_level} <level {3.6} ? {no} : {yes}}"}
	SmtpdRelayRestrictions                = config.String{Name: "smtpd_relay_restrictions", Default: "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}"}
	SmtpdRestrictionClasses               = config.String{Name: "smtpd_restriction_classes"}
	SmtpdSaslApplicationName              = config.String{Name: "smtpd_sasl_application_name", Default: "smtpd", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpdSaslAuthEnable                   = config.Bool{Name: "smtpd_sasl_auth_enable", Default: "no"}
	SmtpdSaslAuthenticatedHeader          = config.Bool{Name: "smtpd_sasl_authenticated_header", Default: "no"}
	SmtpdSaslExceptionsNetworks           = config.String{Name: "smtpd_sasl_exceptions_networks"}
	SmtpdSaslLocalDomain                  = config.String{Name: "smtpd_sasl_local_domain"}
	SmtpdSaslMechanismFilter              = config.String{Name: "smtpd_sasl_mechanism_filter", Default: "!external, static:rest"}
	SmtpdSaslPath                         = config.String{Name: "smtpd_sasl_path", Default: "smtpd", MinLen: 1}
	SmtpdSaslResponseLimit                = config.Int{Name: "smtpd_sasl_response_limit", Default: "12288", Min: 12288}
	SmtpdSaslSecurityOptions              = config.String{Name: "smtpd_sasl_security_options", Default: "noanonymous"}
	SmtpdSaslService                      = config.String{Name: "smtpd_sasl_service", Default: "smtp", MinLen: 1}
	SmtpdSaslTlsSecurityOptions           = config.String{Name: "smtpd_sasl_tls_security_options", Default: "$smtpd_sasl_security_options"}
	SmtpdSaslType                         = config.String{Name: "smtpd_sasl_type", Default: "dovecot", MinLen: 1}
	SmtpdSenderLoginMaps                  = config.String{Name: "smtpd_sender_login_maps"}
	SmtpdSenderRestrictions               = config.String{Name: "smtpd_sender_restrictions"}
	SmtpdServiceName                      = config.String{Name: "smtpd_service_name", Default: "smtpd", MinLen: 1}
	SmtpdSoftErrorLimit                   = config.Int{Name: "smtpd_soft_error_limit", Default: "10", Min: 1}
	SmtpdStarttlsTimeout                  = config.Time{Name: "smtpd_starttls_timeout", Default: "${stress?{10}:{300}}s", Unit: 's', Min: 1}
	SmtpdTimeout                          = config.Time{Name: "smtpd_timeout", Default: "${stress?{10}:{300}}s", Unit: 's', Min: 1}
	SmtpdUpstreamProxyProtocol            = config.String{Name: "smtpd_upstream_proxy_protocol"}
	SmtpdUpstreamProxyTimeout             = config.Time{Name: "smtpd_upstream_proxy_timeout", Default: "5s", Unit: 's', Min: 1}
	SmtpdUseTls                           = config.Bool{Name: "smtpd_use_tls", Default: "no", Note: "use smtpd_tls_security_level=may"}
)
