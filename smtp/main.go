// Smtp delivers mail to remote hosts by SMTP.
//
// # Usage
//
//	smtp [generic options]
//
// # Description
//
// Smtp takes delivery requests from qmgr(8): a message, a next-hop destination
// and recipients there. It looks up the destination's mail exchangers (or takes
// the host as it is when it stands in brackets), sorts them by preference,
// those of equal preference at random, and tries them until each recipient is
// delivered, or refused for good, or no server is left. Forms of a destination:
//
//	example.com           mail exchangers of a domain, or its own address
//	example.com:port      the same with another port
//	[host], [host]:port   no look-up of mail exchangers
//	[192.0.2.1], [2001:db8::1]:587
//
// Several destinations, separated by commas, are tried in turn; those of
// smtp_fallback_relay come last.
//
// The whole envelope of a message goes out in one flight when the server knows
// PIPELINING. A connection is kept for further messages to the same destination
// (smtp_connection_cache_time_limit, smtp_connection_reuse_time_limit), also
// with TLS.
//
// TLS is used as smtp_tls_security_level and smtp_tls_policy_maps say: none,
// may, encrypt, fingerprint, verify, secure. The levels dane and dane-only are not
// available: mail to a destination that asks for them is deferred, and the
// reason says so. With may, mail that has waited for minimal_backoff_time goes
// out in plaintext to a server whose handshake fails, unless we have credentials
// for it.
//
// Times are for a whole reply, however slowly a server sends it, and replies
// have limits in lines and bytes, so that no server can hold a delivery for
// longer than smtp_*_timeout.
//
// Content that is labelled 8bit is converted to quoted-printable for a server
// without 8BITMIME (disable_mime_output_conversion).
//
// # Security
//
// Smtp talks to servers that may be hostile. It runs under its own identity,
// sees a message only through a read-only descriptor, and can open neither the
// queue nor any mailbox. It reads tables, certificates and keys before it gives
// up its privileges.
//
// # Diagnostics
//
// Each recipient's outcome is logged with relay, delays, enhanced status code
// and the server's words.
//
// # Files
//
//	private/resolver   socket of resolver(8)
//	/etc/resolv.conf   name servers, when there is no resolver(8)
//	/etc/hosts         with smtp_host_lookup = native
package main

import "posthaste/pkg/smtpclient"

func main() { smtpclient.Main("smtp", false) }
