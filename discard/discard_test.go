package main

import (
	"testing"

	"posthaste/pkg/envelope"
)

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		name, nexthop string
		verify        bool
		status        envelope.Status
		dsn, reason   string
	}{
		{"reason", "nobody reads this", false, envelope.Discarded, "2.0.0", "nobody reads this"},
		{"code", "5.7.1 away with it", false, envelope.Discarded, "2.7.1", "away with it"},
		{"none", "", false, envelope.Discarded, "2.0.0", "delivered to the bit bucket"},
		{"sendmail -bv", "x", true, envelope.Deliverable, "2.0.0", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := outcome(c.nexthop, c.verify)
			if o.Status != c.status || o.DSN != c.dsn || o.Reason != c.reason {
				t.Errorf("outcome(%q) = %v %q %q, want %v %q %q", c.nexthop, o.Status, o.DSN, o.Reason, c.status, c.dsn, c.reason)
			}
		})
	}
}
