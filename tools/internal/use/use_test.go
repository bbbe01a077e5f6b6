package use

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFresh(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	want, err := Generate(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, File))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale (%v): run make generate", File, err)
	}
}

func TestUsed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module x\n")
	write("pkg/params/a.go", `package params
import "posthaste/pkg/config"
var SmtpdTimeout = config.Time{Name: "smtpd_timeout"}
var AliasMaps = config.String{Name: "alias_maps"}
var MailName = config.String{Name: "mail_name"}
`)
	write("smtpd/main.go", `package main
//params:use lmtp_tls_CA*
func main() {
	params.SmtpdTimeout.In(c)
	c.Get("syslog_name")
	f("destination_rate_delay")
	c.Get("nosuch")
}
`)
	write("smtpd/main_test.go", "package main\nvar _ = params.AliasMaps\n")
	write("postconf/main.go", "package main\nvar _ = params.MailName\n")
	got, err := Used(dir)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, n := range got {
		set[n] = true
	}
	for name, want := range map[string]bool{
		"smtpd_timeout": true, "stress": true, "syslog_name": true, "multi_instance_name": true,
		"transport_destination_rate_delay": true, "default_destination_rate_delay": true,
		"alias_maps": false, "mail_name": false,
	} {
		if set[name] != want {
			t.Errorf("%s: used %v, want %v", name, set[name], want)
		}
	}
	write("smtpd/bad.go", "package main\n//params:use nosuch_*\n")
	if _, err := Used(dir); err == nil {
		t.Error("a directive that matches nothing: no error")
	}
}
