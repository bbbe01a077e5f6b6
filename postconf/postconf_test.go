package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "postconf")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "postconf")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s\n", out)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// TestScripts runs the scripts of testdata. A script is a series of sections:
//
//	-- NAME --          a file
//	$ postconf ARGS     a command; its output follows: standard output, then
//	                    standard error with "! " before each line, then the
//	                    status, if it is not 0, as "exit N"
//	$ cat NAME          a file's text
//
// @ stands for the configuration directory.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, name := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := script(t, string(want))
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs: run with -update and read the difference\n%s", name, difference(string(want), got))
			}
		})
	}
}

func script(t *testing.T, text string) string {
	dir := t.TempDir()
	var out strings.Builder
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		switch {
		case strings.HasPrefix(l, "-- "):
			var b strings.Builder
			out.WriteString(l)
			for i+1 < len(lines) && !strings.HasPrefix(lines[i+1], "$ ") && !strings.HasPrefix(lines[i+1], "-- ") {
				i++
				b.WriteString(lines[i])
				out.WriteString(lines[i])
			}
			file := strings.Trim(l, "- \n")
			if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.ReplaceAll(b.String(), "@", dir)), 0o644); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(l, "$ "):
			for i+1 < len(lines) && !strings.HasPrefix(lines[i+1], "$ ") && !strings.HasPrefix(lines[i+1], "-- ") {
				i++ // the old output
			}
			out.WriteString(l)
			out.WriteString(strings.ReplaceAll(execute(t, dir, strings.TrimSpace(l[2:])), dir, "@"))
		default:
			out.WriteString(l)
		}
	}
	return out.String()
}

func execute(t *testing.T, dir, line string) string {
	args := words(line)
	if args[0] == "cat" {
		b, err := os.ReadFile(filepath.Join(dir, args[1]))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	c := exec.Command(binary, args[1:]...)
	c.Env = append(os.Environ(), "MAIL_CONFIG="+dir, "POSTHASTE_INTERFACES=127.0.0.1/8 192.0.2.7/24 ::1/128")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	s := stdout.String()
	for _, l := range strings.SplitAfter(stderr.String(), "\n") {
		if l != "" {
			s += "! " + l
		}
	}
	if err != nil {
		s += fmt.Sprintf("exit %d\n", c.ProcessState.ExitCode())
	}
	return s
}

// words splits at blanks outside of single quotes.
func words(s string) (out []string) {
	var b strings.Builder
	quoted, any := false, false
	for _, r := range s + " " {
		switch {
		case r == '\'':
			quoted, any = !quoted, true
		case r == ' ' && !quoted:
			if any {
				out = append(out, b.String())
			}
			b.Reset()
			any = false
		default:
			b.WriteRune(r)
			any = true
		}
	}
	return out
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d:\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return ""
}

// TestEveryParameter checks that every parameter can be shown in every way.
func TestEveryParameter(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"-d", "-dx", "-dh", "-dH", "-df", "-x", "-p"} {
		out := execute(t, dir, "postconf "+mode)
		if strings.Contains(out, "! ") || strings.Contains(out, "exit") {
			t.Errorf("%s: %s", mode, out[strings.Index(out, "! "):])
		}
		if n := strings.Count(out, "\n"); n < 961 {
			t.Errorf("%s: %d lines", mode, n)
		}
	}
	// The defaults are those without main.cf, whose level is 0.
	for args, want := range map[string]string{"-dx": "yes", "-x": "no"} {
		if out := execute(t, dir, "postconf "+args+" append_dot_mydomain"); out != "append_dot_mydomain = "+want+"\n" {
			t.Errorf("%s: %s", args, out)
		}
	}
}
