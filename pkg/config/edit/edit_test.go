package edit

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"posthaste/pkg/config"
)

func TestSettings(t *testing.T) {
	const text = "# head\na = 1\n\n# about b\nb = x,\n# inside\n  y\n# tail\n\nc = 3\na = 9\n  more\n"
	for _, tc := range []struct {
		name string
		s    []Setting
		want string
	}{
		{"replace", []Setting{{Set, "c", "4"}}, strings.Replace(text, "c = 3", "c = 4", 1)},
		{"duplicates", []Setting{{Set, "a", "2"}}, "# head\na = 2\n\n# about b\nb = x,\n# inside\n  y\n# tail\n\nc = 3\n"},
		{"multi-line", []Setting{{Set, "b", "z"}}, "# head\na = 1\n\n# about b\nb = z\n# inside\n# tail\n\nc = 3\na = 9\n  more\n"},
		{"add", []Setting{{Set, "d", "5"}, {Set, "e", ""}}, text + "d = 5\ne =\n"},
		{"last of two", []Setting{{Set, "d", "5"}, {Set, "d", "6"}}, text + "d = 6\n"},
		{"comment", []Setting{{Comment, "b", ""}}, "# head\na = 1\n\n# about b\n#b = x,\n# inside\n#  y\n# tail\n\nc = 3\na = 9\n  more\n"},
		{"remove", []Setting{{Remove, "a", ""}}, "# head\n\n# about b\nb = x,\n# inside\n  y\n# tail\n\nc = 3\n"},
		{"nothing", []Setting{{Remove, "zz", ""}}, text},
	} {
		if got := Main(text, tc.s); got != tc.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tc.name, got, tc.want)
		}
	}
	if got := Main("a = 1", []Setting{{Set, "b", "2"}}); got != "a = 1\nb = 2\n" {
		t.Errorf("no final newline: %q", got)
	}
	if got := Main("  lost\na = 1\n", []Setting{{Set, "a", "2"}}); got != "  lost\na = 2\n" {
		t.Errorf("leading continuation: %q", got)
	}
}

func TestMaster(t *testing.T) {
	const text = "# head\nsmtp inet n - n - - smtpd\n  -o a=b\n# mid\nsmtp unix - - n - - smtp\n"
	for _, tc := range []struct {
		name string
		c    []Service
		want string
	}{
		{"replace", []Service{{Set, "smtp", "inet", "smtp inet n - y - - smtpd"}}, "# head\nsmtp inet n - y - - smtpd\n# mid\nsmtp unix - - n - - smtp\n"},
		{"add", []Service{{Set, "x", "unix", "x unix - - n - - local"}}, text + "x unix - - n - - local\n"},
		{"comment", []Service{{Comment, "smtp", "inet", ""}}, "# head\n#smtp inet n - n - - smtpd\n#  -o a=b\n# mid\nsmtp unix - - n - - smtp\n"},
		{"remove", []Service{{Remove, "smtp", "unix", ""}}, "# head\nsmtp inet n - n - - smtpd\n  -o a=b\n# mid\n"},
	} {
		if got := Master(text, tc.c); got != tc.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tc.name, got, tc.want)
		}
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "main.cf")
	if err := File(path, false, func(s string) (string, error) { return s, nil }); err == nil {
		t.Error("missing file: no error")
	}
	if err := os.WriteFile(path, []byte("# keep\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	// Edits at the same time are all kept.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := File(path, false, func(s string) (string, error) {
				return Main(s, []Setting{{Set, "p" + string(rune('a'+i)), "x"}}), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	text, err := config.ReadFile(path)
	if err != nil || strings.Count(text, "\n") != 9 || !strings.HasPrefix(text, "# keep\n") {
		t.Errorf("%q, %v", text, err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", st.Mode())
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("%d files left, want 1", len(list))
	}
	// A symbolic link stays one.
	link := filepath.Join(t.TempDir(), "main.cf")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := File(link, false, func(string) (string, error) { return "new\n", nil }); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Lstat(link); st.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

// FuzzMain checks that an edit changes what it names and nothing else.
func FuzzMain(f *testing.F) {
	for _, s := range []string{"a = 1\nb = 2\n", "a = 1\n# c\n  2\n\nb=\n", " x\na = 1", "#\n\n", "a\n = 1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, errs := config.ParseAll("m", text, config.Options{Dir: "/"})
		if len(errs) > 0 {
			return
		}
		after, errs := config.ParseAll("m", Main(text, []Setting{{Set, "a", "new"}}), config.Options{Dir: "/"})
		if len(errs) > 0 {
			t.Fatalf("%q became unreadable: %v", text, errs)
		}
		if v, _, _ := after.Explicit("a"); v != "new" {
			t.Errorf("%q: a = %q", text, v)
		}
		for _, n := range before.ExplicitNames() {
			v, _, _ := before.Explicit(n)
			if w, _, ok := after.Explicit(n); n != "a" && (!ok || v != w) {
				t.Errorf("%q: %s was %q, is %q, %v", text, n, v, w, ok)
			}
		}
	})
}
