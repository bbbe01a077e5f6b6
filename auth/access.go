package main

import (
	"fmt"
	"net/netip"
	"strings"

	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/passwd"
)

// denial is a refusal of the right password. The client cannot tell it from a
// wrong one.
type denial string

func (d denial) Error() string        { return string(d) }
func (d denial) Is(target error) bool { return target == sasl.ErrCredentials }

// allowed applies the extra fields of a user's line that restrict who may log
// in, and from where (Dovecot's passdb extra fields).
func allowed(path string, u *passwd.User, ip string) error {
	for _, f := range u.Extra {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "nologin":
			return denial("login is not allowed (nologin)")
		case "allow_nets":
			if in, err := inNets(ip, value); err != nil {
				return fmt.Errorf("%w: %s, line %d, user %q: allow_nets: %v", sasl.ErrTemporary, path, u.Line, u.Name, err)
			} else if !in {
				return denial("client is not in allow_nets")
			}
		case "proxy", "proxy_maybe", "host", "user", "login_user", "master_user", "allow_real_nets":
			// They name another user or server, or a restriction: to go on would be wrong.
			return fmt.Errorf("%w: %s, line %d, user %q: the extra field %q is not supported", sasl.ErrTemporary, path, u.Line, u.Name, name)
		}
	}
	return nil
}

// inNets tells whether a client is in a list of addresses and networks,
// separated by commas; "local" is a client without an address.
func inNets(ip, nets string) (bool, error) {
	a, err := netip.ParseAddr(ip)
	a = a.Unmap().WithZone("")
	found := false
	for _, n := range strings.Split(nets, ",") {
		if n == "local" {
			found = found || ip == ""
			continue
		}
		if !strings.Contains(n, "/") {
			one, bad := netip.ParseAddr(n)
			if bad != nil {
				return false, fmt.Errorf("%q is neither an address nor a network", n)
			}
			found = found || err == nil && one.Unmap() == a
			continue
		}
		p, bad := netip.ParsePrefix(n)
		if bad != nil {
			return false, fmt.Errorf("%q is neither an address nor a network", n)
		}
		found = found || err == nil && p.Contains(a)
	}
	return found, nil
}
