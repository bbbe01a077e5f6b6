package main

import (
	"fmt"
	"runtime"

	"posthaste/pkg/dsn"
	"posthaste/pkg/lookup"
)

// information prints what the mail system can do.
func (o *options) information() {
	list := func(words ...string) {
		for _, w := range words {
			fmt.Fprintln(o.out, w)
		}
	}
	switch o.what {
	case 'a':
		list("dovecot")
	case 'A':
		// The name that configurations have; the mechanisms are our own.
		list("cyrus")
	case 'l':
		list("flock", "fcntl", "dotlock")
	case 'm':
		list(lookup.Types()...)
	case 'T':
		switch o.library {
		case "compile-version", "run-version":
			list("crypto/tls of " + runtime.Version())
		case "public-key-algorithms":
			list("rsa", "ecdsa", "ed25519")
		default:
			tool.Fatalf("unknown request -T %s: compile-version, run-version or public-key-algorithms expected", o.library)
		}
	case 'b', 't':
		o.templates()
	}
}

// templates prints the texts of reports in the form of bounce(5).
func (o *options) templates() {
	if len(o.args) > 0 {
		tool.Fatalf("%s: bounce messages have built-in texts only; bounce_template_file has no effect", o.args[0])
	}
	host := "$myhostname"
	if o.what == 'b' {
		host = o.load().Get("myhostname")
	}
	for i, t := range dsn.BuiltinTexts(host, "postmaster") {
		if i > 0 {
			fmt.Fprintln(o.out)
		}
		fmt.Fprintf(o.out, "%s = <<EOF\nCharset: us-ascii\nFrom: Mail Delivery System <MAILER-DAEMON>\nSubject: %s\n", t.Name, t.Subject)
		if t.Name == "failure_template" || t.Name == "delay_template" {
			fmt.Fprintf(o.out, "Postmaster-Subject: %s\n", t.PostmasterSubject)
		}
		fmt.Fprintf(o.out, "\n%sEOF\n", t.Body)
	}
}
