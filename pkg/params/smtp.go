package params

import "posthaste/pkg/config"

var (
	SmtpAddressPreference              = config.String{Name: "smtp_address_preference", Default: "any", MinLen: 1}
	SmtpAddressVerifyTarget            = config.String{Name: "smtp_address_verify_target", Default: "rcpt", MinLen: 1}
	SmtpAlwaysSendEhlo                 = config.Bool{Name: "smtp_always_send_ehlo", Default: "yes"}
	SmtpBalanceInetProtocols           = config.Bool{Name: "smtp_balance_inet_protocols", Default: "yes"}
	SmtpBindAddress                    = config.String{Name: "smtp_bind_address"}
	SmtpBindAddress6                   = config.String{Name: "smtp_bind_address6"}
	SmtpBindAddressEnforce             = config.Bool{Name: "smtp_bind_address_enforce", Default: "no"}
	SmtpBodyChecks                     = config.String{Name: "smtp_body_checks"}
	SmtpCnameOverridesServername       = config.Bool{Name: "smtp_cname_overrides_servername", Default: "no"}
	SmtpConnectTimeout                 = config.Time{Name: "smtp_connect_timeout", Default: "30s", Unit: 's'}
	SmtpConnectionCacheDestinations    = config.String{Name: "smtp_connection_cache_destinations"}
	SmtpConnectionCacheOnDemand        = config.Bool{Name: "smtp_connection_cache_on_demand", Default: "yes"}
	SmtpConnectionCacheTimeLimit       = config.Time{Name: "smtp_connection_cache_time_limit", Default: "2s", Unit: 's', Min: 1}
	SmtpConnectionReuseCountLimit      = config.Int{Name: "smtp_connection_reuse_count_limit", Default: "0"}
	SmtpConnectionReuseTimeLimit       = config.Time{Name: "smtp_connection_reuse_time_limit", Default: "300s", Unit: 's', Min: 1}
	SmtpDataDoneTimeout                = config.Time{Name: "smtp_data_done_timeout", Default: "600s", Unit: 's', Min: 1}
	SmtpDataInitTimeout                = config.Time{Name: "smtp_data_init_timeout", Default: "120s", Unit: 's', Min: 1}
	SmtpDataXferTimeout                = config.Time{Name: "smtp_data_xfer_timeout", Default: "180s", Unit: 's', Min: 1}
	SmtpDeferIfNoMxAddressFound        = config.Bool{Name: "smtp_defer_if_no_mx_address_found", Default: "no"}
	SmtpDeliveryStatusFilter           = config.String{Name: "smtp_delivery_status_filter", Default: "$default_delivery_status_filter"}
	SmtpDestinationConcurrencyLimit    = config.Int{Name: "smtp_destination_concurrency_limit", Default: "$default_destination_concurrency_limit"}
	SmtpDestinationRecipientLimit      = config.Int{Name: "smtp_destination_recipient_limit", Default: "$default_destination_recipient_limit"}
	SmtpDiscardEhloKeywordAddressMaps  = config.String{Name: "smtp_discard_ehlo_keyword_address_maps"}
	SmtpDiscardEhloKeywords            = config.String{Name: "smtp_discard_ehlo_keywords"}
	SmtpDnsReplyFilter                 = config.String{Name: "smtp_dns_reply_filter"}
	SmtpDnsResolverOptions             = config.String{Name: "smtp_dns_resolver_options"}
	SmtpDnsSupportLevel                = config.String{Name: "smtp_dns_support_level"}
	SmtpEnforceTls                     = config.Bool{Name: "smtp_enforce_tls", Default: "no", Note: "use smtp_tls_security_level=encrypt"}
	SmtpFallbackRelay                  = config.String{Name: "smtp_fallback_relay", Default: "$fallback_relay"}
	SmtpGenericMaps                    = config.String{Name: "smtp_generic_maps"}
	SmtpHeaderChecks                   = config.String{Name: "smtp_header_checks"}
	SmtpHeloName                       = config.String{Name: "smtp_helo_name", Default: "$myhostname", MinLen: 1}
	SmtpHeloTimeout                    = config.Time{Name: "smtp_helo_timeout", Default: "300s", Unit: 's', Min: 1}
	SmtpHostLookup                     = config.String{Name: "smtp_host_lookup", Default: "dns", MinLen: 1}
	SmtpLineLengthLimit                = config.Int{Name: "smtp_line_length_limit", Default: "998", Handling: "accept-ignore", Note: "long lines are sent as they are, since folding breaks signatures"}
	SmtpLogTlsFeatureStatus            = config.Bool{Name: "smtp_log_tls_feature_status", Default: "no"}
	SmtpMailTimeout                    = config.Time{Name: "smtp_mail_timeout", Default: "300s", Unit: 's', Min: 1}
	SmtpMimeHeaderChecks               = config.String{Name: "smtp_mime_header_checks"}
	SmtpMinDataRate                    = config.Int{Name: "smtp_min_data_rate", Default: "500", Min: 1}
	SmtpMxAddressLimit                 = config.Int{Name: "smtp_mx_address_limit", Default: "5"}
	SmtpMxSessionLimit                 = config.Int{Name: "smtp_mx_session_limit", Default: "2"}
	SmtpNestedHeaderChecks             = config.String{Name: "smtp_nested_header_checks"}
	SmtpNeverSendEhlo                  = config.Bool{Name: "smtp_never_send_ehlo", Default: "no"}
	SmtpPerRecordDeadline              = config.Bool{Name: "smtp_per_record_deadline", Handling: "alias", Note: "supplies the default of smtp_per_request_deadline"}
	SmtpPerRequestDeadline             = config.Bool{Name: "smtp_per_request_deadline", Default: "${smtp_per_record_deadline?{$smtp_per_record_deadline}:{no}}"}
	SmtpPixWorkaroundDelayTime         = config.Time{Name: "smtp_pix_workaround_delay_time", Default: "10s", Unit: 's', Min: 1}
	SmtpPixWorkaroundMaps              = config.String{Name: "smtp_pix_workaround_maps"}
	SmtpPixWorkaroundThresholdTime     = config.Time{Name: "smtp_pix_workaround_threshold_time", Default: "500s", Unit: 's'}
	SmtpPixWorkarounds                 = config.String{Name: "smtp_pix_workarounds", Default: "disable_esmtp,delay_dotcrlf"}
	SmtpQuitTimeout                    = config.Time{Name: "smtp_quit_timeout", Default: "300s", Unit: 's', Min: 1}
	SmtpQuoteRfc821Envelope            = config.Bool{Name: "smtp_quote_rfc821_envelope", Default: "yes"}
	SmtpRandomizeAddresses             = config.Bool{Name: "smtp_randomize_addresses", Default: "yes"}
	SmtpRcptTimeout                    = config.Time{Name: "smtp_rcpt_timeout", Default: "300s", Unit: 's', Min: 1}
	SmtpReplyFilter                    = config.String{Name: "smtp_reply_filter"}
	SmtpRequiretlsPolicy               = config.String{Name: "smtp_requiretls_policy", Default: "inline:{{${domain_to_ascii{$mydomain}}=opportunistic}, {.${domain_to_ascii{$mydomain}}=opportunistic}, {localhost=opportunistic}}, cidr:{{0.0.0.0/0 opportunistic}, {::/0 opportunistic}}, enforce"}
	SmtpRsetTimeout                    = config.Time{Name: "smtp_rset_timeout", Default: "20s", Unit: 's', Min: 1}
	SmtpSaslAuthCacheName              = config.String{Name: "smtp_sasl_auth_cache_name"}
	SmtpSaslAuthCacheTime              = config.Time{Name: "smtp_sasl_auth_cache_time", Default: "90d", Unit: 'd'}
	SmtpSaslAuthEnable                 = config.Bool{Name: "smtp_sasl_auth_enable", Default: "no"}
	SmtpSaslAuthSoftBounce             = config.Bool{Name: "smtp_sasl_auth_soft_bounce", Default: "yes"}
	SmtpSaslMechanismFilter            = config.String{Name: "smtp_sasl_mechanism_filter"}
	SmtpSaslPasswordMaps               = config.String{Name: "smtp_sasl_password_maps"}
	SmtpSaslPasswordResultDelimiter    = config.String{Name: "smtp_sasl_password_result_delimiter", Default: ":", MinLen: 1}
	SmtpSaslPath                       = config.String{Name: "smtp_sasl_path"}
	SmtpSaslSecurityOptions            = config.String{Name: "smtp_sasl_security_options", Default: "noplaintext, noanonymous"}
	SmtpSaslTlsSecurityOptions         = config.String{Name: "smtp_sasl_tls_security_options", Default: "$smtp_sasl_security_options"}
	SmtpSaslTlsVerifiedSecurityOptions = config.String{Name: "smtp_sasl_tls_verified_security_options", Default: "$smtp_sasl_tls_security_options"}
	SmtpSaslType                       = config.String{Name: "smtp_sasl_type", Default: "cyrus", MinLen: 1}
	SmtpSendDummyMailAuth              = config.Bool{Name: "smtp_send_dummy_mail_auth", Default: "no"}
	SmtpSendXforwardCommand            = config.Bool{Name: "smtp_send_xforward_command", Default: "no"}
	SmtpSenderDependentAuthentication  = config.Bool{Name: "smtp_sender_dependent_authentication", Default: "no"}
	SmtpSkip4xxGreeting                = config.Bool{Name: "smtp_skip_4xx_greeting", Default: "yes", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpSkip5xxGreeting                = config.Bool{Name: "smtp_skip_5xx_greeting", Default: "yes"}
	SmtpSkipQuitResponse               = config.Bool{Name: "smtp_skip_quit_response", Default: "yes"}
	SmtpStarttlsTimeout                = config.Time{Name: "smtp_starttls_timeout", Default: "300s", Unit: 's', Min: 1}
	SmtpTcpPort                        = config.String{Name: "smtp_tcp_port", Default: "smtp"}
	SmtpTlsrptEnable                   = config.Bool{Name: "smtp_tlsrpt_enable", Default: "no"}
	SmtpTlsrptSkipReusedHandshakes     = config.Bool{Name: "smtp_tlsrpt_skip_reused_handshakes", Default: "no"}
	SmtpTlsrptSocketName               = config.String{Name: "smtp_tlsrpt_socket_name"}
	SmtpUseTls                         = config.Bool{Name: "smtp_use_tls", Default: "no", Note: "use smtp_tls_security_level=may"}
	SmtpXforwardTimeout                = config.Time{Name: "smtp_xforward_timeout", Default: "300s", Unit: 's', Min: 1}
)
