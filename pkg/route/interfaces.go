package route

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/config"
)

// InterfacesEnv names an environment variable with this machine's addresses, a
// list as in proxy_interfaces. A parent sets it for programs that run in a
// network namespace of their own, where no interface shows.
const InterfacesEnv = "POSTHASTE_INTERFACES"

// addresses are the addresses that mail for user@[address] is for us.
type addresses struct{ set map[netip.Addr]bool }

// ownAddresses collects the addresses of inet_interfaces and
// proxy_interfaces.
func ownAddresses(inet, proxy []string, warn func(string, ...any)) *addresses {
	a := &addresses{set: map[netip.Addr]bool{}}
	for _, n := range inet {
		switch strings.ToLower(n) {
		case "all":
			for _, ip := range machineAddresses(warn) {
				a.set[ip] = true
			}
		case "loopback-only":
			a.set[netip.MustParseAddr("127.0.0.1")] = true
			a.set[netip.IPv6Loopback()] = true
		default:
			a.add("inet_interfaces", n, warn)
		}
	}
	for _, n := range proxy {
		a.add("proxy_interfaces", n, warn)
	}
	return a
}

func machineAddresses(warn func(string, ...any)) []netip.Addr {
	out := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	if v, ok := os.LookupEnv(InterfacesEnv); ok {
		for _, s := range config.SplitList(v) {
			if ip, err := netip.ParseAddr(s); err == nil {
				out = append(out, ip.Unmap().WithZone(""))
			}
		}
		return out
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		warn("cannot list network interfaces: %v", err)
		return out
	}
	for _, n := range list {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			out = append(out, p.Addr().Unmap().WithZone(""))
		}
	}
	return out
}

// add takes an address, with or without brackets, or a host name.
func (a *addresses) add(param, name string, warn func(string, ...any)) {
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if ip, err := netip.ParseAddr(bare); err == nil {
		a.set[ip.Unmap()] = true
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		warn("%s: host not found: %s: %v", param, name, err)
		return
	}
	for _, ip := range ips {
		a.set[ip.Unmap()] = true
	}
}

// contains takes a domain literal, [192.0.2.1] or [IPv6:2001:db8::1].
func (a *addresses) contains(literal string) bool {
	ip, ok := parseLiteral(literal)
	return ok && a.set[ip.Unmap()]
}

// parseLiteral reads an address literal (RFC 5321, section 4.1.3).
func parseLiteral(s string) (netip.Addr, bool) {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	s = s[1 : len(s)-1]
	six := len(s) > 5 && strings.EqualFold(s[:5], "ipv6:")
	if six {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || ip.Is4() && six || !ip.Is4() && !six {
		return netip.Addr{}, false
	}
	return ip, true
}

// onceSet remembers a bounded number of strings.
type onceSet struct {
	mu  sync.Mutex
	set map[string]bool
}

// first says whether s is new.
func (o *onceSet) first(s string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set[s] || len(o.set) >= 1000 {
		return false
	}
	if o.set == nil {
		o.set = map[string]bool{}
	}
	o.set[s] = true
	return true
}
