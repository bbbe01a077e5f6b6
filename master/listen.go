package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"posthaste/pkg/config"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/params"
)

// backlog is how many connections the kernel keeps while a process starts or
// is at its session limit; net.core.somaxconn caps it.
const backlog = 4096

// ports are the service names of mail, for systems without /etc/services.
var ports = map[string]int{"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465, "qmqp": 628, "lmtp": 24,
	"pop3": 110, "pop3s": 995, "imap": 143, "imap2": 143, "imaps": 993, "sieve": 4190, "managesieve": 4190}

// inetAddrs lists the addresses that an inet service listens on.
func inetAddrs(cfg *config.Config, name string) ([]netip.AddrPort, error) {
	host, service := "", name
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		host, service = strings.Trim(name[:i], "[]"), name[i+1:]
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		var ok bool
		if port, ok = ports[service]; !ok {
			if port, err = net.LookupPort("tcp", service); err != nil {
				return nil, fmt.Errorf("unknown service name or port %q", service)
			}
		}
	}
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("port %d is out of range", port)
	}
	hosts := []string{host}
	if host == "" {
		hosts = params.InetInterfaces.List(cfg)
	}
	v4, v6 := protocols(params.InetProtocols.In(cfg))
	var out []netip.AddrPort
	add := func(a netip.Addr) {
		ap := netip.AddrPortFrom(a.Unmap(), uint16(port))
		if ap.Addr().Is4() && !v4 || ap.Addr().Is6() && !v6 {
			return
		}
		for _, x := range out {
			if x == ap {
				return
			}
		}
		out = append(out, ap)
	}
	for _, h := range hosts {
		switch h {
		case "all":
			add(netip.IPv4Unspecified())
			if haveIPv6() {
				add(netip.IPv6Unspecified())
			}
		case "loopback-only":
			add(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
			if haveIPv6() {
				add(netip.IPv6Loopback())
			}
		default:
			h = strings.Trim(h, "[]")
			if a, err := netip.ParseAddr(h); err == nil {
				add(a)
				continue
			}
			ips, err := net.LookupIP(h)
			if err != nil {
				return nil, fmt.Errorf("inet_interfaces: %w", err)
			}
			for _, ip := range ips {
				if a, ok := netip.AddrFromSlice(ip); ok && (a.Unmap().Is4() || haveIPv6()) {
					add(a)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no address to listen on: inet_interfaces = %s, inet_protocols = %s", params.InetInterfaces.In(cfg), params.InetProtocols.In(cfg))
	}
	return out, nil
}

func protocols(v string) (v4, v6 bool) {
	for _, p := range config.SplitList(v) {
		switch p {
		case "all":
			return true, true
		case "ipv4":
			v4 = true
		case "ipv6":
			v6 = true
		}
	}
	return v4, v6
}

func haveIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

// listenTCP opens a listening socket. Plain TCP: Landlock's rules do not see
// Multipath TCP.
func listenTCP(ap netip.AddrPort) (int, error) {
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	if ap.Addr().Is4() {
		family = unix.AF_INET
		sa = &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if family == unix.AF_INET6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", ap, err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen %s: %w", ap, err)
	}
	return fd, nil
}

// listenUnix opens a service's socket below the queue directory, replacing
// what a killed master left. The directory's mode says who can reach it, the
// daemon checks who the peer is.
func listenUnix(path string) (int, error) {
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&os.ModeSocket == 0 {
			return -1, fmt.Errorf("%s: exists and is not a socket", path)
		}
		if err := os.Remove(path); err != nil {
			return -1, err
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// The path may be longer than a socket address holds; the working
	// directory is the queue directory.
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", path, err)
	}
	if err := os.Chmod(path, 0666); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen %s: %w", path, err)
	}
	return fd, nil
}

// listenSpec says what a service listens on, in a form that can be compared
// across a reload.
func listenSpec(cfg *config.Config, e *mastercf.Entry) ([]string, error) {
	if isSessionProgram(e.Command) {
		return nil, nil
	}
	switch e.Type {
	case "inet":
		addrs, err := inetAddrs(cfg, e.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: service %s: %w", e.Pos, e.Name, err)
		}
		var l []string
		for _, a := range addrs {
			l = append(l, "inet:"+a.String())
		}
		return l, nil
	case "unix", "pass", "fifo": // pickup and qmgr were FIFOs until Postfix 3.0
		dir := "public"
		if e.Private {
			dir = "private"
		}
		return []string{"unix:" + filepath.Join(dir, e.Name)}, nil
	}
	return nil, fmt.Errorf("%s: service %s: type %q is not supported", e.Pos, e.Name, e.Type)
}

func listen(spec string) (int, error) {
	kind, addr, _ := strings.Cut(spec, ":")
	if kind == "unix" {
		return listenUnix(addr)
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return -1, err
	}
	return listenTCP(ap)
}

// vanished says that a service's socket is no longer under its name: a reload
// makes it again.
func vanished(spec []string) bool {
	for _, sp := range spec {
		if path, ok := strings.CutPrefix(sp, "unix:"); ok {
			if _, err := os.Lstat(path); os.IsNotExist(err) {
				return true
			}
		}
	}
	return false
}

func closeAll(fds []int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
}
