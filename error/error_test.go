package main

import (
	"testing"

	"posthaste/pkg/envelope"
)

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		name, nexthop string
		retry         bool
		status        envelope.Status
		dsn, reason   string
	}{
		{"plain reason", "no such domain", false, envelope.Bounced, "5.0.0", "no such domain"},
		{"with a code", "5.1.2 moved away", false, envelope.Bounced, "5.1.2", "moved away"},
		{"soft code in a hard failure", "4.7.1 no", false, envelope.Bounced, "5.7.1", "no"},
		{"hard code in a deferral", "5.7.1 wait", true, envelope.Deferred, "4.7.1", "wait"},
		{"number that is no code", "5.1 things", false, envelope.Bounced, "5.0.0", "5.1 things"},
		{"empty", "", true, envelope.Deferred, "4.0.0", "mail is undeliverable"},
		{"only a code", "5.1.1", false, envelope.Bounced, "5.1.1", "mail is undeliverable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := outcome(c.nexthop, c.retry)
			if o.Status != c.status || o.DSN != c.dsn || o.Reason != c.reason {
				t.Errorf("outcome(%q, %v) = %v %q %q, want %v %q %q", c.nexthop, c.retry, o.Status, o.DSN, o.Reason, c.status, c.dsn, c.reason)
			}
		})
	}
}
