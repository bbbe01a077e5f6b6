package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"posthaste/pkg/config"
	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/postdrop"
	"posthaste/pkg/queue"
)

func newDropper(t *testing.T, ops *durable.Ops) (*dropper, string) {
	t.Helper()
	dir := t.TempDir()
	if err := queue.Init(dir); err != nil {
		t.Fatal(err)
	}
	s, err := queue.Open(dir, queue.Options{Ops: ops})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &dropper{spool: s, uid: 1234, limit: 200_000, stop: make(chan os.Signal, 1)}, dir
}

func message(rcpts int, content string) []byte {
	var b bytes.Buffer
	w := postdrop.NewWriter(&b, &envelope.Message{ID: "../../evil", Sender: "anna", UID: 0, Origin: "smtpd", Hops: 7,
		Client: envelope.Client{Name: "forged", Address: "192.0.2.1", SASLUser: "root"}})
	for range rcpts {
		w.Recipient(&envelope.Recipient{Address: "bert", Orig: "x", Flags: envelope.Implicit})
	}
	w.Write([]byte(content))
	w.End()
	return b.Bytes()
}

func TestDrop(t *testing.T) {
	for _, size := range []int{0, 10, 150_000} {
		d, _ := newDropper(t, nil)
		content := strings.Repeat("x", size)
		if err := d.drop(bytes.NewReader(message(2, content))); err != nil {
			t.Fatal(err)
		}
		f, err := d.spool.Load(queue.Maildrop, d.id)
		if err != nil {
			t.Fatal(err)
		}
		m := f.Message()
		if m.ID != d.id || m.UID != 1234 || m.Origin != "pickup" || m.Hops != 0 || m.Client != (envelope.Client{}) || m.Arrival.IsZero() || m.Sender != "anna" {
			t.Errorf("what the user may not set was taken: %+v", m)
		}
		var c queue.Cursor
		l, _ := f.Recipients(&c, 10)
		if len(l) != 2 || l[0].Flags != 0 || l[0].Orig != "" || f.ContentLength() != int64(size) {
			t.Errorf("recipients %+v, %d bytes", l, f.ContentLength())
		}
		f.Close()
		st, _ := os.Stat(d.spool.Path(queue.Maildrop, d.id))
		if st.Mode().Perm()&0o044 != 0o044 {
			t.Errorf("mode %v: pickup cannot read it", st.Mode())
		}
	}
}

// TestNothingLeft: whatever goes wrong, maildrop stays empty.
func TestNothingLeft(t *testing.T) {
	big := message(1, strings.Repeat("x", 150_000))
	for _, tc := range []struct {
		name string
		in   []byte
		ops  *durable.Ops
		prep func(*dropper)
		want string
	}{
		{"empty", nil, nil, nil, "premature end-of-input"},
		{"cut in the middle", big[:100_000], nil, nil, "premature end-of-input"},
		{"cut before the end", big[:len(big)-1], nil, nil, "premature end-of-input"},
		{"junk behind", append(append([]byte(nil), big...), 1), nil, nil, "malformed"},
		{"nobody", message(0, "x"), nil, nil, "no recipients"},
		{"too big", message(1, strings.Repeat("x", 300_000)), nil, nil, "message file too big"},
		{"disk full", big, &durable.Ops{Write: func(int, []byte) (int, error) { return 0, unix.ENOSPC }}, nil, "storage is full"},
		{"fsync fails", big, &durable.Ops{Fsync: func(int) error { return unix.EIO }}, nil, "fsync"},
		{"signal", big, nil, func(d *dropper) { d.stop <- syscall.SIGTERM }, "signal"},
	} {
		d, dir := newDropper(t, tc.ops)
		if tc.prep != nil {
			tc.prep(d)
		}
		err := d.drop(bytes.NewReader(tc.in))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
		if l, _ := os.ReadDir(filepath.Join(dir, queue.Maildrop)); len(l) != 0 {
			t.Errorf("%s: left behind: %v", tc.name, l)
		}
	}
}

// TestUnreadableMaildrop: with set-gid rights alone, postdrop may write to the
// directory but not open it.
func TestUnreadableMaildrop(t *testing.T) {
	whole := 0
	d, _ := newDropper(t, &durable.Ops{
		Open: func(name string, flag int, perm uint32) (int, error) {
			if flag&unix.O_DIRECTORY != 0 {
				return -1, unix.EACCES
			}
			return unix.Open(name, flag|unix.O_CLOEXEC, perm)
		},
		Syncfs: func(int) error { whole++; return nil },
	})
	if err := d.drop(bytes.NewReader(message(1, "x"))); err != nil {
		t.Fatal(err)
	}
	if d.spool.Committer().SyncsDirectories() && whole != 1 {
		t.Errorf("the new name was not synced")
	}
}

func TestAuthorized(t *testing.T) {
	for value, want := range map[string]bool{"static:anyone": true, "root": true, "!root, static:all": true, "somebody": true} {
		etc := t.TempDir()
		os.WriteFile(filepath.Join(etc, "main.cf"), []byte("compatibility_level = 3.9\nauthorized_submit_users = "+value+"\n"), 0o644)
		c, err := config.Load(config.Options{Dir: etc, Known: params.All, Program: "postdrop"})
		if err != nil {
			t.Fatal(err)
		}
		// The superuser always may.
		if err := authorized(c, 0, loginName(0)); (err == nil) != want {
			t.Errorf("%s, root: %v", value, err)
		}
		err = authorized(c, 987654, loginName(987654))
		if want := strings.Contains(value, "static"); (err == nil) != want {
			t.Errorf("%s, unknown user: %v", value, err)
		}
	}
}

func TestSenders(t *testing.T) {
	etc := t.TempDir()
	os.WriteFile(filepath.Join(etc, "main.cf"), []byte("compatibility_level = 3.9\nmyorigin = here.test\nrecipient_delimiter = +\nlocal_login_sender_maps = inline:{ {anna = anna, boss@x.test} {web = @y.test <>} {root2 = *} }\n"), 0o644)
	c, err := config.Load(config.Options{Dir: etc, Known: params.All, Program: "postdrop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		login, sender string
		want          bool
	}{
		{"anna", "anna", true}, {"anna", "Anna@HERE.test", true}, {"anna", "anna+ext@here.test", true}, {"anna", "boss@x.test", true}, {"anna", "anna@x.test", false}, {"anna", "", false},
		{"web", "anyone@Y.test", true}, {"web", "", true}, {"web", "web", false}, {"root2", "x@z.test", true}, {"root2", "", true}, {"nobody", "nobody", false},
	} {
		s, err := allowedSenders(c, 1000, tc.login)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.allows(tc.sender); got != tc.want {
			t.Errorf("%s as %q: %v", tc.login, tc.sender, got)
		}
	}
	d, dir := newDropper(t, nil)
	d.allowed, _ = allowedSenders(c, 1000, "web")
	if err := d.drop(bytes.NewReader(message(1, "x"))); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("drop: %v", err)
	}
	if l, _ := os.ReadDir(filepath.Join(dir, queue.Maildrop)); len(l) != 0 {
		t.Errorf("left behind: %v", l)
	}
}
