// Lmtp delivers mail to mailbox servers by LMTP (RFC 2033).
//
// # Usage
//
//	lmtp [generic options]
//
// # Description
//
// Lmtp is smtp(8) speaking LMTP: it says LHLO, and takes a reply for each
// recipient after the message, so that each has an outcome of its own. Forms of
// a destination:
//
//	unix:path        a Unix socket, relative to the queue directory
//	inet:host:port   a host; port 24 (lmtp_tcp_port) is the default
//	host, host:port, [host], [host]:port
//
// Mail exchangers are not looked up. Parameters are the lmtp_ ones where smtp(8)
// has smtp_ ones, and the description there holds otherwise.
//
// # Security
//
// As smtp(8).
//
// # Diagnostics
//
// As smtp(8).
//
// # Files
//
//	private/resolver   socket of resolver(8)
package main

import "posthaste/pkg/smtpclient"

func main() { smtpclient.Main("lmtp", true) }
