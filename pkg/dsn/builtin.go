package dsn

import (
	"bufio"
	"strings"
)

// Builtin is the text of one kind of report, as postconf -t shows it.
type Builtin struct {
	Name              string // of the template in Postfix's bounce(5)
	Subject           string
	PostmasterSubject string
	Body              string // lines end in LF; recipients and reasons follow it
}

// BuiltinTexts returns the texts of reports for a host and a postmaster's
// address.
func BuiltinTexts(host, postmaster string) []Builtin {
	var out []Builtin
	for _, t := range []struct {
		name string
		kind Kind
	}{{"failure_template", Failure}, {"delay_template", Delay}, {"success_template", Success}, {"verify_template", Trace}} {
		var s strings.Builder
		b := bufio.NewWriter(&s)
		(&Report{Kind: t.kind, ReportingMTA: host, Postmaster: postmaster}).writeText(b)
		b.Flush()
		out = append(out, Builtin{t.name, texts[t.kind].subject, texts[t.kind].postSubject, strings.ReplaceAll(s.String(), "\r\n", "\n")})
	}
	return out
}
