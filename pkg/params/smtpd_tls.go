package params

import "posthaste/pkg/config"

var (
	SmtpdTlsAlwaysIssueSessionIds   = config.Bool{Name: "smtpd_tls_always_issue_session_ids", Default: "yes", Handling: "accept-ignore"}
	SmtpdTlsAskCcert                = config.Bool{Name: "smtpd_tls_ask_ccert", Default: "no"}
	SmtpdTlsAuthOnly                = config.Bool{Name: "smtpd_tls_auth_only", Default: "no"}
	SmtpdTlsCAfile                  = config.String{Name: "smtpd_tls_CAfile"}
	SmtpdTlsCApath                  = config.String{Name: "smtpd_tls_CApath"}
	SmtpdTlsCcertVerifydepth        = config.Int{Name: "smtpd_tls_ccert_verifydepth", Default: "9"}
	SmtpdTlsCertFile                = config.String{Name: "smtpd_tls_cert_file"}
	SmtpdTlsChainFiles              = config.String{Name: "smtpd_tls_chain_files"}
	SmtpdTlsCipherlist              = config.String{Name: "smtpd_tls_cipherlist", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	SmtpdTlsCiphers                 = config.String{Name: "smtpd_tls_ciphers", Default: "medium", MinLen: 1}
	SmtpdTlsDcertFile               = config.String{Name: "smtpd_tls_dcert_file", Handling: "accept-ignore"}
	SmtpdTlsDh1024ParamFile         = config.String{Name: "smtpd_tls_dh1024_param_file", Handling: "accept-approximate", Note: "use auto; OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpdTlsDh512ParamFile          = config.String{Name: "smtpd_tls_dh512_param_file", Handling: "accept-ignore"}
	SmtpdTlsDkeyFile                = config.String{Name: "smtpd_tls_dkey_file", Default: "$smtpd_tls_dcert_file", Handling: "accept-ignore"}
	SmtpdTlsEccertFile              = config.String{Name: "smtpd_tls_eccert_file"}
	SmtpdTlsEckeyFile               = config.String{Name: "smtpd_tls_eckey_file", Default: "$smtpd_tls_eccert_file"}
	SmtpdTlsEecdhGrade              = config.String{Name: "smtpd_tls_eecdh_grade", Default: "auto", MinLen: 1, Handling: "accept-ignore"}
	SmtpdTlsEnableRpk               = config.Bool{Name: "smtpd_tls_enable_rpk", Default: "no"}
	SmtpdTlsExcludeCiphers          = config.String{Name: "smtpd_tls_exclude_ciphers", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpdTlsFingerprintDigest       = config.String{Name: "smtpd_tls_fingerprint_digest", Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", MinLen: 1}
	SmtpdTlsKeyFile                 = config.String{Name: "smtpd_tls_key_file", Default: "$smtpd_tls_cert_file"}
	SmtpdTlsLoglevel                = config.String{Name: "smtpd_tls_loglevel", Default: "0"}
	SmtpdTlsLoglevelMaps            = config.String{Name: "smtpd_tls_loglevel_maps"}
	SmtpdTlsMandatoryCiphers        = config.String{Name: "smtpd_tls_mandatory_ciphers", Default: "medium", MinLen: 1}
	SmtpdTlsMandatoryExcludeCiphers = config.String{Name: "smtpd_tls_mandatory_exclude_ciphers", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpdTlsMandatoryProtocols      = config.String{Name: "smtpd_tls_mandatory_protocols", Default: ">=TLSv1"}
	SmtpdTlsProtocols               = config.String{Name: "smtpd_tls_protocols", Default: ">=TLSv1"}
	SmtpdTlsReceivedHeader          = config.Bool{Name: "smtpd_tls_received_header", Default: "no"}
	SmtpdTlsReqCcert                = config.Bool{Name: "smtpd_tls_req_ccert", Default: "no"}
	SmtpdTlsSecurityLevel           = config.String{Name: "smtpd_tls_security_level"}
	SmtpdTlsSessionCacheDatabase    = config.String{Name: "smtpd_tls_session_cache_database", Handling: "accept-approximate", Note: "OpenSSL-specific value; map to nearest crypto/tls setting, warn if unmappable"}
	SmtpdTlsSessionCacheTimeout     = config.Time{Name: "smtpd_tls_session_cache_timeout", Default: "3600s", Unit: 's', Max: 8640000}
	SmtpdTlsTraceSizeLimit          = config.Int{Name: "smtpd_tls_trace_size_limit", Default: "102400"}
	SmtpdTlsWrappermode             = config.Bool{Name: "smtpd_tls_wrappermode", Default: "no"}
)
