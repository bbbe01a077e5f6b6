package params

import "posthaste/pkg/config"

var (
	LmtpAddressPreference              = config.String{Name: "lmtp_address_preference", Default: "any", MinLen: 1}
	LmtpAddressVerifyTarget            = config.String{Name: "lmtp_address_verify_target", Default: "rcpt", MinLen: 1}
	LmtpAssumeFinal                    = config.Bool{Name: "lmtp_assume_final", Default: "no"}
	LmtpBalanceInetProtocols           = config.Bool{Name: "lmtp_balance_inet_protocols", Default: "yes"}
	LmtpBindAddress                    = config.String{Name: "lmtp_bind_address"}
	LmtpBindAddress6                   = config.String{Name: "lmtp_bind_address6"}
	LmtpBindAddressEnforce             = config.Bool{Name: "lmtp_bind_address_enforce", Default: "no"}
	LmtpBodyChecks                     = config.String{Name: "lmtp_body_checks"}
	LmtpCacheConnection                = config.Bool{Name: "lmtp_cache_connection", Default: "yes", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	LmtpCnameOverridesServername       = config.Bool{Name: "lmtp_cname_overrides_servername", Default: "no"}
	LmtpConnectTimeout                 = config.Time{Name: "lmtp_connect_timeout", Default: "0s", Unit: 's'}
	LmtpConnectionCacheDestinations    = config.String{Name: "lmtp_connection_cache_destinations"}
	LmtpConnectionCacheOnDemand        = config.Bool{Name: "lmtp_connection_cache_on_demand", Default: "yes"}
	LmtpConnectionCacheTimeLimit       = config.Time{Name: "lmtp_connection_cache_time_limit", Default: "2s", Unit: 's', Min: 1}
	LmtpConnectionReuseCountLimit      = config.Int{Name: "lmtp_connection_reuse_count_limit", Default: "0"}
	LmtpConnectionReuseTimeLimit       = config.Time{Name: "lmtp_connection_reuse_time_limit", Default: "300s", Unit: 's', Min: 1}
	LmtpDataDoneTimeout                = config.Time{Name: "lmtp_data_done_timeout", Default: "600s", Unit: 's', Min: 1}
	LmtpDataInitTimeout                = config.Time{Name: "lmtp_data_init_timeout", Default: "120s", Unit: 's', Min: 1}
	LmtpDataXferTimeout                = config.Time{Name: "lmtp_data_xfer_timeout", Default: "180s", Unit: 's', Min: 1}
	LmtpDeferIfNoMxAddressFound        = config.Bool{Name: "lmtp_defer_if_no_mx_address_found", Default: "no"}
	LmtpDeliveryStatusFilter           = config.String{Name: "lmtp_delivery_status_filter", Default: "$default_delivery_status_filter"}
	LmtpDestinationConcurrencyLimit    = config.Int{Name: "lmtp_destination_concurrency_limit", Default: "$default_destination_concurrency_limit"}
	LmtpDestinationRecipientLimit      = config.Int{Name: "lmtp_destination_recipient_limit", Default: "$default_destination_recipient_limit"}
	LmtpDiscardLhloKeywordAddressMaps  = config.String{Name: "lmtp_discard_lhlo_keyword_address_maps"}
	LmtpDiscardLhloKeywords            = config.String{Name: "lmtp_discard_lhlo_keywords"}
	LmtpDnsReplyFilter                 = config.String{Name: "lmtp_dns_reply_filter"}
	LmtpDnsResolverOptions             = config.String{Name: "lmtp_dns_resolver_options"}
	LmtpDnsSupportLevel                = config.String{Name: "lmtp_dns_support_level"}
	LmtpEnforceTls                     = config.Bool{Name: "lmtp_enforce_tls", Default: "no", Note: "use lmtp_tls_security_level=encrypt"}
	LmtpFallbackRelay                  = config.String{Name: "lmtp_fallback_relay"}
	LmtpGenericMaps                    = config.String{Name: "lmtp_generic_maps"}
	LmtpHeaderChecks                   = config.String{Name: "lmtp_header_checks"}
	LmtpHostLookup                     = config.String{Name: "lmtp_host_lookup", Default: "dns", MinLen: 1}
	LmtpLhloName                       = config.String{Name: "lmtp_lhlo_name", Default: "$myhostname", MinLen: 1}
	LmtpLhloTimeout                    = config.Time{Name: "lmtp_lhlo_timeout", Default: "300s", Unit: 's', Min: 1}
	LmtpLineLengthLimit                = config.Int{Name: "lmtp_line_length_limit", Default: "998", Handling: "accept-ignore", Note: "long lines are sent as they are, since folding breaks signatures"}
	LmtpLogTlsFeatureStatus            = config.Bool{Name: "lmtp_log_tls_feature_status", Default: "no"}
	LmtpMailTimeout                    = config.Time{Name: "lmtp_mail_timeout", Default: "300s", Unit: 's', Min: 1}
	LmtpMimeHeaderChecks               = config.String{Name: "lmtp_mime_header_checks"}
	LmtpMinDataRate                    = config.Int{Name: "lmtp_min_data_rate", Default: "500", Min: 1}
	LmtpMxAddressLimit                 = config.Int{Name: "lmtp_mx_address_limit", Default: "5"}
	LmtpMxSessionLimit                 = config.Int{Name: "lmtp_mx_session_limit", Default: "2"}
	LmtpNestedHeaderChecks             = config.String{Name: "lmtp_nested_header_checks"}
	LmtpPerRecordDeadline              = config.Bool{Name: "lmtp_per_record_deadline", Handling: "alias", Note: "supplies the default of lmtp_per_request_deadline"}
	LmtpPerRequestDeadline             = config.Bool{Name: "lmtp_per_request_deadline", Default: "${lmtp_per_record_deadline?{$lmtp_per_record_deadline}:{no}}"}
	LmtpPixWorkaroundDelayTime         = config.Time{Name: "lmtp_pix_workaround_delay_time", Default: "10s", Unit: 's', Min: 1}
	LmtpPixWorkaroundMaps              = config.String{Name: "lmtp_pix_workaround_maps"}
	LmtpPixWorkaroundThresholdTime     = config.Time{Name: "lmtp_pix_workaround_threshold_time", Default: "500s", Unit: 's'}
	LmtpPixWorkarounds                 = config.String{Name: "lmtp_pix_workarounds", Default: "disable_esmtp,delay_dotcrlf"}
	LmtpQuitTimeout                    = config.Time{Name: "lmtp_quit_timeout", Default: "300s", Unit: 's', Min: 1}
	LmtpQuoteRfc821Envelope            = config.Bool{Name: "lmtp_quote_rfc821_envelope", Default: "yes"}
	LmtpRandomizeAddresses             = config.Bool{Name: "lmtp_randomize_addresses", Default: "yes"}
	LmtpRcptTimeout                    = config.Time{Name: "lmtp_rcpt_timeout", Default: "300s", Unit: 's', Min: 1}
	LmtpReplyFilter                    = config.String{Name: "lmtp_reply_filter"}
	LmtpRequiretlsPolicy               = config.String{Name: "lmtp_requiretls_policy", Default: "opportunistic"}
	LmtpRsetTimeout                    = config.Time{Name: "lmtp_rset_timeout", Default: "20s", Unit: 's', Min: 1}
	LmtpSaslAuthCacheName              = config.String{Name: "lmtp_sasl_auth_cache_name"}
	LmtpSaslAuthCacheTime              = config.Time{Name: "lmtp_sasl_auth_cache_time", Default: "90d", Unit: 'd'}
	LmtpSaslAuthEnable                 = config.Bool{Name: "lmtp_sasl_auth_enable", Default: "no"}
	LmtpSaslAuthSoftBounce             = config.Bool{Name: "lmtp_sasl_auth_soft_bounce", Default: "yes"}
	LmtpSaslMechanismFilter            = config.String{Name: "lmtp_sasl_mechanism_filter"}
	LmtpSaslPasswordMaps               = config.String{Name: "lmtp_sasl_password_maps"}
	LmtpSaslPasswordResultDelimiter    = config.String{Name: "lmtp_sasl_password_result_delimiter", Default: ":", MinLen: 1}
	LmtpSaslPath                       = config.String{Name: "lmtp_sasl_path"}
	LmtpSaslSecurityOptions            = config.String{Name: "lmtp_sasl_security_options", Default: "noplaintext, noanonymous"}
	LmtpSaslTlsSecurityOptions         = config.String{Name: "lmtp_sasl_tls_security_options", Default: "$lmtp_sasl_security_options"}
	LmtpSaslTlsVerifiedSecurityOptions = config.String{Name: "lmtp_sasl_tls_verified_security_options", Default: "$lmtp_sasl_tls_security_options"}
	LmtpSaslType                       = config.String{Name: "lmtp_sasl_type", Default: "cyrus", MinLen: 1}
	LmtpSendDummyMailAuth              = config.Bool{Name: "lmtp_send_dummy_mail_auth", Default: "no"}
	LmtpSendXforwardCommand            = config.Bool{Name: "lmtp_send_xforward_command", Default: "no"}
	LmtpSenderDependentAuthentication  = config.Bool{Name: "lmtp_sender_dependent_authentication", Default: "no"}
	LmtpSkip5xxGreeting                = config.Bool{Name: "lmtp_skip_5xx_greeting", Default: "yes"}
	LmtpSkipQuitResponse               = config.Bool{Name: "lmtp_skip_quit_response", Default: "no"}
	LmtpStarttlsTimeout                = config.Time{Name: "lmtp_starttls_timeout", Default: "300s", Unit: 's', Min: 1}
	LmtpTcpPort                        = config.String{Name: "lmtp_tcp_port", Default: "24"}
	LmtpTlsrptEnable                   = config.Bool{Name: "lmtp_tlsrpt_enable", Default: "no"}
	LmtpTlsrptSkipReusedHandshakes     = config.Bool{Name: "lmtp_tlsrpt_skip_reused_handshakes", Default: "no"}
	LmtpTlsrptSocketName               = config.String{Name: "lmtp_tlsrpt_socket_name"}
	LmtpUseTls                         = config.Bool{Name: "lmtp_use_tls", Default: "no", Note: "use lmtp_tls_security_level=may"}
	LmtpXforwardTimeout                = config.Time{Name: "lmtp_xforward_timeout", Default: "300s", Unit: 's', Min: 1}
)
