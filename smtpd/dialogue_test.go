package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDialogues plays the files in testdata: see testdata/README.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Split("\n"+string(b), "\n== ")[1:] {
			title, body, _ := strings.Cut(c, "\n")
			t.Run(filepath.Base(name)+"/"+title, func(t *testing.T) { play(t, name, body) })
		}
	}
}

func play(t *testing.T, name, body string) {
	var set strings.Builder
	lines := strings.Split(body, "\n")
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "set "); ok {
			set.WriteString(rest + "\n")
		}
	}
	f := start(t, set.String())
	var p *peer
	for n, l := range lines {
		cmd, arg, _ := strings.Cut(l, " ")
		switch cmd {
		case "", "set", "#":
			continue
		case "connect":
			p = f.dial()
		case "C:":
			p.send(arg + "\r\n")
		case "C\"":
			raw, err := strconv.Unquote(`"` + arg)
			if err != nil {
				t.Fatalf("%s: line %d: %v", name, n, err)
			}
			p.send(raw)
		case "S:":
			if got := p.reply(); !matches(got, arg) {
				t.Errorf("line %d: got %q, want %q", n, got, arg)
			}
		case "close":
			if got := p.line(); got != "EOF" {
				t.Errorf("line %d: got %q, want the connection closed", n, got)
			}
		case "hangup":
			p.c.Close()
		case "queued":
			if got := strconv.Itoa(len(f.queued())); got != arg {
				t.Errorf("line %d: %s messages queued, want %s", n, got, arg)
			}
		case "content":
			want, err := strconv.Unquote(arg)
			m := f.queued()
			if err != nil || len(m) == 0 {
				t.Fatalf("line %d: %v, %d messages", n, err, len(m))
			}
			if got := string(m[len(m)-1].content); got != want {
				t.Errorf("line %d: content %q, want %q", n, got, want)
			}
		case "log", "nolog":
			p.c.Close()
			f.done()
			if found := strings.Contains(f.log(), arg); found != (cmd == "log") {
				t.Errorf("line %d: %s %q; the log is\n%s", n, cmd, arg, f.log())
			}
		default:
			t.Fatalf("%s: unknown directive %q", name, l)
		}
	}
}
