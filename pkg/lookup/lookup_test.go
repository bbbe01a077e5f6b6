package lookup

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"posthaste/pkg/cdb"
	"posthaste/pkg/maillog"
)

// logged collects what tables log.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(_ maillog.Severity, _ string, _ int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
}

func (l *logged) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(s string) bool { return strings.Contains(s, part) })
}

func testEnv() (*Env, *logged) {
	l := &logged{}
	return &Env{Log: maillog.New("test", l)}, l
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func compile(t testing.TB, name string, pairs ...string) {
	t.Helper()
	w, err := cdb.Create(name+IndexSuffix, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if _, err := w.Put([]byte(pairs[i]), []byte(pairs[i+1]), cdb.KeepFirst); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, spec string, env *Env) Table {
	t.Helper()
	tab, err := Open(spec, env)
	if err != nil {
		t.Fatalf("Open(%s): %v", spec, err)
	}
	t.Cleanup(func() { tab.Close() })
	return tab
}

// TestConformance holds every type of table to the same rules: with the entry
// "one" = "1" they find it in any case, miss other keys without an error, keep
// their name, and answer many askers at a time.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	compile(t, dir+"/index", "one", "1")
	write(t, dir+"/text", "# comment\none 1\n")
	write(t, dir+"/regexp", "/^one$/ 1\n")
	write(t, dir+"/pcre", "/^one(?!x)$/ 1\n")
	t.Setenv("one", "1")
	for _, c := range []struct {
		spec           string
		partial, exact bool
	}{
		{"cdb:" + dir + "/index", true, false},
		{"hash:" + dir + "/index", true, false},
		{"btree:" + dir + "/index", true, false},
		{"lmdb:" + dir + "/index", true, false},
		{"dbm:" + dir + "/index", true, false},
		{"proxy:hash:" + dir + "/index", true, false},
		{"texthash:" + dir + "/text", true, false},
		{"inline:{one=1}", true, false},
		{"inline:{{one = 1}, two=2}", true, false},
		{"regexp:" + dir + "/regexp", false, false},
		{"regexp:{{/^one$/ 1}}", false, false},
		{"pcre:" + dir + "/pcre", false, false},
		{"environ:", true, true},
		{"pipemap:{inline:{one=x}, inline:{x=1}}", true, false},
		{"unionmap:{inline:{two=2}, inline:{one=1}}", true, false},
		{"unionmap:{inline:{two=2}, regexp:{{/^one$/ 1}}}", false, false},
		{"debug:inline:{one=1}", true, false},
	} {
		t.Run(c.spec[:min(len(c.spec), 12)], func(t *testing.T) {
			env, _ := testEnv()
			tab := mustOpen(t, c.spec, env)
			if want := strings.TrimPrefix(c.spec, "proxy:"); tab.Name() != want {
				t.Errorf("Name() = %q, want %q", tab.Name(), want)
			}
			if tab.Partial() != c.partial {
				t.Errorf("Partial() = %v", tab.Partial())
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for range 50 {
						if v, ok, err := tab.Get("one"); v != "1" || !ok || err != nil {
							t.Errorf("Get(one) = %q, %v, %v", v, ok, err)
						}
						if v, ok, err := tab.Get("ONE"); !c.exact && (v != "1" || !ok || err != nil) {
							t.Errorf("Get(ONE) = %q, %v, %v", v, ok, err)
						}
						for _, k := range []string{"three", "", "on", "onex", strings.Repeat("k", 5000), "a\x00b", "\xff"} {
							if v, ok, err := tab.Get(k); ok || err != nil {
								t.Errorf("Get(%.10q) = %q, %v, %v", k, v, ok, err)
							}
						}
					}
				}()
			}
			wg.Wait()
		})
	}
}

func TestStaticRandomFail(t *testing.T) {
	env, _ := testEnv()
	for spec, want := range map[string]string{"static:all": "all", "static:a:b": "a:b", "static:{ two words }": "two words"} {
		if v, ok, err := mustOpen(t, spec, env).Get("any"); v != want || !ok || err != nil {
			t.Errorf("%s: %q, %v, %v", spec, v, ok, err)
		}
	}
	tab := mustOpen(t, "randmap:{a, {b c}}", env)
	for range 50 {
		if v, ok, err := tab.Get("x"); v != "a" && v != "b c" || !ok || err != nil {
			t.Fatalf("randmap: %q, %v, %v", v, ok, err)
		}
	}
	if _, ok, err := mustOpen(t, "fail:x", env).Get("k"); ok || err == nil || !strings.Contains(err.Error(), "fail:x") {
		t.Errorf("fail: %v, %v", ok, err)
	}
}

func TestOpenErrors(t *testing.T) {
	env, _ := testEnv()
	for _, spec := range []string{"nosuch:x", "texthash:/does/not/exist", "inline:x", "inline:{novalue}", "inline:{}", "pipemap:{x}", "pipemap:{}", "randmap:{}",
		"unix:shadow.byname", "regexp:/does/not/exist", "cidr:/does/not/exist", "socketmap:x", "tcp:x", "debug:x", "static:{x", "inline:{{a=b} x=y"} {
		if tab, err := Open(spec, env); err == nil {
			t.Errorf("Open(%s) = %v, no error", spec, tab)
		} else if !strings.Contains(err.Error(), strings.SplitN(spec, ":", 2)[0]) {
			t.Errorf("Open(%s): error does not name the table: %v", spec, err)
		}
	}
	if _, err := Open("nosuch:x", nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("unknown type: %v", err)
	}
}

func TestMapsDegrade(t *testing.T) {
	env, log := testEnv()
	m, err := OpenMaps("transport_maps", "inline:{a=1}, texthash:/does/not/exist inline:{b=2}", env)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := m.Get("a"); v != "1" || !ok || err != nil {
		t.Errorf("first table: %q, %v, %v", v, ok, err)
	}
	if _, ok, err := m.Get("b"); ok || err == nil {
		t.Errorf("a table that cannot be opened was passed over: %v, %v", ok, err)
	}
	if !log.has("transport_maps") {
		t.Errorf("not logged: %q", log.lines)
	}
	if m, err := OpenMaps("x", " ", env); err != nil || !m.Empty() {
		t.Errorf("empty: %v, %v", m, err)
	}
	var none *Maps
	if _, ok, err := none.Get("a"); ok || err != nil || !none.Empty() || none.Close() != nil {
		t.Error("a nil Maps is not empty")
	}
}

// at makes tables look at their files at every query.
func at(t testing.TB, every int64) {
	was, wasRetry := checkEvery, retryEvery
	checkEvery, retryEvery = every, every
	t.Cleanup(func() { checkEvery, retryEvery = was, wasRetry })
}

func TestIndexReplacedWhileInUse(t *testing.T) {
	at(t, 0)
	dir := t.TempDir()
	name := dir + "/t"
	compile(t, name, "key", "v0", "fix", "f")
	env, _ := testEnv()
	tab := mustOpen(t, "hash:"+name, env)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, ok, err := tab.Get("key")
				var n int
				if _, serr := fmt.Sscanf(v, "v%d", &n); serr != nil || !ok || err != nil || n < last {
					t.Errorf("Get = %q, %v, %v after v%d", v, ok, err, last)
					return
				}
				last = n
			}
		}()
	}
	for i := 1; i <= 50; i++ {
		compile(t, name, "key", fmt.Sprintf("v%d", i), "fix", "f")
		if v, _, err := tab.Get("key"); v != fmt.Sprintf("v%d", i) || err != nil {
			t.Errorf("after build %d: %q, %v", i, v, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestIndexThatIsMissingAtFirst(t *testing.T) {
	at(t, 0)
	name := t.TempDir() + "/t"
	env, log := testEnv()
	tab := mustOpen(t, "hash:"+name, env)
	for range 3 {
		if _, ok, err := tab.Get("k"); ok || err == nil {
			t.Errorf("without a file: %v, %v", ok, err)
		}
	}
	if len(log.lines) != 1 {
		t.Errorf("logged %q", log.lines)
	}
	compile(t, name, "k", "v")
	if v, ok, err := tab.Get("k"); v != "v" || !ok || err != nil {
		t.Errorf("after the build: %q, %v, %v", v, ok, err)
	}
}

func TestStaleIsCalledOnce(t *testing.T) {
	at(t, 0)
	dir := t.TempDir()
	name := dir + "/sub/t"
	if err := os.Mkdir(dir+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	compile(t, name, "k", "v")
	env, _ := testEnv()
	var stale []string
	env.Stale = func(table string) { stale = append(stale, table) }
	tab := mustOpen(t, "hash:"+name, env)
	// The name goes, as it does behind a chroot, and then the file.
	if err := os.Rename(dir+"/sub", dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	compile(t, dir+"/moved/t", "k", "new")
	for range 3 {
		if v, ok, err := tab.Get("k"); v != "v" || !ok || err != nil {
			t.Errorf("Get = %q, %v, %v", v, ok, err)
		}
	}
	if len(stale) != 1 || stale[0] != "hash:"+name {
		t.Errorf("Stale calls: %q", stale)
	}
}

func TestUnixAccounts(t *testing.T) {
	at(t, 0)
	dir := t.TempDir() + "/"
	was := accountDir
	accountDir = dir
	defer func() { accountDir = was }()
	write(t, dir+"passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
	write(t, dir+"group", "staff:x:50:alice\n")
	env, _ := testEnv()
	tab := mustOpen(t, "proxy:unix:passwd.byname", env)
	if v, ok, err := tab.Get("alice"); v != "alice:x:1000:1000::/home/alice:/bin/sh" || !ok || err != nil {
		t.Errorf("alice: %q, %v, %v", v, ok, err)
	}
	if _, ok, err := tab.Get("bob"); ok || err != nil {
		t.Errorf("bob: %v, %v", ok, err)
	}
	write(t, dir+"new", "bob:x:1001:1001::/home/bob:/bin/sh\n")
	if err := os.Rename(dir+"new", dir+"passwd"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := tab.Get("bob"); !ok || err != nil {
		t.Errorf("bob after the change: %v, %v", ok, err)
	}
	if _, ok, _ := tab.Get("alice"); ok {
		t.Error("alice is still there")
	}
	if v, _, _ := mustOpen(t, "unix:group.byname", env).Get("staff"); v != "staff:x:50:alice" {
		t.Errorf("staff: %q", v)
	}
}

func TestSocketmapAndTCP(t *testing.T) {
	serve := func(network, addr string, answer func(r *bufio.Reader) (string, bool)) net.Listener {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					r := bufio.NewReader(c)
					for {
						s, ok := answer(r)
						if !ok {
							return
						}
						fmt.Fprint(c, s)
					}
				}()
			}
		}()
		return l
	}
	sock := filepath.Join(t.TempDir(), "s")
	serve("unix", sock, func(r *bufio.Reader) (string, bool) {
		q, err := readNetstring(r, 1000)
		if err != nil {
			return "", false
		}
		a := map[string]string{"map one": "OK 1 2", "map none": "NOTFOUND ", "map temp": "TEMP busy", "map perm": "PERM no", "map junk": "WHAT"}[q]
		return fmt.Sprintf("%d:%s,", len(a), a), a != ""
	})
	l := serve("tcp", "127.0.0.1:0", func(r *bufio.Reader) (string, bool) {
		q, err := r.ReadString('\n')
		a := map[string]string{"get one\n": "200 1%202\n", "get none\n": "500 no\n", "get a%20%25b\n": "200 1%202\n", "get temp\n": "400 busy\n", "get perm\n": "400 x\n", "get junk\n": "999\n"}[q]
		return a, err == nil && a != ""
	})
	env, _ := testEnv()
	for _, spec := range []string{"socketmap:unix:" + sock + ":map", "tcp:" + l.Addr().String()} {
		tab := mustOpen(t, spec, env)
		for range 2 {
			if v, ok, err := tab.Get("one"); v != "1 2" || !ok || err != nil {
				t.Errorf("%s: %q, %v, %v", spec, v, ok, err)
			}
			if _, ok, err := tab.Get("none"); ok || err != nil {
				t.Errorf("%s: none: %v, %v", spec, ok, err)
			}
			for _, k := range []string{"temp", "perm", "junk", "closes"} {
				if _, ok, err := tab.Get(k); ok || err == nil {
					t.Errorf("%s: %s: %v, %v", spec, k, ok, err)
				}
			}
		}
	}
	if v, _, err := mustOpen(t, "tcp:"+l.Addr().String(), env).Get("a %b"); v != "1 2" || err != nil {
		t.Errorf("quoted key: %q, %v", v, err)
	}
}

func TestOwner(t *testing.T) {
	dir := t.TempDir()
	compile(t, dir+"/index", "k", "v")
	write(t, dir+"/text", "k v\n")
	write(t, dir+"/re", "/k/ v\n")
	write(t, dir+"/net", "192.0.2.0/24 v\n")
	me := uint32(os.Getuid())
	const root = 0
	if me == root {
		me = 12345
		for _, f := range []string{"/index.cdb", "/text", "/re", "/net"} {
			if err := os.Chown(dir+f, int(me), -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	env, _ := testEnv()
	for spec, want := range map[string]int64{"hash:" + dir + "/index": int64(me), "texthash:" + dir + "/text": int64(me), "regexp:" + dir + "/re": int64(me), "cidr:" + dir + "/net": int64(me),
		"static:x": root, "inline:{a=b}": root, "pcre:{{/a/ b}}": root, "unionmap:{static:a, hash:" + dir + "/index}": int64(me), "pipemap:{static:a, static:b}": root,
		"unix:passwd.byname": -1, "environ:": -1, "hash:" + dir + "/none": -1, "pipemap:{static:a, environ:}": -1} {
		uid, known := Owner(mustOpen(t, spec, env))
		if known != (want >= 0) || known && int64(uid) != want {
			t.Errorf("%s: %d, %v, want %d", spec, uid, known, want)
		}
	}
}

// A bulk user's table is in memory after many look-ups, with the same answers,
// and gives way to a new file as any other.
func TestBulkLookups(t *testing.T) {
	at(t, 0)
	name := t.TempDir() + "/t"
	var kv []string
	for i := range 3000 { // more than is read at once anyway
		kv = append(kv, fmt.Sprintf("key%d", i), fmt.Sprintf("%d %s", i, strings.Repeat("x", 100)))
	}
	compile(t, name, kv...)
	env, _ := testEnv()
	tab, err := OpenWith("hash:"+name, env, Options{Bulk: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	for range 3 {
		for i := 0; i < len(kv); i += 2 {
			if v, ok, err := tab.Get(kv[i]); v != kv[i+1] || !ok || err != nil {
				t.Fatalf("%s: %.20q, %v, %v", kv[i], v, ok, err)
			}
		}
		if _, ok, err := tab.Get("missing"); ok || err != nil {
			t.Fatalf("a missing key: %v, %v", ok, err)
		}
	}
	if tab.(*indexed).cur.Load().whole.Load() == nil {
		t.Error("the file is still read record by record")
	}
	compile(t, name, "key1", "new")
	if v, _, _ := tab.Get("key1"); v != "new" {
		t.Errorf("after a rebuild: %.20q", v)
	}
}
