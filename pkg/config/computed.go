package config

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Version and ReleaseDate are the values of mail_version and
// mail_release_date; a release sets them when it is linked.
var (
	Version     = "0.1"
	ReleaseDate = "20261123"
)

// InterfacesVariable is the environment variable in which master tells its
// programs the addresses of the machine (those of InterfaceList), since a
// program in a network namespace of its own cannot see them.
const InterfacesVariable = "POSTHASTE_INTERFACES"

// computed returns the default of the parameters that depend on the system;
// stack holds the names whose expansion asked for it.
func (c *Config) computed(name string, stack []string) (string, bool) {
	switch name {
	case "config_directory":
		return c.dir, true
	case "process_id":
		return strconv.Itoa(os.Getpid()), true
	case "process_name":
		return c.program, true
	case "service_name":
		return c.service, true
	case "mail_version":
		return Version, true
	case "mail_release_date":
		return ReleaseDate, true
	case "myhostname":
		return c.hostname(push(stack, name)), true
	case "mydomain":
		return c.domain(push(stack, name)), true
	case "mynetworks":
		return c.networks(push(stack, name)), true
	}
	return "", false
}

// hostname is the system's name, with the domain appended when it has none.
func (c *Config) hostname(stack []string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	if strings.IndexByte(host, '.') >= 0 {
		return host
	}
	domain := "localdomain"
	// A mydomain that is itself made of $myhostname says nothing here.
	if s, ok := c.set["mydomain"]; ok && s.value != "" && !slices.Contains(References(s.value), "myhostname") {
		if v, err := c.lookup("mydomain", stack); err == nil && v != "" {
			domain = v
		}
	}
	return host + "." + domain
}

// domain is myhostname without its first label.
func (c *Config) domain(stack []string) string {
	host, err := "", error(nil)
	if s, ok := c.set["myhostname"]; ok {
		// myhostname = mail.$mydomain is the usual mutual reference; then the
		// system's name decides.
		if slices.Contains(References(s.value), "mydomain") {
			host, _ = os.Hostname()
		} else {
			host, err = c.lookup("myhostname", stack)
		}
	} else {
		host = c.hostname(stack)
	}
	if _, d, ok := strings.Cut(host, "."); ok && err == nil && d != "" {
		return d
	}
	return "localdomain"
}

// networks is the default of mynetworks by mynetworks_style: the machine's
// own addresses (host), their networks (subnet) or the classes that these
// belong to (class).
func (c *Config) networks(stack []string) string {
	style, err := c.lookup("mynetworks_style", stack)
	if err != nil {
		style = "host"
	}
	var out []string
	for _, p := range c.interfaces(stack) {
		a := p.Addr()
		bits := p.Bits()
		switch strings.ToLower(style) {
		case "subnet":
		case "class":
			if a.Is4() {
				switch b := a.As4()[0]; {
				case b < 128:
					bits = 8
				case b < 192:
					bits = 16
				case b < 224:
					bits = 24
				default:
					bits = 32
				}
			}
		default:
			bits = a.BitLen()
		}
		n, err := a.WithZone("").Prefix(bits)
		if err != nil {
			continue
		}
		s := n.String()
		if a.Is6() {
			s = "[" + n.Addr().String() + "]/" + strconv.Itoa(n.Bits())
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// Interfaces returns the machine's own addresses with the length of their
// networks, as inet_interfaces and inet_protocols select them, IPv4 first.
// Addresses that inet_interfaces names but no interface has come with their
// full length.
func (c *Config) Interfaces() []netip.Prefix { return c.interfaces(nil) }

func (c *Config) interfaces(stack []string) []netip.Prefix {
	want4, want6 := c.families(stack)
	all := SystemInterfaces()
	spec, _ := c.lookup("inet_interfaces", stack)
	var out []netip.Prefix
	add := func(p netip.Prefix) {
		if a := p.Addr(); (a.Is4() && want4 || a.Is6() && want6) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, word := range SplitList(spec) {
		switch strings.ToLower(word) {
		case "all":
			for _, p := range all {
				add(p)
			}
			continue
		case "loopback-only":
			for _, p := range all {
				if p.Addr().IsLoopback() {
					add(p)
				}
			}
			continue
		}
		for _, a := range hostAddrs(word) {
			p := netip.PrefixFrom(a, a.BitLen())
			for _, q := range all {
				if q.Addr().WithZone("") == a {
					p = q
				}
			}
			add(p)
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return out
}

// families says which protocols inet_protocols names.
func (c *Config) families(stack []string) (four, six bool) {
	v, err := c.lookup("inet_protocols", stack)
	if err != nil || v == "" {
		return true, true
	}
	for _, w := range SplitList(v) {
		switch strings.ToLower(w) {
		case "all":
			return true, true
		case "ipv4":
			four = true
		case "ipv6":
			six = true
		}
	}
	return four, six
}

// hostAddrs reads an address, with or without brackets. A name is looked up
// in the files that need no network; a name that is unknown there gives
// nothing.
func hostAddrs(word string) []netip.Addr {
	w := strings.TrimSuffix(strings.TrimPrefix(word, "["), "]")
	if a, err := netip.ParseAddr(w); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	if strings.EqualFold(w, "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	var out []netip.Addr
	data, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) > 1 && slices.ContainsFunc(f[1:], func(n string) bool { return strings.EqualFold(n, w) }) {
			if a, err := netip.ParseAddr(f[0]); err == nil {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

// SystemInterfaces returns the addresses of all interfaces that are up, with
// the length of their networks: those that master hands down, else what the
// system says.
func SystemInterfaces() []netip.Prefix {
	var out []netip.Prefix
	if v, ok := os.LookupEnv(InterfacesVariable); ok {
		for _, w := range strings.Fields(v) {
			if p, err := netip.ParsePrefix(w); err == nil {
				out = append(out, p)
			}
		}
		return out
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			ones, _ := n.Mask.Size()
			out = append(out, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return out
}

// InterfaceList is the value for InterfacesVariable.
func InterfaceList() string {
	var out []string
	for _, p := range SystemInterfaces() {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}
