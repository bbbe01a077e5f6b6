package lookup

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// network is a pattern of addresses.
type network struct{ netip.Prefix }

// parseNetwork reads an address or net/mask as cidr tables and mynetworks have
// them: 192.0.2.0/24, 2001:db8::/32, [2001:db8::]/32, [2001:db8::/32], [::1].
// Host bits below the mask must be zero.
func parseNetwork(s string) (netip.Prefix, error) {
	text := s
	if strings.HasPrefix(text, "[") {
		i := strings.IndexByte(text, ']')
		if i < 0 || i+1 < len(text) && text[i+1] != '/' {
			return netip.Prefix{}, fmt.Errorf("missing ']' character after network address pattern: %q", s)
		}
		text = text[1:i] + text[i+1:]
	}
	addr, mask, hasMask := strings.Cut(text, "/")
	if strings.IndexByte(addr, '%') >= 0 {
		return netip.Prefix{}, fmt.Errorf("bad address pattern: %q", s)
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		if hasMask {
			return netip.Prefix{}, fmt.Errorf("bad net/mask pattern: %q", s)
		}
		return netip.Prefix{}, fmt.Errorf("bad address pattern: %q", s)
	}
	if !hasMask {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	bits, err := strconv.Atoi(mask)
	if err != nil || bits < 0 || bits > a.BitLen() || mask[0] == '+' || mask[0] == '-' {
		return netip.Prefix{}, fmt.Errorf("bad net/mask pattern: %q", s)
	}
	p := netip.PrefixFrom(a, bits)
	if m := p.Masked(); m != p {
		return netip.Prefix{}, fmt.Errorf("non-null host address bits in %q, perhaps you should use %q instead", s, m.String())
	}
	return p, nil
}

// cidr is a table of networks; the first that contains the key wins.
type cidr struct {
	ownership
	name    string
	rules   []rule
	encoded bool
}

func openCIDR(typ, name string, env *Env, o Options) (Table, error) {
	t := &cidr{name: typ + ":" + name, encoded: o.File}
	b := nesting{rules: &t.rules}
	err := ruleLines(typ, name, env, &t.ownership, func(line string, n int) {
		r, err := parseCIDRRule(line, n, o)
		if err == nil {
			err = b.add(r)
		}
		if err != nil {
			patternWarn(env, typ, name, n, "%v: skipping this rule", err)
		}
	})
	if err != nil {
		return nil, err
	}
	b.finish(func(line int) { patternWarn(env, typ, name, line, "IF has no matching ENDIF") })
	return t, nil
}

func parseCIDRRule(line string, n int, o Options) (rule, error) {
	r := rule{line: n}
	if rest, ok := keyword(line, "endif"); ok {
		r.op = opEndif
		if strings.TrimSpace(rest) != "" {
			return r, fmt.Errorf("garbage after ENDIF")
		}
		return r, nil
	}
	if rest, ok := keyword(line, "if"); ok {
		r.op = opIf
		line = rest
	}
	i := 0
	for ; i < len(line); i++ {
		if line[i] == '!' {
			r.negate = !r.negate
		} else if !isBlank(line[i]) {
			break
		}
	}
	line = strings.TrimSpace(line[i:])
	pat, value := line, ""
	if k := strings.IndexFunc(line, func(c rune) bool { return c < 128 && isBlank(byte(c)) }); k >= 0 {
		pat, value = line[:k], strings.TrimSpace(line[k:])
	}
	if pat == "" {
		return r, fmt.Errorf("no address pattern")
	}
	p, err := parseNetwork(pat)
	if err != nil {
		return r, err
	}
	r.net = &network{p}
	if r.op == opIf {
		if value != "" {
			return r, fmt.Errorf("bad net/mask pattern: %q", line)
		}
		return r, nil
	}
	if value == "" {
		return r, fmt.Errorf("no lookup result")
	}
	if o.File {
		if value, err = encodeFiles(value); err != nil {
			return r, err
		}
	}
	r.value = value
	return r, nil
}

func (t *cidr) Get(key string) (string, bool, error) {
	a, err := netip.ParseAddr(key)
	if err != nil || a.Zone() != "" {
		return "", false, nil
	}
	for i := 0; i < len(t.rules); i++ {
		r := &t.rules[i]
		if r.op == opEndif {
			continue
		}
		// A rule says nothing of the other address family, negated or not.
		hit := r.net.Addr().Is4() == a.Is4() && r.net.Contains(a) != r.negate
		switch {
		case r.op == opIf && !hit:
			i = r.end
		case r.op == opMatch && hit:
			if t.encoded {
				return decodeFile(t.name, r.value)
			}
			return r.value, true, nil
		}
	}
	return "", false, nil
}
func (t *cidr) Name() string  { return t.name }
func (t *cidr) Partial() bool { return false }
func (t *cidr) Close() error  { return nil }
