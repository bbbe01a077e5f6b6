package service

import (
	"testing"

	"posthaste/pkg/config"
)

// TestOverrides: a setting from master.cf comes out as it was written there,
// whatever braces its value has.
func TestOverrides(t *testing.T) {
	for _, c := range []struct{ arg, name, value string }{
		{"a=b", "a", "b"},
		{"a = b c", "a", "b c"},
		{"a=", "a", ""},
		{"{ a = b c }", "a", "b c"},
		{"smtpd_client_restrictions=check_client_access,inline:{x=REJECT}", "smtpd_client_restrictions", "check_client_access,inline:{x=REJECT}"},
		{"smtpd_client_restrictions = check_client_access inline:{x=REJECT, y=OK}", "smtpd_client_restrictions", "check_client_access inline:{x=REJECT, y=OK}"},
		{"{ a = static:{4.7.1 later} }", "a", "static:{4.7.1 later}"},
		{"a=${b?{c}:{d}}", "a", "${b?{c}:{d}}"},
	} {
		got, err := parseArgs([]string{"-n", "smtp", "-o", c.arg, "rest"}, config.Position{})
		if err != nil || len(got.overrides) != 1 || len(got.rest) != 1 {
			t.Errorf("-o %s: %+v, %v", c.arg, got, err)
			continue
		}
		if o := got.overrides[0]; o.Name != c.name || o.Value != c.value {
			t.Errorf("-o %s: %q = %q, want %q = %q", c.arg, o.Name, o.Value, c.name, c.value)
		}
	}
	for _, arg := range []string{"", "a", "{ a }", "=b"} {
		if _, err := parseArgs([]string{"-o", arg}, config.Position{}); err == nil {
			t.Errorf("-o %q: no error", arg)
		}
	}
}
