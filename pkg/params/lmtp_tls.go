package params

import "posthaste/pkg/config"

var (
	LmtpTlsBlockEarlyMailReply         = config.Bool{Name: "lmtp_tls_block_early_mail_reply", Default: "no"}
	LmtpTlsCAfile                      = config.String{Name: "lmtp_tls_CAfile", Note: "the same as smtp_tls_CAfile, for lmtp(8)"}
	LmtpTlsCApath                      = config.String{Name: "lmtp_tls_CApath", Note: "the same as smtp_tls_CApath, for lmtp(8)"}
	LmtpTlsCertFile                    = config.String{Name: "lmtp_tls_cert_file", Note: "the same as smtp_tls_cert_file, for lmtp(8)"}
	LmtpTlsChainFiles                  = config.String{Name: "lmtp_tls_chain_files", Note: "the same as smtp_tls_chain_files, for lmtp(8)"}
	LmtpTlsCiphers                     = config.String{Name: "lmtp_tls_ciphers", Default: "medium", MinLen: 1, Note: "the same as smtp_tls_ciphers, for lmtp(8)"}
	LmtpTlsConnectionReuse             = config.Bool{Name: "lmtp_tls_connection_reuse", Default: "no"}
	LmtpTlsDcertFile                   = config.String{Name: "lmtp_tls_dcert_file", Handling: "accept-ignore"}
	LmtpTlsDkeyFile                    = config.String{Name: "lmtp_tls_dkey_file", Default: "$lmtp_tls_dcert_file", Handling: "accept-ignore"}
	LmtpTlsEccertFile                  = config.String{Name: "lmtp_tls_eccert_file", Note: "the same as smtp_tls_eccert_file, for lmtp(8)"}
	LmtpTlsEckeyFile                   = config.String{Name: "lmtp_tls_eckey_file", Default: "$lmtp_tls_eccert_file", Note: "the same as smtp_tls_eckey_file, for lmtp(8)"}
	LmtpTlsEnableRpk                   = config.Bool{Name: "lmtp_tls_enable_rpk", Default: "no"}
	LmtpTlsEnforcePeername             = config.Bool{Name: "lmtp_tls_enforce_peername", Default: "yes", Note: "the same as smtp_tls_enforce_peername, for lmtp(8)"}
	LmtpTlsEnforceStsMxPatterns        = config.Bool{Name: "lmtp_tls_enforce_sts_mx_patterns", Default: "yes"}
	LmtpTlsExcludeCiphers              = config.String{Name: "lmtp_tls_exclude_ciphers", Note: "the same as smtp_tls_exclude_ciphers, for lmtp(8)"}
	LmtpTlsFingerprintCertMatch        = config.String{Name: "lmtp_tls_fingerprint_cert_match", Note: "the same as smtp_tls_fingerprint_cert_match, for lmtp(8)"}
	LmtpTlsFingerprintDigest           = config.String{Name: "lmtp_tls_fingerprint_digest", Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", MinLen: 1, Note: "the same as smtp_tls_fingerprint_digest, for lmtp(8)"}
	LmtpTlsForceInsecureHostTlsaLookup = config.Bool{Name: "lmtp_tls_force_insecure_host_tlsa_lookup", Default: "no"}
	LmtpTlsKeyFile                     = config.String{Name: "lmtp_tls_key_file", Default: "$lmtp_tls_cert_file", Note: "the same as smtp_tls_key_file, for lmtp(8)"}
	LmtpTlsLoglevel                    = config.String{Name: "lmtp_tls_loglevel", Default: "0", Note: "the same as smtp_tls_loglevel, for lmtp(8)"}
	LmtpTlsLoglevelMaps                = config.String{Name: "lmtp_tls_loglevel_maps"}
	LmtpTlsMandatoryCiphers            = config.String{Name: "lmtp_tls_mandatory_ciphers", Default: "medium", MinLen: 1, Note: "the same as smtp_tls_mandatory_ciphers, for lmtp(8)"}
	LmtpTlsMandatoryExcludeCiphers     = config.String{Name: "lmtp_tls_mandatory_exclude_ciphers", Note: "the same as smtp_tls_mandatory_exclude_ciphers, for lmtp(8)"}
	LmtpTlsMandatoryProtocols          = config.String{Name: "lmtp_tls_mandatory_protocols", Default: ">=TLSv1", Note: "the same as smtp_tls_mandatory_protocols, for lmtp(8)"}
	LmtpTlsNoteStarttlsOffer           = config.Bool{Name: "lmtp_tls_note_starttls_offer", Default: "no", Note: "the same as smtp_tls_note_starttls_offer, for lmtp(8)"}
	LmtpTlsPerSite                     = config.String{Name: "lmtp_tls_per_site", Handling: "accept-ignore", Note: "use lmtp_tls_policy_maps"}
	LmtpTlsPolicyMaps                  = config.String{Name: "lmtp_tls_policy_maps", Note: "the same as smtp_tls_policy_maps, for lmtp(8)"}
	LmtpTlsProtocols                   = config.String{Name: "lmtp_tls_protocols", Default: ">=TLSv1", Note: "the same as smtp_tls_protocols, for lmtp(8)"}
	LmtpTlsScertVerifydepth            = config.Int{Name: "lmtp_tls_scert_verifydepth", Default: "9"}
	LmtpTlsSecureCertMatch             = config.String{Name: "lmtp_tls_secure_cert_match", Default: "nexthop", MinLen: 1, Note: "the same as smtp_tls_secure_cert_match, for lmtp(8)"}
	LmtpTlsSecurityLevel               = config.String{Name: "lmtp_tls_security_level", Note: "the same as smtp_tls_security_level, for lmtp(8)"}
	LmtpTlsServername                  = config.String{Name: "lmtp_tls_servername", Note: "the same as smtp_tls_servername, for lmtp(8)"}
	LmtpTlsSessionCacheDatabase        = config.String{Name: "lmtp_tls_session_cache_database", Handling: "accept-approximate", Note: "each process remembers TLS sessions in memory"}
	LmtpTlsSessionCacheTimeout         = config.Time{Name: "lmtp_tls_session_cache_timeout", Default: "3600s", Unit: 's', Max: 8640000}
	LmtpTlsTraceSizeLimit              = config.Int{Name: "lmtp_tls_trace_size_limit", Default: "102400"}
	LmtpTlsTrustAnchorFile             = config.String{Name: "lmtp_tls_trust_anchor_file", Note: "the same as smtp_tls_trust_anchor_file, for lmtp(8)"}
	LmtpTlsVerifyCertMatch             = config.String{Name: "lmtp_tls_verify_cert_match", Default: "hostname", MinLen: 1, Note: "the same as smtp_tls_verify_cert_match, for lmtp(8)"}
	LmtpTlsWrappermode                 = config.Bool{Name: "lmtp_tls_wrappermode", Default: "no", Note: "the same as smtp_tls_wrappermode, for lmtp(8)"}
)
