package params

import "posthaste/pkg/config"

var (
	SmtpTlsBlockEarlyMailReply         = config.Bool{Name: "smtp_tls_block_early_mail_reply", Default: "no"}
	SmtpTlsCAfile                      = config.String{Name: "smtp_tls_CAfile", Note: "PEM file of certificate authorities that servers' certificates are checked by"}
	SmtpTlsCApath                      = config.String{Name: "smtp_tls_CApath", Note: "directory of PEM files of certificate authorities, besides smtp_tls_CAfile"}
	SmtpTlsCertFile                    = config.String{Name: "smtp_tls_cert_file", Note: "PEM file of an RSA client certificate and its chain; empty or none means no certificate"}
	SmtpTlsChainFiles                  = config.String{Name: "smtp_tls_chain_files", Note: "PEM files of client keys and certificate chains, in place of the _cert_file and _key_file parameters"}
	SmtpTlsCipherlist                  = config.String{Name: "smtp_tls_cipherlist", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpTlsCiphers                     = config.String{Name: "smtp_tls_ciphers", Default: "medium", MinLen: 1, Note: "cipher grade with opportunistic TLS: high and medium, which are the same here"}
	SmtpTlsConnectionReuse             = config.Bool{Name: "smtp_tls_connection_reuse", Default: "no"}
	SmtpTlsDaneInsecureMxPolicy        = config.String{Name: "smtp_tls_dane_insecure_mx_policy", Default: "dane"}
	SmtpTlsDcertFile                   = config.String{Name: "smtp_tls_dcert_file", Handling: "accept-ignore"}
	SmtpTlsDkeyFile                    = config.String{Name: "smtp_tls_dkey_file", Default: "$smtp_tls_dcert_file", Handling: "accept-ignore"}
	SmtpTlsEccertFile                  = config.String{Name: "smtp_tls_eccert_file", Note: "PEM file of an ECDSA client certificate and its chain"}
	SmtpTlsEckeyFile                   = config.String{Name: "smtp_tls_eckey_file", Default: "$smtp_tls_eccert_file", Note: "PEM file of the key of smtp_tls_eccert_file"}
	SmtpTlsEnableRpk                   = config.Bool{Name: "smtp_tls_enable_rpk", Default: "no"}
	SmtpTlsEnforcePeername             = config.Bool{Name: "smtp_tls_enforce_peername", Default: "yes", Note: "whether smtp_enforce_tls means verify rather than encrypt"}
	SmtpTlsEnforceStsMxPatterns        = config.Bool{Name: "smtp_tls_enforce_sts_mx_patterns", Default: "yes"}
	SmtpTlsExcludeCiphers              = config.String{Name: "smtp_tls_exclude_ciphers", Handling: "accept-approximate", Note: "OpenSSL names and classes of ciphers that are not offered; what is unknown here is named in a warning, and the three suites of TLS 1.3 cannot be excluded"}
	SmtpTlsFingerprintCertMatch        = config.String{Name: "smtp_tls_fingerprint_cert_match", Note: "fingerprints of servers' certificates or public keys that the level fingerprint accepts"}
	SmtpTlsFingerprintDigest           = config.String{Name: "smtp_tls_fingerprint_digest", Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", MinLen: 1, Note: "digest of fingerprints: sha256, sha384, sha512, sha1 or md5"}
	SmtpTlsForceInsecureHostTlsaLookup = config.Bool{Name: "smtp_tls_force_insecure_host_tlsa_lookup", Default: "no"}
	SmtpTlsKeyFile                     = config.String{Name: "smtp_tls_key_file", Default: "$smtp_tls_cert_file", Note: "PEM file of the key of smtp_tls_cert_file"}
	SmtpTlsLoglevel                    = config.String{Name: "smtp_tls_loglevel", Default: "0", Note: "0 or none; 1 or more logs a summary of each TLS handshake"}
	SmtpTlsLoglevelMaps                = config.String{Name: "smtp_tls_loglevel_maps"}
	SmtpTlsMandatoryCiphers            = config.String{Name: "smtp_tls_mandatory_ciphers", Default: "medium", MinLen: 1, Note: "cipher grade with mandatory TLS, as in smtp_tls_ciphers"}
	SmtpTlsMandatoryExcludeCiphers     = config.String{Name: "smtp_tls_mandatory_exclude_ciphers", Handling: "accept-approximate", Note: "ciphers that are not offered with mandatory TLS, besides smtp_tls_exclude_ciphers and in its form"}
	SmtpTlsMandatoryProtocols          = config.String{Name: "smtp_tls_mandatory_protocols", Default: ">=TLSv1", Note: "protocols with mandatory TLS, in the form of smtp_tls_protocols"}
	SmtpTlsNoteStarttlsOffer           = config.Bool{Name: "smtp_tls_note_starttls_offer", Default: "no", Note: "log servers that offer STARTTLS when TLS is not used"}
	SmtpTlsPerSite                     = config.String{Name: "smtp_tls_per_site", Handling: "accept-ignore", Note: "use smtp_tls_policy_maps"}
	SmtpTlsPolicyMaps                  = config.String{Name: "smtp_tls_policy_maps", Note: "tables from next hop, or .domain above it, to a TLS level and name=value settings: match, protocols, ciphers, exclude, servername, tafile"}
	SmtpTlsProtocols                   = config.String{Name: "smtp_tls_protocols", Default: ">=TLSv1", Note: "protocols with opportunistic TLS: bounds (>=TLSv1.2, <=TLSv1.3), names and !names"}
	SmtpTlsScertVerifydepth            = config.Int{Name: "smtp_tls_scert_verifydepth", Default: "9"}
	SmtpTlsSecureCertMatch             = config.String{Name: "smtp_tls_secure_cert_match", Default: "nexthop, dot-nexthop", MinLen: 1, Note: "what the certificate must match at level secure: nexthop, dot-nexthop, hostname, or names"}
	SmtpTlsSecurityLevel               = config.String{Name: "smtp_tls_security_level", Default: "${{$compatibility_level} <level {3.11} ? {} : {may}}", Note: "TLS with servers: none, may, encrypt, fingerprint, verify, secure; dane and dane-only are not available"}
	SmtpTlsServername                  = config.String{Name: "smtp_tls_servername", Note: "name to ask the server for (SNI): hostname, nexthop or a name; empty sends none"}
	SmtpTlsSessionCacheDatabase        = config.String{Name: "smtp_tls_session_cache_database", Handling: "accept-approximate", Note: "each process remembers TLS sessions in memory"}
	SmtpTlsSessionCacheTimeout         = config.Time{Name: "smtp_tls_session_cache_timeout", Default: "3600s", Unit: 's', Max: 8640000}
	SmtpTlsTraceSizeLimit              = config.Int{Name: "smtp_tls_trace_size_limit", Default: "102400"}
	SmtpTlsTrustAnchorFile             = config.String{Name: "smtp_tls_trust_anchor_file", Note: "PEM files of the only certificates that servers' certificates are checked by at the levels verify and secure"}
	SmtpTlsVerifyCertMatch             = config.String{Name: "smtp_tls_verify_cert_match", Default: "hostname", MinLen: 1, Note: "what the certificate must match at level verify, in the form of smtp_tls_secure_cert_match"}
	SmtpTlsWrappermode                 = config.Bool{Name: "smtp_tls_wrappermode", Default: "no", Note: "begin TLS at once, without STARTTLS (port 465); needs level encrypt or better"}
)
