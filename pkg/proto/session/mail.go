package session

import (
	"fmt"
	"strconv"
	"strings"
)

// Quota is what the user may store, from the quota_rule fields for all mailboxes
// ("quota_rule=*:bytes=1G:messages=1000", storage= counting KiB as Dovecot does);
// 0 means no limit.
func (g *Grant) Quota() (bytes, messages int64, err error) {
	for _, f := range g.Extra {
		rule, ok := strings.CutPrefix(f, "quota_rule=")
		if !ok {
			continue
		}
		box, limits, _ := strings.Cut(rule, ":")
		if box != "*" {
			continue // rules for single folders are not known here
		}
		for _, l := range strings.Split(limits, ":") {
			key, v, _ := strings.Cut(l, "=")
			unit := int64(1)
			if key == "storage" {
				unit = 1024
			}
			n, ok := size(v, unit)
			switch {
			case !ok || key != "bytes" && key != "storage" && key != "messages":
				return 0, 0, fmt.Errorf("bad %q", f)
			case key == "messages":
				messages = n
			default:
				bytes = n
			}
		}
	}
	return bytes, messages, nil
}

// size reads a number with an optional unit B, K, M, G, T; unit is that of a
// bare number.
func size(s string, unit int64) (int64, bool) {
	if s == "" {
		return 0, false
	}
	i := strings.IndexByte("bkmgt", s[len(s)-1]|0x20)
	if i >= 0 {
		unit = 1 << (10 * i)
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, false
	}
	return n * unit, true
}
