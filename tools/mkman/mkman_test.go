package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"posthaste/pkg/config"
	"posthaste/tools/internal/use"
)

func made(t *testing.T) (root string, pages map[string][]byte) {
	t.Helper()
	root, err := use.Root()
	if err != nil {
		t.Fatal(err)
	}
	if pages, err = generate(root); err != nil {
		t.Fatal(err)
	}
	return root, pages
}

// TestFresh fails when a page differs from what its sources say.
func TestFresh(t *testing.T) {
	root, pages := made(t)
	for _, name := range sortedKeys(pages) {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(got, pages[name]) {
			t.Errorf("%s is stale (%v): run make generate", name, err)
		}
	}
	old, err := stored(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if pages[name] == nil {
			t.Errorf("%s has no source: run make generate", name)
		}
	}
}

// TestReferences holds the pages to mention none that does not exist.
func TestReferences(t *testing.T) {
	_, pages := made(t)
	for _, name := range sortedKeys(pages) {
		for _, m := range boldReference.FindAllStringSubmatch(string(pages[name]), -1) {
			page := strings.ToLower(m[1])
			if pages["man/man"+m[2]+"/"+page+"."+m[2]] == nil {
				t.Errorf("%s: mentions %s(%s), which does not exist", name, m[1], m[2])
			}
		}
	}
}

// TestSections checks that each program's page has what a manual needs.
func TestSections(t *testing.T) {
	_, pages := made(t)
	for _, name := range sortedKeys(pages) {
		text := string(pages[name])
		if strings.HasPrefix(text, ".so ") {
			continue
		}
		for _, want := range []string{".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if !strings.Contains(name, "man5") && !strings.Contains(text, ".SH SECURITY\n") && !strings.HasSuffix(name, "posthaste.1") {
			t.Errorf("%s does not say what the program may do (Security)", name)
		}
	}
}

// TestParameters checks the lists that the pages have of parameters: what the
// program's own code or code that it calls reads is there, what only other code
// of the same packages reads is not.
func TestParameters(t *testing.T) {
	_, pages := made(t)
	for _, tt := range []struct {
		page, param string
		want        bool
	}{
		{"man8/smtpd.8", "smtpd_timeout", true},
		{"man8/smtpd.8", "smtpd_tls_cert_file", true}, // pkg/tlsconf
		{"man8/smtpd.8", "smtp_tls_cert_file", false}, // the client's half of it
		{"man8/smtpd.8", "smtpd_data_restrictions", true},
		{"man8/smtpd.8", "mailbox_size_limit", false},
		{"man8/smtp.8", "smtp_connect_timeout", true},
		{"man8/smtp.8", "lmtp_connect_timeout", false},
		{"man8/lmtp.8", "lmtp_connect_timeout", true},
		{"man8/local.8", "mailbox_size_limit", true},
		{"man8/virtual.8", "mailbox_size_limit", false},
		{"man8/qmgr.8", "transport_destination_rate_delay", true},
		{"man8/qmgr.8", "relayhost", true},
		{"man8/showq.8", "relayhost", false},
		{"man1/postqueue.1", "authorized_mailq_users", true},
		{"man1/postcat.1", "authorized_mailq_users", false},
		{"man5/postconf.5", "smtpd_timeout", true},
	} {
		if got := strings.Contains(string(pages["man/"+tt.page]), "\n\\fB"+tt.param+" ("); got != tt.want {
			t.Errorf("%s: lists %s: %v, want %v", tt.page, tt.param, got, tt.want)
		}
	}
}

// TestReference checks that postconf(5) has every name once.
func TestReference(t *testing.T) {
	_, pages := made(t)
	words := strings.FieldsFunc(string(pages["man/man5/postconf.5"]), func(r rune) bool { return strings.ContainsRune(" \n,\\", r) })
	seen := map[string]bool{}
	for _, w := range words {
		seen[strings.TrimPrefix(w, "fB")] = true
	}
	for _, n := range allNames() {
		if !seen[n] {
			t.Errorf("postconf(5) lacks %s", n)
		}
	}
}

// TestLint has mandoc judge the pages.
func TestLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	root, _ := made(t)
	files, err := stored(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(filepath.Join(root, f)); err != nil || bytes.HasPrefix(b, []byte(".so ")) {
			continue // the links of packages replace these
		}
		if out, err := exec.Command(mandoc, "-Tlint", "-Wwarning", filepath.Join(root, f)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestPage(t *testing.T) {
	p, err := parsePage("frob", 8, `Frob is the frobber of x. It's fast.

Usage: frob [-v] file

More of [it], see smtpd(8).

.dots at the start stay text; so does a \ backslash

	code -x	y
	.z

# A heading

  - one
  - two
`)
	if err != nil {
		t.Fatal(err)
	}
	p.at("CONFIGURATION PARAMETERS").entry("n-a (default: -1)", "Text.")
	d := config.ReleaseDate
	want := `.\" Made by tools/mkman: do not edit.
.TH FROB 8 ` + d[:4] + "-" + d[4:6] + "-" + d[6:] + ` "Posthaste ` + config.Version + `"
.nh
.ad l
.SH NAME
frob \- the frobber of x
.SH SYNOPSIS
frob [\-v] file
.SH DESCRIPTION
It\(aqs fast.
.PP
More of [it], see \fBsmtpd\fR(8).
.PP
\&.dots at the start stay text; so does a \e backslash
.PP
.nf
.RS 4
code \-x y
\&.z
.RE
.fi
.SH "A HEADING"
.IP \(bu 4
one
.IP \(bu 4
two
.SH "CONFIGURATION PARAMETERS"
.TP
\fBn\-a (default: \-1)\fR
Text.
.SH "SEE ALSO"
.BR smtpd (8)
`
	if got := string(p.render()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, bad := range []string{"", "\tcode first\n", "Other is the wrong name."} {
		if _, err := parsePage("frob", 8, bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestSentence(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"how long to wait":         "How long to wait.",
		"transport:nexthop of all": "transport:nexthop of all.",
		"smtpd_timeout for others": "smtpd_timeout for others.",
		"\"yes\" when busy":        "\"yes\" when busy.",
	} {
		if got := sentence(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
