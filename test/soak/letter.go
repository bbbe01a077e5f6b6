package main

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"

	"posthaste/test/tools/imaptalk"
)

// A message is known by its token, from which all of it follows: its octets,
// and the flags that it comes with. The token's first letter says how it came:
// "a" by APPEND, "d" by SMTP, "f" by the foreign program.

func seedOf(token string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(token))
	return h.Sum64()
}

// text is the message with CRLF line ends. One in sixteen of those appended has
// lines that end in LF alone, which must come back the same.
func text(token string) string {
	n := seedOf(token)
	var b strings.Builder
	fmt.Fprintf(&b, "From: someone <%s@sender.test>\r\nTo: all@local.test\r\nSubject: message %s\r\n"+
		"Date: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%s@sender.test>\r\nX-Token: %s\r\nMIME-Version: 1.0\r\n", token, token, token, token)
	b.WriteString("Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n\r\n")
	lines := int(n % 40)
	if n%97 == 0 {
		lines = 3000
	}
	end := "\r\n"
	if token[0] == 'a' && n%16 == 1 {
		end = "\n"
	}
	for i := range lines {
		fmt.Fprintf(&b, "%s line %d: the quick brown fox jumps over the lazy dog%s", token, i, end)
	}
	fmt.Fprintf(&b, "\r\n--b\r\nContent-Type: text/plain; charset=gb2312\r\nContent-Transfer-Encoding: base64\r\n\r\nu+HS6Q==\r\n--b--\r\nend of %s\r\n", token)
	return b.String()
}

// flagNames are all flags that take part, the keywords included.
var flagNames = [...]string{`\Answered`, `\Deleted`, `\Draft`, `\Flagged`, `\Seen`, "$Forwarded", "$Work", "alpha", "beta", "gamma"}

const deleted = 1 // index of \Deleted

// flagLetters are those of Maildir file names, by index; 0 where there is none.
var flagLetters = [len(flagNames)]byte{'R', 'T', 'D', 'F', 'S'}

// flags is a set of them.
type flags uint16

// parseFlags reads a list; ok is false if a flag is none of ours. \Recent is no
// property of a message and left out.
func parseFlags(list []imaptalk.Value) (f flags, ok bool) {
	ok = true
next:
	for _, v := range list {
		if strings.EqualFold(v.S, `\Recent`) {
			continue
		}
		for i, n := range flagNames {
			if strings.EqualFold(n, v.S) {
				f |= 1 << i
				continue next
			}
		}
		ok = false
	}
	return f, ok
}

func (f flags) String() string {
	var l []string
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			l = append(l, n)
		}
	}
	return "(" + strings.Join(l, " ") + ")"
}

// first is the flags that the token's message comes with. Never \Deleted: a
// message is to be seen by somebody before it goes.
func first(token string) flags {
	if token[0] == 'd' {
		return 0
	}
	f := flags(seedOf(token)>>8) & (1<<len(flagNames) - 1) &^ (1 << deleted)
	if token[0] == 'f' { // only what letters can say
		f &= 1<<5 - 1
	}
	return f
}

// letters is the flags as a Maildir name has them.
func (f flags) letters() string {
	var b []byte
	for _, c := range "DFRST" {
		for i, l := range flagLetters {
			if l == byte(c) && f&(1<<i) != 0 {
				b = append(b, l)
			}
		}
	}
	return string(b)
}

var tokenLine = regexp.MustCompile(`(?im)^X-Token: (\S+)\r?$`)

func tokenOf(header string) string {
	if m := tokenLine.FindStringSubmatch(header); m != nil {
		return m[1]
	}
	return ""
}

// wrongText says what is wrong with a message's octets, or "". To what came by
// SMTP the server has added lines at the top.
func wrongText(token, got string) string {
	want := text(token)
	if got == want {
		return ""
	}
	if token[0] == 'd' {
		if head, ok := strings.CutSuffix(got, want); ok && !strings.Contains(head, "\r\n\r\n") && strings.HasSuffix(head, "\r\n") {
			return ""
		}
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("%d octets, %d expected; they differ from octet %d on: %.80q", len(got), len(want), i, got[i:])
}
