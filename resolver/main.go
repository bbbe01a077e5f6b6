// Resolver asks the DNS for programs that have no network of their own.
//
// # Usage
//
//	resolver [generic options]
//
// # Description
//
// smtpd(8) and other programs that face the network or handle mail run without
// a way to connect anywhere. What they need of the DNS they ask this program
// over the private/resolver socket, many questions at a time on a connection.
// Smtp(8) and lmtp(8) ask it too, for its cache.
//
// Resolver is a stub: it needs recursive name servers, those of
// resolver_nameservers or of /etc/resolv.conf (read again when it changes). A
// server that fails to answer is asked last for a while, up to two minutes.
// Every query goes from a source port of its own with a random id; only an
// answer from the server asked, with that id, name, type and class, is
// believed. Truncated answers are asked for again over TCP. Chains of more than
// ten CNAMEs are taken for loops. The domain search list is not used.
//
// Answers are remembered for as long as their TTL says, a day at most; that
// there is none, for an hour at most, and that there was no answer for five
// seconds (RFC 9520). The same question from several programs at the same time is
// asked once.
//
// # Security
//
// Resolver reads untrusted data from the network and opens no file but those
// below. It runs under its own identity and sees no mail.
//
// # Diagnostics
//
// Problems are logged to the mail log.
//
// # Files
//
//	/etc/resolv.conf   name servers, timeout and attempts
package main

import (
	"context"
	"net"

	"posthaste/pkg/dnsclient"
	"posthaste/pkg/proto/resolver"
	"posthaste/pkg/service"
)

// cacheSize is the most answers remembered, some 300 bytes each.
const cacheSize = 20000

func main() {
	var dns *dnsclient.Client
	service.Main(service.Spec{
		Name: "resolver",
		Before: func(env *service.Env) (err error) {
			dns, err = dnsclient.Direct(env.Config, cacheSize)
			return err
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			serve(ctx, env, c, dns)
		},
	})
}

func serve(ctx context.Context, env *service.Env, c net.Conn, dns *dnsclient.Client) {
	err := resolver.Serve(ctx, c, env.Draining(), env.Waiting, func(ctx context.Context, q *resolver.Query) *resolver.Reply {
		return dns.Lookup(ctx, q.Name, q.Type)
	})
	if err != nil {
		env.Log.Warningf("%s service: %v", env.Service, err)
	}
}
