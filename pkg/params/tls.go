package params

import "posthaste/pkg/config"

var (
	TlsAppendDefaultCA               = config.Bool{Name: "tls_append_default_CA", Default: "no", Note: "trust the system's certificate authorities besides the configured ones"}
	TlsConfigFile                    = config.String{Name: "tls_config_file", Default: "default", Handling: "accept-ignore"}
	TlsConfigName                    = config.String{Name: "tls_config_name", Handling: "accept-ignore"}
	TlsDaemonRandomBytes             = config.Int{Name: "tls_daemon_random_bytes", Default: "32", Min: 1, Handling: "accept-ignore"}
	TlsDaneDigestAgility             = config.String{Name: "tls_dane_digest_agility", Default: "on", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	TlsDaneDigests                   = config.String{Name: "tls_dane_digests", Default: "sha512 sha256", MinLen: 1}
	TlsDaneTrustAnchorDigestEnable   = config.String{Name: "tls_dane_trust_anchor_digest_enable", Default: "yes", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	TlsDisableWorkarounds            = config.String{Name: "tls_disable_workarounds", Handling: "accept-ignore"}
	TlsEecdhAutoCurves               = config.String{Name: "tls_eecdh_auto_curves", Default: "X25519 X448 prime256v1 secp384r1 secp521r1", Handling: "accept-approximate", Note: "the TLS library chooses among its own curves"}
	TlsEecdhStrongCurve              = config.String{Name: "tls_eecdh_strong_curve", Default: "prime256v1", Handling: "accept-ignore"}
	TlsEecdhUltraCurve               = config.String{Name: "tls_eecdh_ultra_curve", Default: "secp384r1", Handling: "accept-ignore"}
	TlsExportCipherlist              = config.String{Name: "tls_export_cipherlist", Handling: "accept-ignore"}
	TlsFastShutdownEnable            = config.Bool{Name: "tls_fast_shutdown_enable", Default: "yes"}
	TlsFfdheAutoGroups               = config.String{Name: "tls_ffdhe_auto_groups", Default: "ffdhe2048 ffdhe3072", Handling: "accept-ignore"}
	TlsHighCipherlist                = config.String{Name: "tls_high_cipherlist", Default: "aNULL:-aNULL:HIGH:!SEED:!IDEA:!3DES:!RC2:!RC4:!RC5:!kDH:!kECDH:!aDSS:!MD5:@STRENGTH", MinLen: 1, Handling: "accept-approximate", Note: "the cipher grades are fixed; smtpd_tls_exclude_ciphers and its like take ciphers out"}
	TlsLegacyPublicKeyFingerprints   = config.String{Name: "tls_legacy_public_key_fingerprints", Default: "no", Handling: "accept-ignore", Note: "documented only; no code reads it in 3.12"}
	TlsLowCipherlist                 = config.String{Name: "tls_low_cipherlist", Handling: "accept-ignore"}
	TlsMediumCipherlist              = config.String{Name: "tls_medium_cipherlist", Default: "aNULL:-aNULL:HIGH:MEDIUM:!SEED:!IDEA:!3DES:!RC2:!RC4:!RC5:!kDH:!kECDH:!aDSS:!MD5:+RC4:@STRENGTH", MinLen: 1, Handling: "accept-approximate", Note: "the cipher grades are fixed; smtpd_tls_exclude_ciphers and its like take ciphers out"}
	TlsNullCipherlist                = config.String{Name: "tls_null_cipherlist", Default: "eNULL:!kDH:!kECDH:!aDSS:!MD5:!aNULL", MinLen: 1, Handling: "accept-ignore"}
	TlsPreemptCipherlist             = config.Bool{Name: "tls_preempt_cipherlist", Default: "no", Handling: "accept-approximate", Note: "the TLS library orders ciphers itself"}
	TlsRandomBytes                   = config.Int{Name: "tls_random_bytes", Default: "32", Min: 1, Handling: "accept-ignore"}
	TlsRandomExchangeName            = config.String{Name: "tls_random_exchange_name", Default: "${data_directory}/prng_exch", Handling: "accept-ignore", Note: "random numbers come from the kernel"}
	TlsRandomPrngUpdatePeriod        = config.Time{Name: "tls_random_prng_update_period", Default: "3600s", Unit: 's', Min: 1, Handling: "accept-ignore"}
	TlsRandomReseedPeriod            = config.Time{Name: "tls_random_reseed_period", Default: "3600s", Unit: 's', Min: 1, Handling: "accept-ignore"}
	TlsRandomSource                  = config.String{Name: "tls_random_source", Default: "dev:/dev/urandom", Handling: "accept-ignore", Note: "random numbers come from the kernel"}
	TlsRequiredEnable                = config.Bool{Name: "tls_required_enable", Default: "yes"}
	TlsServerSniMaps                 = config.String{Name: "tls_server_sni_maps", Note: "tables from the name that a client asks for, or .domain above it, to a PEM file of key and certificates; indexed ones are made by postmap -F"}
	TlsSessionTicketCipher           = config.String{Name: "tls_session_ticket_cipher", Default: "aes-256-cbc", Handling: "accept-ignore"}
	TlsSslOptions                    = config.String{Name: "tls_ssl_options", Handling: "accept-approximate", Note: "they are options of OpenSSL"}
	TlsTraceRateLimit                = config.Int{Name: "tls_trace_rate_limit", Default: "1"}
	TlsTrustServerCcerts             = config.Bool{Name: "tls_trust_server_ccerts", Default: "no", Handling: "accept-ignore"}
	TlsWildcardMatchesMultipleLabels = config.Bool{Name: "tls_wildcard_matches_multiple_labels", Default: "yes", Note: "let *.example.com in a certificate match more than one label"}
)
