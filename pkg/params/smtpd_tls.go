package params

import "posthaste/pkg/config"

var (
	SmtpdTlsAlwaysIssueSessionIds   = config.Bool{Name: "smtpd_tls_always_issue_session_ids", Default: "yes", Handling: "accept-ignore"}
	SmtpdTlsAskCcert                = config.Bool{Name: "smtpd_tls_ask_ccert", Default: "no", Note: "ask clients for a certificate, and accept any or none"}
	SmtpdTlsAuthOnly                = config.Bool{Name: "smtpd_tls_auth_only", Default: "no", Note: "offer AUTH only with TLS"}
	SmtpdTlsCAfile                  = config.String{Name: "smtpd_tls_CAfile", Note: "PEM file of certificate authorities that clients' certificates are checked by"}
	SmtpdTlsCApath                  = config.String{Name: "smtpd_tls_CApath", Note: "directory of PEM files of certificate authorities, besides smtpd_tls_CAfile"}
	SmtpdTlsCcertVerifydepth        = config.Int{Name: "smtpd_tls_ccert_verifydepth", Default: "9"}
	SmtpdTlsCertFile                = config.String{Name: "smtpd_tls_cert_file", Note: "PEM file of the RSA certificate and its chain; empty or none means no such certificate"}
	SmtpdTlsChainFiles              = config.String{Name: "smtpd_tls_chain_files", Note: "PEM files of keys and certificate chains, in place of the _cert_file and _key_file parameters"}
	SmtpdTlsCipherlist              = config.String{Name: "smtpd_tls_cipherlist", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpdTlsCiphers                 = config.String{Name: "smtpd_tls_ciphers", Default: "medium", MinLen: 1, Note: "cipher grade with level may: high and medium, which are the same here"}
	SmtpdTlsDcertFile               = config.String{Name: "smtpd_tls_dcert_file", Handling: "accept-ignore"}
	SmtpdTlsDh1024ParamFile         = config.String{Name: "smtpd_tls_dh1024_param_file", Handling: "accept-approximate", Note: "finite-field Diffie-Hellman is not offered"}
	SmtpdTlsDh512ParamFile          = config.String{Name: "smtpd_tls_dh512_param_file", Handling: "accept-ignore"}
	SmtpdTlsDkeyFile                = config.String{Name: "smtpd_tls_dkey_file", Default: "$smtpd_tls_dcert_file", Handling: "accept-ignore"}
	SmtpdTlsEccertFile              = config.String{Name: "smtpd_tls_eccert_file", Note: "PEM file of the ECDSA certificate and its chain"}
	SmtpdTlsEckeyFile               = config.String{Name: "smtpd_tls_eckey_file", Default: "$smtpd_tls_eccert_file", Note: "PEM file of the key of smtpd_tls_eccert_file"}
	SmtpdTlsEecdhGrade              = config.String{Name: "smtpd_tls_eecdh_grade", Default: "auto", MinLen: 1, Handling: "accept-ignore"}
	SmtpdTlsEnableRpk               = config.Bool{Name: "smtpd_tls_enable_rpk", Default: "no"}
	SmtpdTlsExcludeCiphers          = config.String{Name: "smtpd_tls_exclude_ciphers", Handling: "accept-approximate", Note: "OpenSSL names and classes of ciphers that are not offered; what is unknown here is named in a warning, and the three suites of TLS 1.3 cannot be excluded"}
	SmtpdTlsFingerprintDigest       = config.String{Name: "smtpd_tls_fingerprint_digest", Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", MinLen: 1, Note: "digest of clients' fingerprints for check_ccert_access and relay_clientcerts: sha256, sha384, sha512, sha1 or md5"}
	SmtpdTlsKeyFile                 = config.String{Name: "smtpd_tls_key_file", Default: "$smtpd_tls_cert_file", Note: "PEM file of the key of smtpd_tls_cert_file"}
	SmtpdTlsLoglevel                = config.String{Name: "smtpd_tls_loglevel", Default: "0", Note: "0 or none; 1 or more logs a summary of each TLS handshake"}
	SmtpdTlsLoglevelMaps            = config.String{Name: "smtpd_tls_loglevel_maps"}
	SmtpdTlsMandatoryCiphers        = config.String{Name: "smtpd_tls_mandatory_ciphers", Default: "medium", MinLen: 1, Note: "cipher grade with level encrypt and in wrapper mode, as in smtpd_tls_ciphers"}
	SmtpdTlsMandatoryExcludeCiphers = config.String{Name: "smtpd_tls_mandatory_exclude_ciphers", Handling: "accept-approximate", Note: "ciphers that are not offered with level encrypt and in wrapper mode, besides smtpd_tls_exclude_ciphers and in its form"}
	SmtpdTlsMandatoryProtocols      = config.String{Name: "smtpd_tls_mandatory_protocols", Default: ">=TLSv1", Note: "protocols with level encrypt and in wrapper mode, in the form of smtpd_tls_protocols"}
	SmtpdTlsProtocols               = config.String{Name: "smtpd_tls_protocols", Default: ">=TLSv1", Note: "protocols with level may: bounds (>=TLSv1.2, <=TLSv1.3), names and !names"}
	SmtpdTlsReceivedHeader          = config.Bool{Name: "smtpd_tls_received_header", Default: "no", Note: "name protocol and cipher in the Received: header"}
	SmtpdTlsReqCcert                = config.Bool{Name: "smtpd_tls_req_ccert", Default: "no", Note: "refuse clients without a trusted certificate; only with level encrypt or in wrapper mode"}
	SmtpdTlsSecurityLevel           = config.String{Name: "smtpd_tls_security_level", Note: "TLS with clients: none, may (offer STARTTLS) or encrypt (no mail without it)"}
	SmtpdTlsSessionCacheDatabase    = config.String{Name: "smtpd_tls_session_cache_database", Handling: "accept-approximate", Note: "TLS sessions are resumed by tickets, without a database"}
	SmtpdTlsSessionCacheTimeout     = config.Time{Name: "smtpd_tls_session_cache_timeout", Default: "3600s", Unit: 's', Max: 8640000}
	SmtpdTlsTraceSizeLimit          = config.Int{Name: "smtpd_tls_trace_size_limit", Default: "102400"}
	SmtpdTlsWrappermode             = config.Bool{Name: "smtpd_tls_wrappermode", Default: "no", Note: "begin TLS at once, without STARTTLS (submissions, port 465)"}
)
