package params

import "posthaste/pkg/config"

var (
	SmtpTlsBlockEarlyMailReply         = config.Bool{Name: "smtp_tls_block_early_mail_reply", Default: "no"}
	SmtpTlsCAfile                      = config.String{Name: "smtp_tls_CAfile"}
	SmtpTlsCApath                      = config.String{Name: "smtp_tls_CApath"}
	SmtpTlsCertFile                    = config.String{Name: "smtp_tls_cert_file"}
	SmtpTlsChainFiles                  = config.String{Name: "smtp_tls_chain_files"}
	SmtpTlsCipherlist                  = config.String{Name: "smtp_tls_cipherlist", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpTlsCiphers                     = config.String{Name: "smtp_tls_ciphers", Default: "medium", MinLen: 1}
	SmtpTlsConnectionReuse             = config.Bool{Name: "smtp_tls_connection_reuse", Default: "no"}
	SmtpTlsDaneInsecureMxPolicy        = config.String{Name: "smtp_tls_dane_insecure_mx_policy", Default: "dane"}
	SmtpTlsDcertFile                   = config.String{Name: "smtp_tls_dcert_file", Handling: "accept-ignore"}
	SmtpTlsDkeyFile                    = config.String{Name: "smtp_tls_dkey_file", Default: "$smtp_tls_dcert_file", Handling: "accept-ignore"}
	SmtpTlsEccertFile                  = config.String{Name: "smtp_tls_eccert_file"}
	SmtpTlsEckeyFile                   = config.String{Name: "smtp_tls_eckey_file", Default: "$smtp_tls_eccert_file"}
	SmtpTlsEnableRpk                   = config.Bool{Name: "smtp_tls_enable_rpk", Default: "no"}
	SmtpTlsEnforcePeername             = config.Bool{Name: "smtp_tls_enforce_peername", Default: "yes", Note: "use smtp_tls_security_level"}
	SmtpTlsEnforceStsMxPatterns        = config.Bool{Name: "smtp_tls_enforce_sts_mx_patterns", Default: "yes"}
	SmtpTlsExcludeCiphers              = config.String{Name: "smtp_tls_exclude_ciphers", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpTlsFingerprintCertMatch        = config.String{Name: "smtp_tls_fingerprint_cert_match"}
	SmtpTlsFingerprintDigest           = config.String{Name: "smtp_tls_fingerprint_digest", Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", MinLen: 1}
	SmtpTlsForceInsecureHostTlsaLookup = config.Bool{Name: "smtp_tls_force_insecure_host_tlsa_lookup", Default: "no"}
	SmtpTlsKeyFile                     = config.String{Name: "smtp_tls_key_file", Default: "$smtp_tls_cert_file"}
	SmtpTlsLoglevel                    = config.String{Name: "smtp_tls_loglevel", Default: "0"}
	SmtpTlsLoglevelMaps                = config.String{Name: "smtp_tls_loglevel_maps"}
	SmtpTlsMandatoryCiphers            = config.String{Name: "smtp_tls_mandatory_ciphers", Default: "medium", MinLen: 1}
	SmtpTlsMandatoryExcludeCiphers     = config.String{Name: "smtp_tls_mandatory_exclude_ciphers", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpTlsMandatoryProtocols          = config.String{Name: "smtp_tls_mandatory_protocols", Default: ">=TLSv1"}
	SmtpTlsNoteStarttlsOffer           = config.Bool{Name: "smtp_tls_note_starttls_offer", Default: "no"}
	SmtpTlsPerSite                     = config.String{Name: "smtp_tls_per_site", Handling: "accept-ignore", Note: "use smtp_tls_policy_maps"}
	SmtpTlsPolicyMaps                  = config.String{Name: "smtp_tls_policy_maps"}
	SmtpTlsProtocols                   = config.String{Name: "smtp_tls_protocols", Default: ">=TLSv1"}
	SmtpTlsScertVerifydepth            = config.Int{Name: "smtp_tls_scert_verifydepth", Default: "9"}
	SmtpTlsSecureCertMatch             = config.String{Name: "smtp_tls_secure_cert_match", Default: "nexthop, dot-nexthop", MinLen: 1}
	SmtpTlsSecurityLevel               = config.String{Name: "smtp_tls_security_level", Default: "${{$compatibility_level} <level {3.11} ? {} : {may}}"}
	SmtpTlsServername                  = config.String{Name: "smtp_tls_servername"}
	SmtpTlsSessionCacheDatabase        = config.String{Name: "smtp_tls_session_cache_database", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpTlsSessionCacheTimeout         = config.Time{Name: "smtp_tls_session_cache_timeout", Default: "3600s", Unit: 's', Max: 8640000}
	SmtpTlsTraceSizeLimit              = config.Int{Name: "smtp_tls_trace_size_limit", Default: "102400"}
	SmtpTlsTrustAnchorFile             = config.String{Name: "smtp_tls_trust_anchor_file"}
	SmtpTlsVerifyCertMatch             = config.String{Name: "smtp_tls_verify_cert_match", Default: "hostname", MinLen: 1}
	SmtpTlsWrappermode                 = config.Bool{Name: "smtp_tls_wrappermode", Default: "no"}
)
