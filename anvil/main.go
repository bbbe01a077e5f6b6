// Anvil counts the clients of the SMTP, IMAP and POP3 servers.
//
// Usage: anvil [generic daemon options]; started by master(8) for the service
// private/anvil.
//
// # Description
//
// A service may have several processes, and a client may use several services.
// Smtpd(8) and login(8) tell anvil of each client's connections and requests, and
// anvil tells them how many there are: of connections, how many at this time; of
// connections, messages, recipients, TLS handshakes and AUTH commands, how many
// within anvil_rate_time_unit. What is too many is decided by who asks: see
// smtpd_client_connection_count_limit, the smtpd_client_*_rate_limit parameters,
// mail_max_userip_connections and login_client_auth_failure_limit.
//
// Connections that a process has open when it dies are over. When anvil itself is
// replaced, as at a reload, processes tell the successor of the connections that
// they have open; rates begin anew. While anvil does not answer, nobody is
// refused for what he has too many of.
//
// # Security
//
// Anvil runs under a user without any rights, opens no file and reaches no socket.
// It keeps an entry of some 100 bytes for each client that is connected, or was
// within the time unit.
//
// # Diagnostics
//
// The highest counts and rates, and whose they were, are logged every
// anvil_status_update_time and when the process ends:
//
//	statistics: max connection rate 7/60s for (smtp:192.0.2.7) at Nov 23 10:00:01
//	statistics: max connection count 3 for (smtp:192.0.2.7) at Nov 23 10:00:00
//	statistics: max cache size 4 at Nov 23 10:00:00
//
// # Files
//
//	private/anvil   socket
package main

import (
	"context"
	"net"
	"time"

	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/service"
)

func main() {
	var counters *anvil.Counters
	var unit time.Duration
	service.Main(service.Spec{
		Name:   "anvil",
		Shared: true,
		Before: func(env *service.Env) error {
			unit = params.AnvilRateTimeUnit.In(env.Config)
			env.StayFor(unit) // rates would be lost
			counters = anvil.NewCounters(unit, nil)
			return nil
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			if err := counters.Serve(ctx, c, env.Draining(), env.Waiting); err != nil {
				env.Log.Warningf("%s service: %v", env.Service, err)
			}
		},
		Run: func(_ context.Context, env *service.Env) error {
			tick := time.NewTicker(params.AnvilStatusUpdateTime.In(env.Config))
			defer tick.Stop()
			for range tick.C {
				logStatistics(env.Log, counters.Take(), unit)
			}
			return nil
		},
		Drain: func(env *service.Env) { logStatistics(env.Log, counters.Take(), unit) },
	})
}

// logStatistics writes the lines of Postfix's anvil.
func logStatistics(log *maillog.Logger, s anvil.Statistics, unit time.Duration) {
	const stamp = "Jan _2 15:04:05"
	for _, r := range []struct {
		event anvil.Event
		name  string
	}{{anvil.Connect, "connection"}, {anvil.Message, "message"}, {anvil.Recipient, "recipient"}, {anvil.NewTLS, "newtls"}, {anvil.Auth, "auth"}} {
		if p := s.Rates[r.event]; p.Value > 0 {
			log.Infof("statistics: max %s rate %d/%ds for (%s) at %s", r.name, p.Value, int(unit/time.Second), p.Ident, p.At.Format(stamp))
		}
		if p := s.Count; r.event == anvil.Connect && p.Value > 0 {
			log.Infof("statistics: max connection count %d for (%s) at %s", p.Value, p.Ident, p.At.Format(stamp))
		}
	}
	if p := s.Cached; p.Value > 0 {
		log.Infof("statistics: max cache size %d at %s", p.Value, p.At.Format(stamp))
	}
}
