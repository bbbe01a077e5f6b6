package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// DomainToASCII returns a domain with each label that is not ASCII in its
// A-label form (RFC 5891), lower-cased first. Labels are taken to be in
// normal form C otherwise, as they are in what keyboards produce; the full
// tables of UTS 46 would cost every program more than the rest of this
// package.
func DomainToASCII(domain string) (string, error) {
	if !utf8.ValidString(domain) {
		return "", fmt.Errorf("domain %q is not UTF-8", excerpt(domain))
	}
	labels := strings.Split(domain, ".")
	for i, l := range labels {
		if strings.IndexFunc(l, func(r rune) bool { return r >= 0x80 }) < 0 {
			continue
		}
		if utf8.RuneCountInString(l) > 63 {
			return "", fmt.Errorf("label %q of a domain is too long", excerpt(l))
		}
		a := "xn--" + punycode([]rune(strings.ToLower(l)))
		if len(a) > 63 {
			return "", fmt.Errorf("label %q of a domain is too long", excerpt(l))
		}
		labels[i] = a
	}
	return strings.Join(labels, "."), nil
}

// punycode encodes a label (RFC 3492).
func punycode(label []rune) string {
	const base, tmin, tmax, skew, damp = 36, 1, 26, 38, 700
	n, delta, bias := rune(128), 0, 72
	var out []byte
	for _, r := range label {
		if r < 128 {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	for h := basic; h < len(label); {
		m := rune(utf8.MaxRune)
		for _, r := range label {
			if r >= n && r < m {
				m = r
			}
		}
		delta += int(m-n) * (h + 1)
		n = m
		for _, r := range label {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tmin), tmax)
				if q < t {
					break
				}
				out = append(out, digit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			out = append(out, digit(q))
			// Adapt the bias (RFC 3492, section 6.1).
			if h == basic {
				delta /= damp
			} else {
				delta /= 2
			}
			h++
			delta += delta / h
			k := 0
			for ; delta > (base-tmin)*tmax/2; k += base {
				delta /= base - tmin
			}
			bias = k + (base-tmin+1)*delta/(delta+skew)
			delta = 0
		}
		delta++
		n++
	}
	return string(out)
}

func digit(d int) byte { return "abcdefghijklmnopqrstuvwxyz0123456789"[d] }
