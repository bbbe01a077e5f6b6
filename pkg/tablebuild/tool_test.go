package tablebuild

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// bench is a directory with a main.cf in which tools are run.
type bench struct {
	t   *testing.T
	dir string
}

func newBench(t *testing.T) *bench {
	b := &bench{t, t.TempDir()}
	b.write("main.cf", "default_database_type = hash\nalias_database = hash:"+b.dir+"/aliases\n")
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// run runs "postmap args" or "postalias args", with DIR standing for the
// directory, and returns status, output and messages in one string.
func (b *bench) run(stdin, args string) string {
	b.t.Helper()
	var out, errs bytes.Buffer
	f := strings.Fields(strings.ReplaceAll(args, "DIR", b.dir))
	tool := Tool{Name: f[0], Alias: f[0] == "postalias", Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs}
	status := tool.Main(append([]string{"-c", b.dir}, f[1:]...))
	return strings.ReplaceAll(fmt.Sprintf("%d|%s|%s", status, out.String(), errs.String()), b.dir, "DIR")
}

func TestPostmap(t *testing.T) {
	b := newBench(t)
	b.write("t", "# comment\nKey value one\n\"a b\"@c\tquoted\nnovalue\nlong value\n  continued\nkey dup\n")
	b.write("file", "content of a file")
	b.write("files", "f DIR/file\ng DIR/none\n")
	b.write("re", "/^subject: (.*)$/ $1\n/^x/ line\n/^content-type: text/ mime\n")
	b.write("bound", "/^--bb/ boundary\n")
	os.WriteFile(b.dir+"/files", []byte("f "+b.dir+"/file\ng "+b.dir+"/none\n"), 0o644)
	b.write("lead", "  /x/ y\n more\n/k/ v\n")
	b.write("twice", "key a\nKEY b\n")
	os.Mkdir(b.dir+"/dir", 0o755)
	const message = "Subject: hello\nContent-Type: multipart/mixed; boundary=\"b\"\n\nx body\n--b\nContent-Type: text/plain\n\nx part\nSubject: not a header\n--b--\nxx\n"
	for _, c := range []struct{ name, stdin, args, want string }{
		{"build", "", "postmap hash:DIR/t", "0||postmap: warning: DIR/t, line 4: expected format: key whitespace value\npostmap: warning: DIR/t, line 7: duplicate entry: \"key\"\n"},
		{"query", "", "postmap -q KEY hash:DIR/t", "0|value one\n|"},
		{"query, default type", "", "postmap -q key DIR/t", "0|value one\n|"},
		{"query, other name of the type", "", "postmap -q key cdb:DIR/t", "0|value one\n|"},
		{"query quoted", "", `postmap -q "a hash:DIR/t`, "1||"},
		{"query missing", "", "postmap -q none hash:DIR/t", "1||"},
		{"query second table", "", "postmap -q none hash:DIR/t static:x", "0|x\n|"},
		{"query from stdin", "key\nnone\nlong\n", "postmap -q - hash:DIR/t", "0|key\tvalue one\nlong\tvalue  continued\n|"},
		{"query from stdin, nothing", "none\n", "postmap -q - hash:DIR/t", "1||"},
		{"json", "", "postmap -jq key hash:DIR/t", "0|{\"key\": \"value one\"}\n|"},
		{"list", "", "postmap -s hash:DIR/t", "0|key\tvalue one\n\"a b\"@c\tquoted\nlong\tvalue  continued\n|"},
		{"ignore duplicates", "", "postmap -w hash:DIR/t", "0||postmap: warning: DIR/t, line 4: expected format: key whitespace value\n"},
		{"replace", "", "postmap -r hash:DIR/t", "0||postmap: warning: DIR/t, line 4: expected format: key whitespace value\n"},
		{"replaced", "", "postmap -q key hash:DIR/t", "0|dup\n|"},
		{"no fold", "", "postmap -fw hash:DIR/t", "0||postmap: warning: DIR/t, line 4: expected format: key whitespace value\n"},
		{"no fold query", "", "postmap -f -q Key hash:DIR/t", "0|value one\n|"},
		{"no fold, folded query", "", "postmap -q Key hash:DIR/t", "0|dup\n|"},
		{"NUL", "", "postmap -Nw hash:DIR/t", "0||postmap: warning: DIR/t, line 4: expected format: key whitespace value\n"},
		{"NUL query", "", "postmap -q key hash:DIR/t", "0|value one\n|"},
		{"increment", "new entry\nkey other\n", "postmap -n -i hash:DIR/t2", "0||"},
		{"increment again", "more x\nkey other2\n", "postmap -i hash:DIR/t2", "0||postmap: warning: stdin, line 2: duplicate entry: \"key\"\n"},
		{"increment replacing", "key other3\n", "postmap -ri hash:DIR/t2", "0||"},
		{"incremented", "", "postmap -s hash:DIR/t2", "0|new\tentry\nmore\tx\nkey\tother3\n|"},
		{"delete", "", "postmap -d NEW hash:DIR/t2", "0||"},
		{"delete missing", "", "postmap -d new hash:DIR/t2", "1||"},
		{"delete from stdin", "more\nnone\n", "postmap -d - hash:DIR/t2", "0||"},
		{"deleted", "", "postmap -s hash:DIR/t2", "0|key\tother3\n|"},
		{"one more table", "key x\n", "postmap -i hash:DIR/t3", "0||"},
		{"delete from all tables", "", "postmap -d key hash:DIR/t2 hash:DIR/t3", "0||"},
		{"deleted from the second", "", "postmap -s hash:DIR/t2 hash:DIR/t3", "0||"},
		{"files", "", "postmap -F hash:DIR/files", "0||postmap: warning: DIR/files, line 2: open DIR/none: no such file or directory: skipping this entry\n"},
		{"files query", "", "postmap -F -q f hash:DIR/files", "0|content of a file\n|"},
		{"files, raw", "", "postmap -q f hash:DIR/files", "0|Y29udGVudCBvZiBhIGZpbGU=\n|"},
		{"header", message, "postmap -h -q - regexp:DIR/re", "0|Subject: hello\thello\n|"},
		{"header and body", message, "postmap -hb -q - regexp:DIR/re", "0|Subject: hello\thello\nx body\tline\nContent-Type: text/plain\tmime\nx part\tline\nSubject: not a header\tnot a header\nxx\tline\n|"},
		{"mime headers", message, "postmap -hm -q - regexp:DIR/re", "0|Subject: hello\thello\nContent-Type: text/plain\tmime\n|"},
		{"body", message, "postmap -bm -q - regexp:DIR/re", "0|x body\tline\nx part\tline\nSubject: not a header\tnot a header\nxx\tline\n|"},
		{"boundaries are body", "Content-Type: multipart/mixed; boundary=bb\n\n--bb\n\n--bb--\n", "postmap -bm -q - regexp:DIR/bound", "0|--bb\tboundary\n--bb--\tboundary\n|"},
		{"-m alone", "xx\n", "postmap -m -q - regexp:DIR/re", "0|xx\tline\n|postmap: warning: ignoring -m option without -b or -h\n"},
		{"leading white space", "", "postmap hash:DIR/lead", "0||postmap: warning: DIR/lead, line 1: logical line must not start with whitespace: \"  /x/ y more\"\n"},
		{"leading white space, listed", "", "postmap -s hash:DIR/lead", "0|/k/\tv\n|"},
		{"leading white space in patterns", "", "postmap -q x regexp:DIR/lead", "1||postmap: warning: regexp map DIR/lead, line 1: logical line must not start with whitespace: \"  /x/ y more\"\n"},
		{"leading white space in text", "", "postmap -q /k/ texthash:DIR/lead", "0|v\n|postmap: warning: DIR/lead, line 1: logical line must not start with whitespace: \"  /x/ y more\"\n"},
		{"directory", "", "postmap hash:DIR/dir", "1||postmap: fatal: read DIR/dir: is a directory\n"},
		{"directory as text", "", "postmap -q x texthash:DIR/dir", "1||postmap: fatal: table texthash:DIR/dir: read DIR/dir: is a directory\n"},
		{"the last of two in the name counts", "", "postmap -q a inline:{a=b,a=c}", "0|c\n|postmap: warning: table inline:{a=b,a=c}: duplicate entry: \"a\"\n"},
		{"the first of two in a file counts", "", "postmap -q key texthash:DIR/twice", "0|a\n|postmap: warning: DIR/twice, line 2: duplicate entry: \"KEY\"\n"},
		{"no file", "", "postmap hash:DIR/none", "1||postmap: fatal: open DIR/none: no such file or directory\n"},
		{"not an index", "", "postmap texthash:DIR/t", "1||postmap: fatal: unsupported map type for this operation: texthash\n"},
		{"unknown type", "", "postmap -q x nosuch:DIR/t", "1||postmap: fatal: table nosuch:DIR/t: unsupported table type \"nosuch\"\n"},
		{"proxy", "", "postmap proxy:hash:DIR/t", "1||postmap: fatal: can't create maps via the proxy service\n"},
		{"failing", "", "postmap -q x fail:y", "1||postmap: fatal: table fail:y: query error: always fails\n"},
		{"two modes", "", "postmap -q x -s hash:DIR/t", "1||postmap: fatal: specify only one of -d -i -q or -s\n"},
		{"list a pattern table", "", "postmap -s regexp:DIR/re", "1||postmap: fatal: table regexp:DIR/re: sequence operation is not supported\n"},
		{"-h alone", "", "postmap -h -q x regexp:DIR/re", "1||postmap: fatal: specify -b -h or -m only with \"-q -\"\n"},
	} {
		if got := b.run(c.stdin, c.args); got != c.want {
			t.Errorf("%s: %s\n got %q\nwant %q", c.name, c.args, got, c.want)
		}
	}
	if got := b.run("", "postmap -Z x"); !strings.HasPrefix(got, "1||postmap: fatal: invalid option -- 'Z'\nusage: postmap ") {
		t.Errorf("unknown option: %q", got)
	}
}

// TestProblemsAreLogged looks for what went wrong in the mail log: tables are
// often built by scripts whose standard error nobody reads.
func TestProblemsAreLogged(t *testing.T) {
	b := newBench(t)
	b.write("main.cf", "maillog_file = "+b.dir+"/log\n")
	b.write("t", "novalue\n")
	b.run("", "postmap hash:DIR/t")
	b.run("", "postmap hash:DIR/none")
	b.run("", "postalias -q x regexp:DIR/t")
	log, err := os.ReadFile(b.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"postfix/postmap[", "]: warning: " + b.dir + "/t, line 1: expected format: key whitespace value\n",
		"]: fatal: open " + b.dir + "/none: no such file or directory\n",
		"postfix/postalias[", "]: warning: regexp map " + b.dir + "/t, line 1: ",
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestPostalias(t *testing.T) {
	b := newBench(t)
	b.write("aliases", "Root: alice,\n  bob\nlist: \"|/bin/prog -x\"\nbad@x: y\n")
	for _, c := range []struct{ args, want string }{
		{"postalias", "0||postalias: warning: DIR/aliases, line 4: name must be local and have no domain\n"},
		{"postalias -q root hash:DIR/aliases", "0|alice, bob\n|"},
		{"postalias -s hash:DIR/aliases", "0|root:\talice, bob\nlist:\t\"|/bin/prog -x\"\n@:\t@\n|"},
		{"postalias -d list hash:DIR/aliases", "0||"},
		{"postalias -q list hash:DIR/aliases", "1||"},
		{"postalias -F hash:DIR/aliases", "1||postalias: fatal: invalid option -- 'F'\nusage: postalias [-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...\n"},
	} {
		if got := b.run("", c.args); got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.args, got, c.want)
		}
	}
}

func TestModeAndOwner(t *testing.T) {
	b := newBench(t)
	b.write("secret", "k v\n")
	name := b.dir + "/secret"
	mode := func(flags string, want os.FileMode) {
		t.Helper()
		if got := b.run("", "postmap "+flags+" hash:DIR/secret"); got != "0||" {
			t.Fatal(got)
		}
		if st, err := os.Stat(name + ".cdb"); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", flags, st.Mode(), err, want)
		}
	}
	os.Chmod(name, 0o600)
	mode("", 0o600)
	mode("-p", 0o644)
	os.Chmod(name, 0o660)
	mode("", 0o640)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: the owner's rights can be tested by root alone")
	}
	if err := os.Chown(b.dir, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	// The parents of a test's directory are for root alone.
	for d := filepath.Dir(b.dir); d != os.TempDir() && len(d) > 4; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	os.Chown(name, 12345, 12346)
	os.Remove(name + ".cdb")
	mode("", 0o640)
	st, err := os.Stat(name + ".cdb")
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 12346 {
		t.Errorf("the index belongs to %d:%d", s.Uid, s.Gid)
	}
	if os.Geteuid() != 0 || os.Getegid() != 0 {
		t.Error("root's rights were not taken back")
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	b := newBench(t)
	b.run("start x\n", "postmap -i hash:DIR/t")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := Update("hash", b.dir+"/t", strings.NewReader(fmt.Sprintf("key%d v\n", i)), "stdin", Options{}); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if n := strings.Count(b.run("", "postmap -s hash:DIR/t"), "\n"); n != 9 {
		t.Errorf("%d entries, want 9", n)
	}
	left, err := os.ReadDir(b.dir)
	if err != nil || len(left) != 2 { // main.cf and the index
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func BenchmarkBuild(b *testing.B) {
	dir := b.TempDir()
	var s strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&s, "user%d@example%d.com value-%d\n", i, i%100, i)
	}
	if err := os.WriteFile(dir+"/t", []byte(s.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Build("cdb", dir+"/t", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
