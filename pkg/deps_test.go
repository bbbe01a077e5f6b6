// Package pkg holds no code: its test states which package may use which, and
// what each program may link. "It is a statement of policy."
package pkg

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// outside names who may import each module that is not ours, so that a change
// there is a change in one place here. Tests may use any.
var outside = map[string][]string{
	"github.com/emersion/go-message": {"pkg/mimepart", "pkg/smtpclient", "pkg/dsn", "imapd"},
	"github.com/emersion/go-sasl":    {"pkg/sasl", "tools/submit", "tools/imapshow"},
	"github.com/emersion/go-smtp":    {"tools/submit"},
	"github.com/fsnotify/fsnotify":   {"pkg/maildir/store"},
	"github.com/go-crypt/crypt":      {"pkg/sasl/passwd"},
	"github.com/go-crypt/x":          {"pkg/sasl/passwd"},
	"github.com/google/renameio/v2":  {"pkg/cdb", "pkg/config/edit", "pkg/tablebuild", "posthaste"},
	"github.com/miekg/dns":           {"pkg/dnsclient", "pkg/proto/resolver", "resolver"},
	"github.com/xdg-go/scram":        {"pkg/sasl"},
	"github.com/xdg-go/stringprep":   {"pkg/sasl/passwd"},
	"go.elara.ws/pcre":               {"pkg/lookup"},
	"modernc.org/libc":               {"pkg/lookup"},
	"golang.org/x/crypto":            {"pkg/sasl/passwd"},
	"golang.org/x/net":               {"pkg/dnsclient", "pkg/address", "pkg/route", "pkg/esmtp", "pkg/tlsconf", "pkg/config"},
	"golang.org/x/text":              {"pkg/mimepart", "pkg/sasl", "pkg/sasl/passwd", "imapd", "pkg/lookup"},
	"github.com/emersion/go-imap/v2": {},
}

// forbidden links, by program; "*" is every daemon.
var forbidden = map[string][]string{
	"*":      {"net/http", "C", "plugin"},
	"master": {"crypto/tls", "github.com/miekg/dns", "os/exec", "posthaste/pkg/lookup"},
	"login":  {"posthaste/pkg/queue", "posthaste/pkg/maildir"},
	"imapd":  {"os/exec", "crypto/tls", "posthaste/pkg/queue"},
	"pop3d":  {"os/exec", "crypto/tls", "posthaste/pkg/queue"},
	"smtpd":  {"posthaste/pkg/maildir", "posthaste/pkg/mbox", "posthaste/pkg/spawn"},
	"smtp":   {"posthaste/pkg/maildir", "posthaste/pkg/mbox", "posthaste/pkg/spawn"},
	"auth":   {"os/exec", "posthaste/pkg/queue", "posthaste/pkg/maildir"},
}

type goPackage struct {
	ImportPath string
	Name       string
	Module     *struct{ Path string }
	Standard   bool
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Module,Standard,Imports,Deps"}, args...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var l []goPackage
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return l
		} else if err != nil {
			t.Fatal(err)
		}
		l = append(l, p)
	}
}

func TestImports(t *testing.T) {
	all := list(t, "./...")
	module := map[string]string{}
	for _, p := range list(t, "-deps", "./...") {
		if p.Module != nil && p.Module.Path != "posthaste" {
			module[p.ImportPath] = p.Module.Path
		}
	}
	programs := map[string]bool{}
	for _, p := range all {
		if p.Name == "main" {
			programs[p.ImportPath] = true
		}
	}
	for _, p := range all {
		short := strings.TrimPrefix(p.ImportPath, "posthaste/")
		if strings.HasPrefix(short, "test/") {
			continue
		}
		for _, i := range p.Imports {
			if programs[i] {
				t.Errorf("%s imports the program %s", short, i)
			}
			m := module[i]
			if m == "" {
				continue
			}
			if m == "golang.org/x/sys" {
				continue // the system's interface, like package syscall
			}
			who, ok := outside[m]
			if !ok {
				t.Errorf("%s imports %s, of a module that this test does not know", short, i)
			} else if !slices.Contains(who, short) {
				t.Errorf("%s imports %s; only %v may", short, i, who)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	for _, p := range list(t, "./...") {
		short := strings.TrimPrefix(p.ImportPath, "posthaste/")
		if p.Name != "main" || strings.Contains(short, "/") {
			continue
		}
		for _, f := range append(slices.Clone(forbidden["*"]), forbidden[short]...) {
			if slices.Contains(p.Deps, f) {
				t.Errorf("%s links %s", short, f)
			}
		}
	}
}

// TestRoadMap: every program is in the README, and every folder that the README
// links to exists.
func TestRoadMap(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	mains, err := filepath.Glob("../*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatal(err, mains)
	}
	for _, m := range mains {
		name := filepath.Base(filepath.Dir(m))
		if !strings.Contains(string(readme), "["+name+"]("+name+")") {
			t.Errorf("%s is not in README.md's road map", name)
		}
	}
	for _, part := range strings.Split(string(readme), "](")[1:] {
		link, _, _ := strings.Cut(part, ")")
		if strings.Contains(link, "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join("..", link)); err != nil {
			t.Errorf("README.md links to %s, which is not there", link)
		}
	}
}
