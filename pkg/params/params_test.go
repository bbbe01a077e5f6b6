package params

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"posthaste/pkg/config"
)

// TestAll holds the list in order and complete: each declaration of the
// package is in it once.
func TestAll(t *testing.T) {
	names := map[string]bool{}
	last := ""
	for _, d := range All {
		n := d.Decl().Name
		if n <= last {
			t.Errorf("all.go: %s must not come after %s", n, last)
		}
		last, names[n] = n, true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	goNames := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i := range v.Values {
				lit, ok := v.Values[i].(*ast.CompositeLit)
				if !ok {
					continue
				}
				if sel, ok := lit.Type.(*ast.SelectorExpr); ok && sel.Sel.Name != "Declared" {
					goNames[v.Names[i].Name] = true
				}
			}
			return true
		})
	}
	if len(goNames) != len(All) {
		t.Errorf("%d declarations, %d in All", len(goNames), len(All))
	}
	if n := len(postfixNames(t)); n != 961 {
		t.Errorf("%d names of Postfix, want 961", n)
	}
}

// postfixNames are the names that are not our own.
func postfixNames(t *testing.T) []string {
	t.Helper()
	own := map[string]bool{}
	f, err := parser.ParseFile(token.NewFileSet(), "posthaste.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if kv, ok := n.(*ast.KeyValueExpr); ok {
			if k, ok := kv.Key.(*ast.Ident); ok && k.Name == "Name" {
				own[strings.Trim(kv.Value.(*ast.BasicLit).Value, `"`)] = true
			}
		}
		return true
	})
	var out []string
	for _, d := range All {
		if !own[d.Decl().Name] {
			out = append(out, d.Decl().Name)
		}
	}
	return out
}

// TestDefaults checks that each default is a value that its own declaration
// accepts, at both ends of the compatibility levels.
func TestDefaults(t *testing.T) {
	for _, level := range []string{"0", "3.11"} {
		c, err := config.Parse("/etc/x/main.cf", "compatibility_level = "+level+"\n", config.Options{Known: All, Program: "p", Service: "s"})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range All {
			decl := d.Decl()
			if decl.Type == "raw" {
				continue
			}
			v, err := c.Lookup(decl.Name)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			if v == "" && decl.Default == "" {
				continue
			}
			if err := d.Check(v); err != nil {
				t.Errorf("level %s: %s = %s: %v", level, decl.Name, v, err)
			}
		}
	}
}

// TestReferences checks that defaults refer to names that exist.
func TestReferences(t *testing.T) {
	runtime := []string{"stress", "home", "recipient_delimiter", "extension", "rbl_code", "rbl_class", "rbl_what", "rbl_domain", "rbl_reason"}
	for _, d := range All {
		for _, n := range config.References(d.Decl().Default) {
			_, ok := slices.BinarySearchFunc(All, n, func(d config.Declared, n string) int { return strings.Compare(d.Decl().Name, n) })
			if !ok && !slices.Contains(runtime, n) {
				t.Errorf("%s: default refers to %s, which does not exist", d.Decl().Name, n)
			}
		}
	}
}

func TestNotes(t *testing.T) {
	handling := regexp.MustCompile(`^(|accept-ignore|accept-mostly-ignore|accept-approximate|alias|computed|removed)$`)
	for _, d := range All {
		if e := d.Decl(); !handling.MatchString(e.Handling) {
			t.Errorf("%s: unknown handling %q", e.Name, e.Handling)
		}
	}
	for _, n := range used {
		i := slices.IndexFunc(All, func(d config.Declared) bool { return d.Decl().Name == n })
		if i < 0 {
			t.Errorf("used.go: %s is not declared", n)
			continue
		}
		// postconf(5) is made from it.
		if note := All[i].Decl().Note; note == "" || strings.HasSuffix(note, ".") || strings.TrimSpace(note) != note {
			t.Errorf("%s: the note must be a sentence without a full stop: %q", n, note)
		}
	}
	if !IsUsed("myhostname") || IsUsed("nosuch") {
		t.Error("IsUsed")
	}
}

// BenchmarkStart is what a daemon pays for its configuration when it starts.
func BenchmarkStart(b *testing.B) {
	const text = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmydestination = $myhostname, localhost.$mydomain,\n  localhost\n" +
		"mynetworks = 127.0.0.0/8\nsmtpd_tls_security_level = may\nalias_maps = hash:/etc/aliases\n"
	b.ReportAllocs()
	for b.Loop() {
		c, err := config.Parse("main.cf", text, config.Options{Known: All})
		if err != nil {
			b.Fatal(err)
		}
		SmtpdTimeout.In(c)
		MessageSizeLimit.In64(c)
		Mydestination.List(c)
		AppendDotMydomain.In(c)
		SmtpdRelayRestrictions.List(c)
		LocalRecipientMaps.In(c)
	}
}
