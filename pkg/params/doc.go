// Package params declares every configuration parameter once: its name, type,
// default, unit and bounds. The programs read parameters through these
// declarations alone (params.MessageSizeLimit.In(cfg)), and postconf, the
// validation of main.cf and the manual are made from them.
//
// A declaration's Go name is the parameter's name with each word capitalised:
// smtpd_tls_cert_file is SmtpdTlsCertFile.
package params
