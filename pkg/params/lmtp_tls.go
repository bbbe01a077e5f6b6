package params

import "posthaste/pkg/config"

var (
	LmtpTlsBlockEarlyMailReply         = config.Bool{Name: "lmtp_tls_block_early_mail_reply", Default: "no"}
	LmtpTlsCAfile                      = config.String{Name: "lmtp_tls_CAfile"}
	LmtpTlsCApath                      = config.String{Name: "lmtp_tls_CApath"}
	LmtpTlsCertFile                    = config.String{Name: "lmtp_tls_cert_file"}
	LmtpTlsChainFiles                  = config.String{Name: "lmtp_tls_chain_files"}
	LmtpTlsCiphers                     = config.String{Name: "lmtp_tls_ciphers", Default: "medium", MinLen: 1}
	LmtpTlsConnectionReuse             = config.Bool{Name: "lmtp_tls_connection_reuse", Default: "no"}
	LmtpTlsDcertFile                   = config.String{Name: "lmtp_tls_dcert_file", Handling: "accept-ignore"}
	LmtpTlsDkeyFile                    = config.String{Name: "lmtp_tls_dkey_file", Default: "$lmtp_tls_dcert_file", Handling: "accept-ignore"}
	LmtpTlsEccertFile                  = config.String{Name: "lmtp_tls_eccert_file"}
	LmtpTlsEckeyFile                   = config.String{Name: "lmtp_tls_eckey_file", Default: "$lmtp_tls_eccert_file"}
	LmtpTlsEnableRpk                   = config.Bool{Name: "lmtp_tls_enable_rpk", Default: "no"}
	LmtpTlsEnforcePeername             = config.Bool{Name: "lmtp_tls_enforce_peername", Default: "yes", Note: "use lmtp_tls_security_level"}
	LmtpTlsEnforceStsMxPatterns        = config.Bool{Name: "lmtp_tls_enforce_sts_mx_patterns", Default: "yes"}
	LmtpTlsExcludeCiphers              = config.String{Name: "lmtp_tls_exclude_ciphers"}
	LmtpTlsFingerprintCertMatch        = config.String{Name: "lmtp_tls_fingerprint_cert_match"}
	LmtpTlsFingerprintDigest           = config.String{Name: "lmtp_tls_fingerprint_digest", Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", MinLen: 1}
	LmtpTlsForceInsecureHostTlsaLookup = config.Bool{Name: "lmtp_tls_force_insecure_host_tlsa_lookup", Default: "no"}
	LmtpTlsKeyFile                     = config.String{Name: "lmtp_tls_key_file", Default: "$lmtp_tls_cert_file"}
	LmtpTlsLoglevel                    = config.String{Name: "lmtp_tls_loglevel", Default: "0"}
	LmtpTlsLoglevelMaps                = config.String{Name: "lmtp_tls_loglevel_maps"}
	LmtpTlsMandatoryCiphers            = config.String{Name: "lmtp_tls_mandatory_ciphers", Default: "medium", MinLen: 1}
	LmtpTlsMandatoryExcludeCiphers     = config.String{Name: "lmtp_tls_mandatory_exclude_ciphers"}
	LmtpTlsMandatoryProtocols          = config.String{Name: "lmtp_tls_mandatory_protocols", Default: ">=TLSv1"}
	LmtpTlsNoteStarttlsOffer           = config.Bool{Name: "lmtp_tls_note_starttls_offer", Default: "no"}
	LmtpTlsPerSite                     = config.String{Name: "lmtp_tls_per_site", Handling: "accept-ignore", Note: "use lmtp_tls_policy_maps"}
	LmtpTlsPolicyMaps                  = config.String{Name: "lmtp_tls_policy_maps"}
	LmtpTlsProtocols                   = config.String{Name: "lmtp_tls_protocols", Default: ">=TLSv1"}
	LmtpTlsScertVerifydepth            = config.Int{Name: "lmtp_tls_scert_verifydepth", Default: "9"}
	LmtpTlsSecureCertMatch             = config.String{Name: "lmtp_tls_secure_cert_match", Default: "nexthop", MinLen: 1}
	LmtpTlsSecurityLevel               = config.String{Name: "lmtp_tls_security_level"}
	LmtpTlsServername                  = config.String{Name: "lmtp_tls_servername"}
	LmtpTlsSessionCacheDatabase        = config.String{Name: "lmtp_tls_session_cache_database", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	LmtpTlsSessionCacheTimeout         = config.Time{Name: "lmtp_tls_session_cache_timeout", Default: "3600s", Unit: 's', Max: 8640000}
	LmtpTlsTraceSizeLimit              = config.Int{Name: "lmtp_tls_trace_size_limit", Default: "102400"}
	LmtpTlsTrustAnchorFile             = config.String{Name: "lmtp_tls_trust_anchor_file"}
	LmtpTlsVerifyCertMatch             = config.String{Name: "lmtp_tls_verify_cert_match", Default: "hostname", MinLen: 1}
	LmtpTlsWrappermode                 = config.Bool{Name: "lmtp_tls_wrappermode", Default: "no"}
)
