package conf

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/params"
	"posthaste/pkg/tablebuild"
)

// warnings fails a test for each line that is logged.
type warnings struct{ t *testing.T }

func (w warnings) Write(_ maillog.Severity, _ string, _ int, text string) {
	w.t.Errorf("logged: %s", text)
}

// example is a line that is there to be uncommented.
var example = regexp.MustCompile(`(?m)^#(\S)`)

// TestTables has the samples read by those who read them in use: as they are,
// and with their examples in force.
func TestTables(t *testing.T) {
	entries, err := Tables.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string]map[string]string{
		"access":    {"192.0.2": "REJECT", "suspect@example.net": "HOLD", "Bad.example.com": "REJECT we have had enough of your mail"},
		"aliases":   {"postmaster": "root", "root": "anna", "ticket": `"|/usr/local/bin/ticket --new"`, "owner-news": "bob"},
		"canonical": {"anna": "anna.schmidt@example.com", "@old.example": "@example.com"},
		"generic":   {"@box.localdomain": "office@example.com"},
		"header_checks": {
			"Received: from [192.168.1.1] by x":                      "IGNORE",
			"Subject: your invoice is here":                          "HOLD invoice",
			"Subject: your involvement":                              "",
			"List-Id: News <news.example.com>":                       "INFO newsletter",
			"Content-Type: application/x-msdownload; name=\"a.exe\"": "REJECT programs are not accepted here",
			"Content-Type: text/plain; name=\"a.executive.txt\"":     "",
		},
		"relocated": {"bob": "bob.miller@example.org, or by telephone 555 0100"},
		"transport": {"example.org": ":[gateway.example.org]", "noreply@example.com": "discard:"},
		"virtual":   {"info@example.com": "anna, bob@example.net", "@example.org": "@example.com"},
	}
	for _, e := range entries {
		name := e.Name()
		text, err := Tables.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if queries[name] == nil {
			t.Errorf("%s: no queries", name)
		}
		for _, long := range strings.Split(string(text), "\n") {
			if len(long) > 130 {
				t.Errorf("%s: long line: %s", name, long)
			}
		}
		for _, active := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				src := string(text)
				if active {
					src = example.ReplaceAllString(src, "$1")
				}
				table := open(t, name, src)
				defer table.Close()
				for key, want := range queries[name] {
					if !active && want != "root" {
						want = ""
					}
					if got, ok, err := table.Get(key); got != want || ok != (want != "") || err != nil {
						t.Errorf("%q: got %q %v (%v), want %q", key, got, ok, err, want)
					}
				}
			})
		}
	}
}

func open(t *testing.T, name, src string) lookup.Table {
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	typ := "regexp"
	if name != "header_checks" {
		typ = "cdb"
		o := tablebuild.Options{Alias: name == "aliases", Warn: t.Errorf}
		if err := tablebuild.Build(typ, file, o); err != nil {
			t.Fatal(err)
		}
	}
	table, err := lookup.Open(typ+":"+file, &lookup.Env{Log: maillog.New("test", warnings{t})})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestStock reads main.cf and master.cf, with their examples in force too.
func TestStock(t *testing.T) {
	comment := regexp.MustCompile(`(?m)^#([a-z]|  -o |  flags=)`)
	for _, active := range []bool{false, true} {
		main, master := MainCF, MasterCF
		if active {
			main, master = comment.ReplaceAllString(main, "$1"), comment.ReplaceAllString(master, "$1")
		}
		c, err := config.Parse("main.cf", main, config.Options{Known: params.All})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.ExplicitNames() {
			d, ok := c.Declared(name)
			if !ok || !params.IsUsed(name) {
				t.Errorf("main.cf sets %s, which does nothing", name)
				continue
			}
			if v, err := c.Lookup(name); err != nil || d.Check(v) != nil {
				t.Errorf("main.cf: %s = %s: %v %v", name, v, err, d.Check(v))
			}
		}
		f, errs := mastercf.Parse("master.cf", master, c)
		if len(errs) > 0 || len(f.Warnings) > 0 {
			t.Errorf("master.cf: %v %v", errs, f.Warnings)
		}
		for _, e := range f.Entries {
			for _, o := range e.Overrides {
				if !params.IsUsed(o.Name) {
					t.Errorf("%s: %s does nothing", e.Pos, o.Name)
				}
			}
			if e.Type == "unix" && e.Command == "pipe" && !active {
				t.Errorf("%s: an example is in force", e.Pos)
			}
		}
	}
}
