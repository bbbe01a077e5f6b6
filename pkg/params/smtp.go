package params

import "posthaste/pkg/config"

var (
	SmtpAddressPreference              = config.String{Name: "smtp_address_preference", Default: "any", MinLen: 1, Note: "address family that is tried first: any, ipv4 or ipv6"}
	SmtpAddressVerifyTarget            = config.String{Name: "smtp_address_verify_target", Default: "rcpt", MinLen: 1}
	SmtpAlwaysSendEhlo                 = config.Bool{Name: "smtp_always_send_ehlo", Default: "yes", Note: "begin with EHLO whatever the greeting says; otherwise only if it mentions ESMTP"}
	SmtpBalanceInetProtocols           = config.Bool{Name: "smtp_balance_inet_protocols", Default: "yes", Note: "see to it that both address families are among the smtp_mx_address_limit addresses that are tried"}
	SmtpBindAddress                    = config.String{Name: "smtp_bind_address", Note: "IPv4 address that connections are made from"}
	SmtpBindAddress6                   = config.String{Name: "smtp_bind_address6", Note: "IPv6 address that connections are made from"}
	SmtpBindAddressEnforce             = config.Bool{Name: "smtp_bind_address_enforce", Default: "no", Note: "put mail off when the address that connections are to be made from cannot be used; otherwise any is used, with a warning"}
	SmtpBodyChecks                     = config.String{Name: "smtp_body_checks", Note: "the same for lines of the body"}
	SmtpCnameOverridesServername       = config.Bool{Name: "smtp_cname_overrides_servername", Default: "no"}
	SmtpConnectTimeout                 = config.Time{Name: "smtp_connect_timeout", Default: "30s", Unit: 's', Note: "how long to wait for a TCP connection; 0 leaves it to the system"}
	SmtpConnectionCacheDestinations    = config.String{Name: "smtp_connection_cache_destinations", Note: "destinations whose connections are kept for the next message even with smtp_connection_cache_on_demand = no, as a list of names, type:table and /file"}
	SmtpConnectionCacheOnDemand        = config.Bool{Name: "smtp_connection_cache_on_demand", Default: "yes", Note: "keep connections of all destinations for the next message"}
	SmtpConnectionCacheTimeLimit       = config.Time{Name: "smtp_connection_cache_time_limit", Default: "2s", Unit: 's', Min: 1, Note: "how long a connection is kept without a message"}
	SmtpConnectionReuseCountLimit      = config.Int{Name: "smtp_connection_reuse_count_limit", Default: "0", Note: "messages after which a connection is closed; 0 means no limit"}
	SmtpConnectionReuseTimeLimit       = config.Time{Name: "smtp_connection_reuse_time_limit", Default: "300s", Unit: 's', Min: 1, Note: "time after which a connection takes no further message"}
	SmtpDataDoneTimeout                = config.Time{Name: "smtp_data_done_timeout", Default: "600s", Unit: 's', Min: 1, Note: "how long to wait for the reply to the end of a message"}
	SmtpDataInitTimeout                = config.Time{Name: "smtp_data_init_timeout", Default: "120s", Unit: 's', Min: 1, Note: "how long to wait for the reply to DATA"}
	SmtpDataXferTimeout                = config.Time{Name: "smtp_data_xfer_timeout", Default: "180s", Unit: 's', Min: 1, Note: "how long a write of content may take"}
	SmtpDeferIfNoMxAddressFound        = config.Bool{Name: "smtp_defer_if_no_mx_address_found", Default: "no", Note: "put mail off, rather than return it, when no mail exchanger of a domain has an address"}
	SmtpDeliveryStatusFilter           = config.String{Name: "smtp_delivery_status_filter", Default: "$default_delivery_status_filter"}
	SmtpDestinationConcurrencyLimit    = config.Int{Name: "smtp_destination_concurrency_limit", Default: "$default_destination_concurrency_limit", Note: "deliveries at a time of the transport smtp to one destination"}
	SmtpDestinationRecipientLimit      = config.Int{Name: "smtp_destination_recipient_limit", Default: "$default_destination_recipient_limit", Note: "recipients in one delivery of the transport smtp"}
	SmtpDiscardEhloKeywordAddressMaps  = config.String{Name: "smtp_discard_ehlo_keyword_address_maps"}
	SmtpDiscardEhloKeywords            = config.String{Name: "smtp_discard_ehlo_keywords", Note: "EHLO keywords of servers that are ignored, as if they had not been offered"}
	SmtpDnsReplyFilter                 = config.String{Name: "smtp_dns_reply_filter"}
	SmtpDnsResolverOptions             = config.String{Name: "smtp_dns_resolver_options"}
	SmtpDnsSupportLevel                = config.String{Name: "smtp_dns_support_level", Note: "enabled, disabled (host names come from /etc/hosts alone) or dnssec (the same as enabled here); empty means what disable_dns_lookups says"}
	SmtpEnforceTls                     = config.Bool{Name: "smtp_enforce_tls", Default: "no", Note: "old name of smtp_tls_security_level = encrypt, or verify with smtp_tls_enforce_peername; only looked at if that is empty"}
	SmtpFallbackRelay                  = config.String{Name: "smtp_fallback_relay", Default: "$fallback_relay", Note: "next hops that are tried when a destination's own servers cannot be reached or found"}
	SmtpGenericMaps                    = config.String{Name: "smtp_generic_maps", Note: "generic(5) tables that replace addresses in envelopes and headers of mail that leaves"}
	SmtpHeaderChecks                   = config.String{Name: "smtp_header_checks", Note: "header_checks(5) tables for the header of mail on its way out: DUNNO, IGNORE, INFO, PREPEND, REPLACE, STRIP and WARN"}
	SmtpHeloName                       = config.String{Name: "smtp_helo_name", Default: "$myhostname", MinLen: 1, Note: "name that is given in EHLO and HELO"}
	SmtpHeloTimeout                    = config.Time{Name: "smtp_helo_timeout", Default: "300s", Unit: 's', Min: 1, Note: "how long to wait for the greeting, and for the reply to EHLO"}
	SmtpHostLookup                     = config.String{Name: "smtp_host_lookup", Default: "dns", MinLen: 1, Note: "how host names become addresses: dns, native (/etc/hosts), or both in the order to try them"}
	SmtpLineLengthLimit                = config.Int{Name: "smtp_line_length_limit", Default: "998", Note: "bytes of the longest line of content that is sent, without its end; longer ones are broken by line end and blank, 0 sends them as they are"}
	SmtpLogTlsFeatureStatus            = config.Bool{Name: "smtp_log_tls_feature_status", Default: "no"}
	SmtpMailTimeout                    = config.Time{Name: "smtp_mail_timeout", Default: "300s", Unit: 's', Min: 1, Note: "how long to wait for the reply to MAIL"}
	SmtpMimeHeaderChecks               = config.String{Name: "smtp_mime_header_checks", Note: "the same for MIME headers (Content-*, MIME-Version) of the message and its parts"}
	SmtpMinDataRate                    = config.Int{Name: "smtp_min_data_rate", Default: "500", Min: 1}
	SmtpMxAddressLimit                 = config.Int{Name: "smtp_mx_address_limit", Default: "5", Note: "addresses of a destination that are tried in one delivery; 0 means all"}
	SmtpMxSessionLimit                 = config.Int{Name: "smtp_mx_session_limit", Default: "2", Note: "SMTP sessions with a destination in one delivery, before mail that is put off waits for the next; 0 means no limit"}
	SmtpNestedHeaderChecks             = config.String{Name: "smtp_nested_header_checks", Note: "the same for headers of attached messages, except MIME headers"}
	SmtpNeverSendEhlo                  = config.Bool{Name: "smtp_never_send_ehlo", Default: "no", Note: "always say HELO, never EHLO"}
	SmtpPerRecordDeadline              = config.Bool{Name: "smtp_per_record_deadline", Handling: "alias", Note: "supplies the default of smtp_per_request_deadline"}
	SmtpPerRequestDeadline             = config.Bool{Name: "smtp_per_request_deadline", Default: "${smtp_per_record_deadline?{$smtp_per_record_deadline}:{no}}"}
	SmtpPixWorkaroundDelayTime         = config.Time{Name: "smtp_pix_workaround_delay_time", Default: "10s", Unit: 's', Min: 1}
	SmtpPixWorkaroundMaps              = config.String{Name: "smtp_pix_workaround_maps"}
	SmtpPixWorkaroundThresholdTime     = config.Time{Name: "smtp_pix_workaround_threshold_time", Default: "500s", Unit: 's'}
	SmtpPixWorkarounds                 = config.String{Name: "smtp_pix_workarounds", Default: "disable_esmtp,delay_dotcrlf"}
	SmtpQuitTimeout                    = config.Time{Name: "smtp_quit_timeout", Default: "300s", Unit: 's', Min: 1, Note: "how long to wait for the reply to QUIT"}
	SmtpQuoteRfc821Envelope            = config.Bool{Name: "smtp_quote_rfc821_envelope", Default: "yes", Note: "quote local parts in MAIL and RCPT as RFC 5321 demands; otherwise they are sent as they are"}
	SmtpRandomizeAddresses             = config.Bool{Name: "smtp_randomize_addresses", Default: "yes", Note: "try addresses of equal preference in random order"}
	SmtpRcptTimeout                    = config.Time{Name: "smtp_rcpt_timeout", Default: "300s", Unit: 's', Min: 1, Note: "how long to wait for the reply to RCPT"}
	SmtpReplyFilter                    = config.String{Name: "smtp_reply_filter"}
	SmtpRequiretlsPolicy               = config.String{Name: "smtp_requiretls_policy", Default: "inline:{{${domain_to_ascii{$mydomain}}=opportunistic}, {.${domain_to_ascii{$mydomain}}=opportunistic}, {localhost=opportunistic}}, cidr:{{0.0.0.0/0 opportunistic}, {::/0 opportunistic}}, enforce"}
	SmtpRsetTimeout                    = config.Time{Name: "smtp_rset_timeout", Default: "20s", Unit: 's', Min: 1, Note: "how long to wait for the reply to RSET"}
	SmtpSaslAuthCacheName              = config.String{Name: "smtp_sasl_auth_cache_name"}
	SmtpSaslAuthCacheTime              = config.Time{Name: "smtp_sasl_auth_cache_time", Default: "90d", Unit: 'd'}
	SmtpSaslAuthEnable                 = config.Bool{Name: "smtp_sasl_auth_enable", Default: "no", Note: "log in to servers for which smtp_sasl_password_maps has a password"}
	SmtpSaslAuthSoftBounce             = config.Bool{Name: "smtp_sasl_auth_soft_bounce", Default: "yes", Note: "put mail off, rather than return it, when a server refuses the password"}
	SmtpSaslMechanismFilter            = config.String{Name: "smtp_sasl_mechanism_filter", Note: "mechanisms that may be used, as a list of names, type:table and !name; empty means all"}
	SmtpSaslPasswordMaps               = config.String{Name: "smtp_sasl_password_maps", Note: "tables from a server's name, or the next hop as it stands in the transport, to user:password"}
	SmtpSaslPasswordResultDelimiter    = config.String{Name: "smtp_sasl_password_result_delimiter", Default: ":", MinLen: 1, Note: "what separates user and password in smtp_sasl_password_maps"}
	SmtpSaslPath                       = config.String{Name: "smtp_sasl_path"}
	SmtpSaslSecurityOptions            = config.String{Name: "smtp_sasl_security_options", Default: "noplaintext, noanonymous", Note: "mechanisms that are not used without TLS: any of noplaintext, noactive, nodictionary, noanonymous and mutual_auth"}
	SmtpSaslTlsSecurityOptions         = config.String{Name: "smtp_sasl_tls_security_options", Default: "$smtp_sasl_security_options", Note: "the same as smtp_sasl_security_options, for connections with TLS"}
	SmtpSaslTlsVerifiedSecurityOptions = config.String{Name: "smtp_sasl_tls_verified_security_options", Default: "$smtp_sasl_tls_security_options", Note: "the same as smtp_sasl_security_options, for connections with TLS to a server whose certificate was checked"}
	SmtpSaslType                       = config.String{Name: "smtp_sasl_type", Default: "cyrus", MinLen: 1}
	SmtpSendDummyMailAuth              = config.Bool{Name: "smtp_send_dummy_mail_auth", Default: "no", Note: "send AUTH=<> with MAIL after logging in"}
	SmtpSendXforwardCommand            = config.Bool{Name: "smtp_send_xforward_command", Default: "no"}
	SmtpSenderDependentAuthentication  = config.Bool{Name: "smtp_sender_dependent_authentication", Default: "no", Note: "look passwords up by the sender's address first, and share no connection between senders"}
	SmtpSkip4xxGreeting                = config.Bool{Name: "smtp_skip_4xx_greeting", Default: "yes", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpSkip5xxGreeting                = config.Bool{Name: "smtp_skip_5xx_greeting", Default: "yes", Note: "try the next server when one greets with 5xx; otherwise the mail is returned"}
	SmtpSkipQuitResponse               = config.Bool{Name: "smtp_skip_quit_response", Default: "yes", Note: "close the connection after QUIT without waiting for the reply"}
	SmtpStarttlsTimeout                = config.Time{Name: "smtp_starttls_timeout", Default: "300s", Unit: 's', Min: 1, Note: "how long STARTTLS and the TLS handshake may take"}
	SmtpTcpPort                        = config.String{Name: "smtp_tcp_port", Default: "smtp", Note: "port, or name of one, that next hops without a port are connected to"}
	SmtpTlsrptEnable                   = config.Bool{Name: "smtp_tlsrpt_enable", Default: "no"}
	SmtpTlsrptSkipReusedHandshakes     = config.Bool{Name: "smtp_tlsrpt_skip_reused_handshakes", Default: "no"}
	SmtpTlsrptSocketName               = config.String{Name: "smtp_tlsrpt_socket_name"}
	SmtpUseTls                         = config.Bool{Name: "smtp_use_tls", Default: "no", Note: "old name of smtp_tls_security_level = may; only looked at if that is empty"}
	SmtpXforwardTimeout                = config.Time{Name: "smtp_xforward_timeout", Default: "300s", Unit: 's', Min: 1}
)
