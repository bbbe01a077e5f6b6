package service

import (
	"slices"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

// networkFor names the parameter that makes a program need Internet sockets
// which its row in the privilege table does not have: a policy or
// authentication server, or a table, that is asked over TCP. "" is the usual
// case.
func networkFor(cfg *config.Config, program string) string {
	classes := params.SmtpdRestrictionClasses.List(cfg)
	for _, name := range cfg.ExplicitNames() {
		lists := strings.HasSuffix(name, "_restrictions") || slices.Contains(classes, name)
		v, err := cfg.Lookup(name)
		if err != nil || !strings.Contains(v, "inet:") && !strings.Contains(v, "tcp:") {
			continue
		}
		for _, w := range config.SplitList(v) {
			for _, w := range append(config.SplitList(w), w) { // check_policy_service { inet:…, … }
				w = strings.TrimPrefix(w, "proxy:")
				switch {
				case strings.HasPrefix(w, "socketmap:inet:"), strings.HasPrefix(w, "tcp:"):
					return name
				case program == "smtpd" && strings.HasPrefix(w, "inet:") && (lists || name == params.SmtpdSaslPath.Name):
					return name
				}
			}
		}
	}
	return ""
}
