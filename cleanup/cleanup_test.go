package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/config"
	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/queue"
)

// table is a Table of the test's own making.
type table struct {
	get     func(key string) (string, bool, error)
	pattern bool
}

func (t table) Get(k string) (string, bool, error) { return t.get(k) }
func (t table) Name() string                       { return "test:table" }
func (t table) Partial() bool                      { return !t.pattern }
func (t table) Close() error                       { return nil }

func exact(m map[string]string) *lookup.Maps {
	return lookup.Single(table{get: func(k string) (string, bool, error) { v, ok := m[k]; return v, ok, nil }})
}

// starting matches texts by their start.
func starting(m map[string]string) *lookup.Maps {
	return lookup.Single(table{pattern: true, get: func(k string) (string, bool, error) {
		for p, v := range m {
			if strings.HasPrefix(k, p) {
				return v, true, nil
			}
		}
		return "", false, nil
	}})
}

func broken() *lookup.Maps {
	return lookup.Single(table{get: func(string) (string, bool, error) { return "", false, errors.New("server is away") }})
}

type lines struct {
	mu sync.Mutex
	l  []string
}

func (l *lines) Write(sev maillog.Severity, _ string, _ int, text string) {
	l.mu.Lock()
	l.l = append(l.l, text)
	l.mu.Unlock()
}

func (l *lines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.l {
		if strings.Contains(t, part) {
			return true
		}
	}
	return false
}

type notices struct {
	mu  sync.Mutex
	ids []string
}

func (n *notices) Notify(id string) { n.mu.Lock(); n.ids = append(n.ids, id); n.mu.Unlock() }

// world is a cleanup with its queue and log.
type world struct {
	t    testing.TB
	set  *settings
	log  *lines
	note *notices
	dir  string
}

func newWorld(t testing.TB, maincf string, change func(*settings)) *world {
	t.Helper()
	return newWorldOps(t, maincf, nil, change)
}

func newWorldOps(t testing.TB, maincf string, ops *durable.Ops, change func(*settings)) *world {
	t.Helper()
	etc := t.TempDir()
	maincf = "compatibility_level = 3.9\nmyhostname = mx.example.test\nmydomain = example.test\nmyorigin = example.test\nmydestination = example.test\nmail_name = Posthaste\nrecipient_delimiter = +\n" + maincf
	if err := os.WriteFile(filepath.Join(etc, "main.cf"), []byte(maincf), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Dir: etc, Known: params.All, Program: "cleanup"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, log: &lines{}, note: &notices{}, dir: t.TempDir()}
	if w.set, err = load(c, maillog.New("test/cleanup", w.log), nil); err != nil {
		t.Fatal(err)
	}
	w.set.notify = w.note
	if change != nil {
		change(w.set)
	}
	if err := queue.Init(w.dir); err != nil {
		t.Fatal(err)
	}
	o := queue.OptionsFrom(c)
	o.Ops = ops
	if w.set.spool, err = queue.Open(w.dir, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.set.spool.Close() })
	return w
}

// mail is one message for send.
type mail struct {
	begin   func(*cleanup.Begin)
	rcpts   []envelope.Recipient
	to      []string
	content string
	chunk   int
}

func (w *world) send(m mail) (id string, r *cleanup.Result) {
	w.t.Helper()
	now := time.Now()
	b := &cleanup.Begin{Flags: cleanup.External, Message: envelope.Message{ID: queue.NewID(now), Arrival: now, Sender: "anna@example.test", Local: true, Origin: "smtpd",
		Client: envelope.Client{Name: "h.example", ReverseName: "h.example", Address: "192.0.2.7", Helo: "helo.example", Protocol: "ESMTP"}}}
	if m.begin != nil {
		m.begin(b)
	}
	s := w.set.begin(b)
	for _, a := range m.to {
		s.Recipient(&envelope.Recipient{Address: a})
	}
	for i := range m.rcpts {
		s.Recipient(&m.rcpts[i])
	}
	chunk := m.chunk
	if chunk == 0 {
		chunk = 1 << 20
	}
	for p := []byte(m.content); len(p) > 0; {
		n := min(chunk, len(p))
		s.Data(append([]byte(nil), p[:n]...))
		p = p[n:]
	}
	return b.Message.ID, s.End()
}

// stored is what is found in the queue.
type stored struct {
	f       *queue.File
	rcpts   []envelope.Recipient
	content string
}

func (w *world) load(q, id string) stored {
	w.t.Helper()
	f, err := w.set.spool.Load(q, id)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	st := stored{f: f}
	var c queue.Cursor
	for !c.AtEnd() {
		rs, err := f.Recipients(&c, 100)
		if err != nil {
			w.t.Fatal(err)
		}
		st.rcpts = append(st.rcpts, rs...)
	}
	r, _ := f.Content()
	var b bytes.Buffer
	b.ReadFrom(r)
	st.content = b.String()
	return st
}

func (st stored) to() []string {
	var l []string
	for _, r := range st.rcpts {
		l = append(l, r.Address)
	}
	return l
}

func (w *world) accept(m mail) stored {
	w.t.Helper()
	id, r := w.send(m)
	if r.Status != cleanup.OK {
		w.t.Fatalf("result %+v; log %q", r, w.log.l)
	}
	return w.load(queue.Incoming, id)
}

func (w *world) nothingLeft() {
	w.t.Helper()
	for _, q := range queue.Names {
		if l, _ := os.ReadDir(filepath.Join(w.dir, q)); len(l) > 0 {
			w.t.Errorf("left in %s: %v", q, l)
		}
	}
}

const full = "Date: x\r\nFrom: a@b.test\r\nMessage-Id: <m@b.test>\r\nTo: c@d.test\r\n"

func TestReceived(t *testing.T) {
	w := newWorld(t, "smtpd_tls_received_header = yes\nsmtpd_sasl_authenticated_header = yes\n", nil)
	at := time.Date(2026, 11, 3, 4, 5, 6, 0, time.Local)
	date := at.Format("Mon, 2 Jan 2006 15:04:05 -0700 (MST)")
	tls := func(b *cleanup.Begin) {
		b.Message.Arrival = at
		b.Message.Client.TLS = "(using TLSv1.3 with cipher X (256/256 bits))"
		b.Message.Client.SASLUser, b.Message.Client.SASLMethod = "anna", "PLAIN"
	}
	id, _ := w.send(mail{begin: tls, to: []string{"u@x.test"}, content: full + "\r\n"})
	want := "Received: from helo.example (h.example [192.0.2.7])\r\n\t(using TLSv1.3 with cipher X (256/256 bits))\r\n\t(Authenticated sender: anna)\r\n" +
		"\tby mx.example.test (Posthaste) with ESMTPSA id " + id + "\r\n\tfor <u@x.test>; " + date + "\r\n" + full + "\r\n"
	if got := w.load(queue.Incoming, id).content; got != want {
		t.Errorf("one recipient:\n%s\nwant\n%s", got, want)
	}
	id, _ = w.send(mail{begin: func(b *cleanup.Begin) { b.Message.Arrival = at; b.Message.Client.Name = "unknown" }, to: []string{"u@x.test", "v@x.test"}, content: full + "\r\n"})
	want = "Received: from helo.example (h.example [192.0.2.7])\r\n\tby mx.example.test (Posthaste) with ESMTP id " + id + ";\r\n\t" + date + "\r\n" + full + "\r\n"
	if got := w.load(queue.Incoming, id).content; got != want {
		t.Errorf("two recipients:\n%s\nwant\n%s", got, want)
	}
	id, _ = w.send(mail{begin: func(b *cleanup.Begin) {
		b.Message.Client = envelope.Client{}
		b.Message.Arrival, b.Message.Origin, b.Message.UID = at, "pickup", 1000
	}, to: []string{"u@x.test"}, content: full})
	want = "Received: by mx.example.test (Posthaste, from userid 1000)\r\n\tid " + id + "; " + date + "\r\n" + full
	if got := w.load(queue.Incoming, id).content; got != want {
		t.Errorf("pickup:\n%s\nwant\n%s", got, want)
	}
	st := w.accept(mail{begin: func(b *cleanup.Begin) {
		b.Message.Client.Helo, b.Message.Client.Address = "x (evil) \x01;", "2001:db8::1"
	}, to: []string{"u@x.test"}, content: full})
	if !strings.HasPrefix(st.content, "Received: from x ?evil? ?? (h.example [IPv6:2001:db8::1])\r\n") {
		t.Errorf("hostile HELO: %.100q", st.content)
	}
	st = w.accept(mail{begin: func(b *cleanup.Begin) { b.Flags |= cleanup.NoReceived; b.Prepend = []string{"X-A: 1\n 2", "X-B: 3"} }, to: []string{"u@x.test"}, content: full})
	if want := "X-A: 1\r\n 2\r\nX-B: 3\r\n" + full; st.content != want {
		t.Errorf("prepend: %q", st.content)
	}
}

// after cuts the Received: header off.
func after(content string) string {
	i := strings.Index(content, "\r\n")
	for i >= 0 && i+2 < len(content) && content[i+2] == '\t' {
		i += 2 + strings.Index(content[i+2:], "\r\n")
	}
	return content[i+2:]
}

func TestContentUnchanged(t *testing.T) {
	var every strings.Builder
	for i := range 70000 {
		every.WriteByte(byte(i * 5 / 3))
	}
	const asIs = "cleanup_replace_stray_cr_lf = no\n"
	w := newWorld(t, asIs, nil)
	checks := newWorld(t, asIs, func(s *settings) {
		s.headerMaps, s.mimeMaps, s.nestedMaps, s.bodyMaps = starting(nil), starting(nil), starting(nil), starting(nil)
	})
	for _, body := range []string{
		"", "\r\n", "\r\nbody", "\r\n.\r\n..\r\n", "\r\n" + every.String(), "\r\n" + strings.Repeat("x", 300000) + "\r\n", "\r\na\rb\nc\x00\r\n",
		"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nA: b\r\n c\r\nlast\r\n--B--", "X-Long: " + strings.Repeat("y", 9000) + "\r\n\r\n",
		"Content-Type: message/rfc822\r\n\r\nBcc: x@y.test\r\nno end", "X-8bit: \xe4\xff \x01\r\n\tfolded \r\n \r\n\r\nx",
	} {
		for _, chunk := range []int{1, 1000, 0} {
			if chunk == 1 && len(body) > 5000 {
				continue
			}
			for name, w := range map[string]*world{"no checks": w, "all checks": checks} {
				st := w.accept(mail{to: []string{"u@x.test"}, content: full + body, chunk: chunk})
				if got := after(st.content); got != full+body {
					t.Errorf("%s, chunks of %d: content of %d bytes became %d:\n%.300q\nwant\n%.300q", name, chunk, len(full+body), len(got), got, full+body)
				}
				if got, want := st.f.EightBit(), strings.ContainsFunc(body, func(r rune) bool { return r > 127 }); got != want {
					t.Errorf("%s: EightBit = %v", name, got)
				}
			}
		}
	}
}

func TestMissingHeaders(t *testing.T) {
	at := time.Date(2026, 11, 3, 4, 5, 6, 0, time.UTC)
	date := at.Local().Format("Mon, 2 Jan 2006 15:04:05 -0700 (MST)")
	for _, tc := range []struct {
		name, conf, in string
		begin          func(*cleanup.Begin)
		want           string // ID stands for the queue id
	}{
		{"all", "", "Subject: x\r\n\r\nb", nil, "Subject: x\r\nMessage-Id: <20261103040506.ID@mx.example.test>\r\nDate: " + date + "\r\nFrom: anna@example.test\r\n\r\nb"},
		{"no header at all", "", "hello\r\n", nil, "Message-Id: <20261103040506.ID@mx.example.test>\r\nDate: " + date + "\r\nFrom: anna@example.test\r\n\r\nhello\r\n"},
		{"empty", "", "", nil, "Message-Id: <20261103040506.ID@mx.example.test>\r\nDate: " + date + "\r\nFrom: anna@example.test\r\n"},
		{"from elsewhere", "", "Subject: x\r\n\r\nb", func(b *cleanup.Begin) { b.Message.Local = false }, "Subject: x\r\n\r\nb"},
		{"from elsewhere, always", "always_add_missing_headers = yes\n", full[len("Date: x\r\n"):] + "\r\nb", func(b *cleanup.Begin) { b.Message.Local = false },
			full[len("Date: x\r\n"):] + "Date: " + date + "\r\n\r\nb"},
		{"name", "", "Date: x\r\nMessage-Id: <a>\r\n\r\n", func(b *cleanup.Begin) { b.Message.FullName = "Anna M. \"X\"" }, "Date: x\r\nMessage-Id: <a>\r\nFrom: \"Anna M. \\\"X\\\"\" <anna@example.test>\r\n\r\n"},
		{"name, 8-bit", "", "Date: x\r\nMessage-Id: <a>\r\n\r\n", func(b *cleanup.Begin) { b.Message.FullName = "Änne" }, "Date: x\r\nMessage-Id: <a>\r\nFrom: =?utf-8?B?w4RubmU=?= <anna@example.test>\r\n\r\n"},
		{"name, obsolete", "header_from_format = obsolete\n", "Date: x\r\nMessage-Id: <a>\r\n\r\n", func(b *cleanup.Begin) { b.Message.FullName = "Anna" }, "Date: x\r\nMessage-Id: <a>\r\nFrom: anna@example.test (Anna)\r\n\r\n"},
		{"null sender", "", "Date: x\r\nMessage-Id: <a>\r\n\r\n", func(b *cleanup.Begin) { b.Message.Sender, b.Message.FullName = "", "Anna" }, "Date: x\r\nMessage-Id: <a>\r\nFrom: MAILER-DAEMON\r\n\r\n"},
		{"resent", "", full + "Resent-To: q@r.test\r\n\r\n", nil, full + "Resent-To: q@r.test\r\nResent-Message-Id: <20261103040506.ID@mx.example.test>\r\nResent-Date: " + date + "\r\nResent-From: anna@example.test\r\n\r\n"},
		{"undisclosed", "undisclosed_recipients_header = To: undisclosed-recipients:;\n", "Date: x\r\nFrom: a\r\nMessage-Id: <a>\r\n\r\n", func(b *cleanup.Begin) { b.Message.Local = false },
			"Date: x\r\nFrom: a\r\nMessage-Id: <a>\r\n\r\n"},
		{"undisclosed, always", "always_add_missing_headers = yes\nundisclosed_recipients_header = To: undisclosed-recipients:;\n", "Date: x\r\nFrom: a@b\r\nMessage-Id: <a>\r\n\r\n", func(b *cleanup.Begin) { b.Message.Local = false },
			"Date: x\r\nFrom: a@b\r\nMessage-Id: <a>\r\nTo: undisclosed-recipients:;\r\n\r\n"},
		{"dropped", "", full + "Bcc: s@t.test\r\n u@t.test\r\nReturn-Path: <x>\r\nContent-Length: 5\r\nresent-bcc : z@t.test\r\nResent-From: a@b.test\r\nResent-Date: x\r\nResent-Message-Id: x\r\n\r\n", nil,
			full + "Resent-From: a@b.test\r\nResent-Date: x\r\nResent-Message-Id: x\r\n\r\n"},
		{"kept", "message_drop_headers =\n", full + "Return-Path: <x>\r\n\r\n", nil, full + "Return-Path: <x>\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.conf, nil)
			st := w.accept(mail{to: []string{"u@x.test"}, content: tc.in, begin: func(b *cleanup.Begin) {
				b.Message.Arrival = at
				if tc.begin != nil {
					tc.begin(b)
				}
			}})
			if got, want := after(st.content), strings.ReplaceAll(tc.want, "ID@", st.f.ID()+"@"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestVirtualAliases(t *testing.T) {
	big := strings.Repeat("x", 2000)
	var wide []string
	for i := range 1500 {
		wide = append(wide, fmt.Sprintf("w%d@x.test", i))
	}
	for _, tc := range []struct {
		name  string
		table map[string]string
		to    []string
		want  []string
		orig  []string
		fail  string // in the log
	}{
		{"none", nil, []string{"a@x.test"}, []string{"a@x.test"}, []string{""}, ""},
		{"one", map[string]string{"a@x.test": "b@y.test"}, []string{"a@x.test"}, []string{"b@y.test"}, []string{"a@x.test"}, ""},
		{"list and chain", map[string]string{"a@x.test": "b@x.test, c@y.test", "b@x.test": "d@y.test"}, []string{"a@x.test"}, []string{"d@y.test", "c@y.test"}, []string{"a@x.test", "a@x.test"}, ""},
		{"itself stays", map[string]string{"a@x.test": "a@x.test, b@y.test"}, []string{"a@x.test"}, []string{"a@x.test", "b@y.test"}, []string{"", "a@x.test"}, ""},
		{"domain keeps user", map[string]string{"@x.test": "@y.test"}, []string{"q+e@x.test"}, []string{"q+e@y.test"}, []string{"q+e@x.test"}, ""},
		{"extension goes on", map[string]string{"a@x.test": "b@y.test"}, []string{"a+e@x.test"}, []string{"b+e@y.test"}, []string{"a+e@x.test"}, ""},
		{"duplicates", map[string]string{"a@x.test": "b@y.test, B@y.test"}, []string{"a@x.test", "a@x.test"}, []string{"b@y.test"}, []string{"a@x.test"}, ""},
		{"loop", map[string]string{"a@x.test": "b@x.test", "b@x.test": "a@x.test"}, []string{"a@x.test"}, nil, nil, "unreasonable virtual_alias_maps map nesting"},
		{"bomb", map[string]string{"a@x.test": "a1@x.test, b@x.test", "b@x.test": "b1@x.test, b@x.test, c@x.test", "c@x.test": strings.Join(wide, ",")}, []string{"a@x.test"}, nil, nil, "map expansion size"},
		{"long", map[string]string{"a@x.test": big + "@x.test"}, []string{"a@x.test"}, nil, nil, "unreasonable virtual_alias_maps result"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, "", func(s *settings) { s.virtual.maps = exact(tc.table) })
			id, r := w.send(mail{to: tc.to, content: full})
			if tc.fail != "" {
				if r.Status != cleanup.TempFail || r.DSN != "4.6.0" || !w.log.has(tc.fail) {
					t.Errorf("result %+v, log %.300q", r, w.log.l)
				}
				w.nothingLeft()
				return
			}
			if r.Status != cleanup.OK {
				t.Fatalf("result %+v, log %q", r, w.log.l)
			}
			st := w.load(queue.Incoming, id)
			var orig []string
			for _, r := range st.rcpts {
				orig = append(orig, r.Orig)
			}
			if !reflect.DeepEqual(st.to(), tc.want) || !reflect.DeepEqual(orig, tc.orig) {
				t.Errorf("recipients %q (from %q), want %q (from %q)", st.to(), orig, tc.want, tc.orig)
			}
		})
	}
	w := newWorld(t, "", func(s *settings) { s.virtual.maps = broken() })
	if _, r := w.send(mail{to: []string{"a@x.test"}, content: full}); r.Status != cleanup.TempFail || r.DSN != "4.3.0" {
		t.Errorf("table away: %+v", r)
	}
	if st := w.accept(mail{to: []string{"a@x.test"}, content: full, begin: func(b *cleanup.Begin) { b.Flags &^= cleanup.Map }}); st.to()[0] != "a@x.test" {
		t.Errorf("no_address_mappings: %q", st.to())
	}
}

func TestCanonicalAndMasquerade(t *testing.T) {
	canon := exact(map[string]string{"old@x.test": "new@x.test", "anna@example.test": "Anna.M@example.test", "r@x.test": "s@x.test", "@far.test": "@near.test"})
	w := newWorld(t, "masquerade_domains = !keep.example.test example.test\nmasquerade_exceptions = root\n", func(s *settings) {
		s.canonical = []mapping{{"canonical_maps", canon, envelopeSender | envelopeRecipient | headerSender | headerRecipient, true}}
	})
	body := "Date: x\r\nMessage-Id: <x>\r\nFrom: \"An Na\" <old+e@x.test> (c)\r\nTo: r@x.test, z@far.test,\r\n y@host.example.test\r\nCc: root@host.example.test, k@a.keep.example.test\r\nReply-To: keep@x.test\r\nX-To: old@x.test\r\n\r\nTo: old@x.test\r\n"
	st := w.accept(mail{to: []string{"r@x.test", "q@host.example.test"}, content: body})
	if st.f.Message().Sender != "Anna.M@example.test" {
		t.Errorf("sender %q", st.f.Message().Sender)
	}
	// Masquerading leaves envelope recipients alone by default.
	if want := []string{"s@x.test", "q@host.example.test"}; !reflect.DeepEqual(st.to(), want) {
		t.Errorf("recipients %q, want %q", st.to(), want)
	}
	for _, want := range []string{"From: \"An Na\" <new+e@x.test> (c)\r\n", "s@x.test, z@near.test,\r\n y@example.test\r\n", "Cc: root@host.example.test, k@a.keep.example.test\r\n",
		"Reply-To: keep@x.test\r\n", "X-To: old@x.test\r\n", "\r\n\r\nTo: old@x.test\r\n"} {
		if !strings.Contains(st.content, want) {
			t.Errorf("no %q in\n%s", want, st.content)
		}
	}
	st = w.accept(mail{to: []string{"r@x.test"}, content: body, begin: func(b *cleanup.Begin) { b.Message.Local = false }})
	if after(st.content) != body {
		t.Errorf("mail from elsewhere: headers were rewritten:\n%s", st.content)
	}
	w = newWorld(t, "", func(s *settings) {
		s.canonical = []mapping{{"canonical_maps", broken(), envelopeSender, true}}
	})
	if _, r := w.send(mail{to: []string{"a@x.test"}, content: full}); r.Status != cleanup.TempFail {
		t.Errorf("table away: %+v", r)
	}
}

func TestBCC(t *testing.T) {
	change := func(s *settings) {
		s.senderBCC = exact(map[string]string{"anna@example.test": "sb@x.test"})
		s.recipBCC = exact(map[string]string{"u@x.test": "rb@x.test", "rb@x.test": "never@x.test"})
	}
	w := newWorld(t, "always_bcc = ab@x.test\n", change)
	st := w.accept(mail{to: []string{"u@x.test"}, content: full, begin: func(b *cleanup.Begin) { b.AddBCC = []string{"smtpd@x.test"} }})
	if want := []string{"u@x.test", "rb@x.test", "sb@x.test", "ab@x.test", "smtpd@x.test"}; !reflect.DeepEqual(st.to(), want) {
		t.Errorf("recipients %q, want %q", st.to(), want)
	}
	for _, r := range st.rcpts[1:] {
		if r.Notify != envelope.NotifyNever || r.Flags&envelope.Implicit == 0 {
			t.Errorf("%s: notify %d, flags %d", r.Address, r.Notify, r.Flags)
		}
	}
	if !strings.Contains(st.content, "for <u@x.test>;") {
		t.Errorf("the Received: header tells of BCC recipients: %.300s", st.content)
	}
	st = w.accept(mail{to: []string{"u@x.test"}, content: full, begin: func(b *cleanup.Begin) { b.Flags = cleanup.Internal }})
	if len(st.rcpts) != 1 {
		t.Errorf("internal mail: %q", st.to())
	}
}

// TestBlankBeforeColon: header checks see "Name:", whatever the sender put
// before the colon.
func TestBlankBeforeColon(t *testing.T) {
	w := newWorld(t, "header_checks = regexp:{{/^Subject:.*spam/ REJECT no spam}}\nmime_header_checks = regexp:{{/^Content-Disposition:.*exe/ REJECT no programs}}\n", nil)
	for content, want := range map[string]string{
		"Subject \t: buy spam\r\n" + full + "\r\n":                                                             "no spam",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition : a.exe\r\n\r\n--b--\r\n": "no programs",
	} {
		if _, r := w.send(mail{to: []string{"u@x.test"}, content: content}); r.Status != cleanup.Rejected || r.Reason != want {
			t.Errorf("%q: %+v, want %q", content, r, want)
		}
	}
	st := w.accept(mail{to: []string{"u@x.test"}, content: "Subject : ham\r\nTo : \"A\" <b@c.test>\r\n" + full + "\r\nA : b\r\n"})
	if got, want := after(st.content), "Subject : ham\r\nTo : \"A\" <b@c.test>\r\n"+full+"\r\nA : b\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestActions(t *testing.T) {
	head := "Subject: bad\r\n thing\r\nX-Other: y\r\n" + full
	type want struct {
		status  cleanup.Status
		code    int
		dsn     string
		text    string
		content string // of the message after Received:, "" if there is none
		log     string
	}
	keep := head + "\r\nline one\r\nbody text\r\n"
	for action, want := range map[string]want{
		"DUNNO":                      {content: keep},
		"REJECT":                     {status: cleanup.Rejected, code: 550, dsn: "5.7.1", text: "message content rejected", log: "reject: W LINE from h.example[192.0.2.7]; from=<anna@example.test> to=<u@x.test> proto=ESMTP helo=<helo.example>: 5.7.1 message content rejected"},
		"REJECT go away":             {status: cleanup.Rejected, code: 550, dsn: "5.7.1", text: "go away", log: ": 5.7.1 go away"},
		"reject 4.7.2 later":         {status: cleanup.Rejected, code: 451, dsn: "4.7.2", text: "later"},
		"WARN look":                  {content: keep, log: "warning: W LINE from h.example[192.0.2.7]; from=<anna@example.test> to=<u@x.test> proto=ESMTP helo=<helo.example>: look"},
		"INFO hm":                    {content: keep, log: "info: W LINE"},
		"DISCARD":                    {log: "discard: W LINE"},
		"IGNORE":                     {content: "-"},
		"STRIP why":                  {content: "-", log: "strip: W LINE"},
		"HOLD":                       {content: keep, log: "hold: W LINE"},
		"FILTER smtp:[127.0.0.1]:99": {content: keep, log: "filter: W LINE"},
		"FILTER nonsense":            {content: keep, log: "missing or bad FILTER destination"},
		"REDIRECT there@else.test":   {content: keep, log: "redirect: W LINE"},
		"REDIRECT nobody":            {content: keep, log: "bad REDIRECT target"},
		"BCC extra@x.test":           {content: keep, log: "bcc: W LINE"},
		"PREPEND X-New: before":      {content: "+", log: "prepend: W LINE"},
		"REPLACE X-New: instead":     {content: "=", log: "replace: W LINE"},
		"PASS":                       {content: keep, log: "pass: W LINE"},
		"FROBNICATE":                 {content: keep, log: "unknown command"},
		"PREPEND":                    {content: keep, log: "without text"},
	} {
		for _, where := range []string{"header", "body"} {
			t.Run(where+" "+action, func(t *testing.T) {
				w := newWorld(t, "", func(s *settings) {
					m := starting(map[string]string{"Subject: bad\n thing": action, "body text": action})
					if where == "header" {
						s.headerMaps = m
					} else {
						s.bodyMaps = m
					}
				})
				id, r := w.send(mail{to: []string{"u@x.test", "v@x.test"}, content: keep})
				if r.Status != want.status || r.Code != want.code || r.DSN != want.dsn || r.Reason != want.text {
					t.Errorf("result %+v, want %+v", r, want)
				}
				line, logged := "Subject: bad\r\n thing\r\n", "Subject: bad? thing"
				if where == "body" {
					line, logged = "body text\r\n", "body text"
				}
				if l := strings.NewReplacer("W", where, "LINE", logged).Replace(want.log); !w.log.has(l) {
					t.Errorf("no %q in the log %q", l, w.log.l)
				}
				if want.content == "" {
					w.nothingLeft()
					return
				}
				q := queue.Incoming
				if action == "HOLD" {
					q = queue.Hold
				}
				st := w.load(q, id)
				_, arg, _ := strings.Cut(action, " ")
				wantContent := want.content
				switch wantContent {
				case "-":
					wantContent = strings.Replace(keep, line, "", 1)
				case "+":
					wantContent = strings.Replace(keep, line, arg+"\r\n"+line, 1)
				case "=":
					wantContent = strings.Replace(keep, line, arg+"\r\n", 1)
				}
				if got := after(st.content); got != wantContent {
					t.Errorf("content\n%s\nwant\n%s", got, wantContent)
				}
				wantTo := []string{"u@x.test", "v@x.test"}
				switch {
				case action == "REDIRECT there@else.test":
					wantTo = []string{"there@else.test"}
				case strings.HasPrefix(action, "BCC"):
					wantTo = append(wantTo, "extra@x.test")
				}
				if !reflect.DeepEqual(st.to(), wantTo) {
					t.Errorf("recipients %q, want %q", st.to(), wantTo)
				}
				if f := st.f.Filter(); (f != "") != (action == "FILTER smtp:[127.0.0.1]:99") {
					t.Errorf("filter %q", f)
				}
				if q == queue.Hold && len(w.note.ids) != 0 || q != queue.Hold && len(w.note.ids) != 1 {
					t.Errorf("qmgr was told of %q", w.note.ids)
				}
			})
		}
	}
}

func TestMimeChecks(t *testing.T) {
	content := full + "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Disposition: attachment;\r\n filename=x.exe\r\n\r\nSubject: in body\r\n--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: nested\r\n\r\ntext\r\n--B--\r\n"
	for _, tc := range []struct {
		where, match string
		set          func(*settings, *lookup.Maps)
		hit          bool
	}{
		{"mime", "Content-Disposition: attachment;\n filename=x.exe", func(s *settings, m *lookup.Maps) { s.mimeMaps = m }, true},
		{"mime, own header", "Content-Type: multipart", func(s *settings, m *lookup.Maps) { s.mimeMaps = m }, true},
		{"header checks do not see parts", "Content-Disposition", func(s *settings, m *lookup.Maps) { s.headerMaps = m }, false},
		{"nested", "Subject: nested", func(s *settings, m *lookup.Maps) { s.nestedMaps = m }, true},
		{"nested does not see text", "Subject: in body", func(s *settings, m *lookup.Maps) { s.nestedMaps = m; s.mimeMaps = m }, false},
		{"body", "Subject: in body", func(s *settings, m *lookup.Maps) { s.bodyMaps = m }, true},
		{"body, MIME off", "Content-Disposition", func(s *settings, m *lookup.Maps) { s.bodyMaps = m; s.mimeMaps = m; s.noMime = true }, true},
		{"body beyond the limit", "text", func(s *settings, m *lookup.Maps) { s.bodyMaps = m; s.bodyLimit = 20 }, false},
	} {
		w := newWorld(t, "", func(s *settings) { tc.set(s, starting(map[string]string{tc.match: "REJECT"})) })
		_, r := w.send(mail{to: []string{"u@x.test"}, content: content, chunk: 17})
		if (r.Status == cleanup.Rejected) != tc.hit {
			t.Errorf("%s: %+v", tc.where, r)
		}
	}
}

// TestMessageInside: the header of a message that is the whole content is
// looked at like that of one in a part.
func TestMessageInside(t *testing.T) {
	const set = "nested_header_checks = regexp:{{/^Subject: bad/ REJECT nested}}\nmime_header_checks = regexp:{{/^Content-Type: text.evil/ REJECT evil}}\n"
	w := newWorld(t, set, nil)
	for content, want := range map[string]string{
		full + "Content-Type: message/rfc822\r\n\r\nSubject: bad\r\n\r\ntext\r\n":                                     "nested",
		full + "Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: text/evil\r\n\r\ntext\r\n":            "evil",
		full + "Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nSubject: bad\r\n\r\ntext\r\n": "nested",
		full + "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nSubject: bad\r\n":                               "",
		full + "Content-Type: text/plain\r\n\r\nSubject: bad\r\n\r\ntext\r\n":                                         "",
	} {
		for _, chunk := range []int{0, 1, 17} {
			_, r := w.send(mail{to: []string{"u@x.test"}, content: content, chunk: chunk})
			if (r.Status == cleanup.Rejected) != (want != "") || r.Reason != want {
				t.Errorf("%q in pieces of %d: %+v, want %q", content, chunk, r, want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, "message_size_limit = 5000\nhopcount_limit = 3\nheader_size_limit = 300\n", nil)
	for _, tc := range []struct {
		name string
		m    mail
		want cleanup.Status
	}{
		{"fits", mail{to: []string{"u@x.test"}, content: full + "\r\n" + strings.Repeat("x", 4000)}, cleanup.OK},
		{"too big", mail{to: []string{"u@x.test"}, content: full + "\r\n" + strings.Repeat("x", 6000), chunk: 100}, cleanup.TooBig},
		{"hops", mail{to: []string{"u@x.test"}, content: strings.Repeat("Received: x\r\n", 3) + full + "\r\n"}, cleanup.OK},
		{"too many hops", mail{to: []string{"u@x.test"}, content: strings.Repeat("Received: x\r\n", 4) + full + "\r\n"}, cleanup.TooManyHops},
		{"nobody", mail{content: full}, cleanup.NoRecipients},
		{"bad id", mail{to: []string{"u@x.test"}, begin: func(b *cleanup.Begin) { b.Message.ID = "../../x" }}, cleanup.BadProtocol},
		{"discarded by smtpd", mail{to: []string{"u@x.test"}, begin: func(b *cleanup.Begin) { b.Flags |= cleanup.Discard }}, cleanup.OK},
	} {
		before, _ := os.ReadDir(filepath.Join(w.dir, queue.Incoming))
		id, r := w.send(tc.m)
		if r.Status != tc.want {
			t.Errorf("%s: %+v, want status %d", tc.name, r, tc.want)
		}
		files, _ := os.ReadDir(filepath.Join(w.dir, queue.Incoming))
		if n := len(files) - len(before); n != 0 && (tc.want != cleanup.OK || strings.HasPrefix(tc.name, "disc")) {
			t.Errorf("%s: %d files left", tc.name, n)
		}
		if tc.name == "hops" {
			if n := w.load(queue.Incoming, id).f.Message().Hops; n != 3 {
				t.Errorf("Hops = %d", n)
			}
		}
	}
	st := w.accept(mail{to: []string{"u@x.test"}, content: full + "X-Long: " + strings.Repeat("z", 1000) + "\r\nX-After: 1\r\n\r\nb"})
	if i := strings.Index(st.content, "X-Long"); !strings.Contains(st.content, "\r\nX-After: 1\r\n") || strings.Count(st.content[i:], "z") > 300 {
		t.Error("header_size_limit does not cut the header alone")
	}
}

func TestExtractRecipients(t *testing.T) {
	flags := func(b *cleanup.Begin) { b.Flags |= cleanup.ExtractRcpts }
	w := newWorld(t, "", nil)
	st := w.accept(mail{begin: flags, content: "Date: x\r\nFrom: f@x.test\r\nMessage-Id: <x>\r\nTo: \"A, B\" <a@x.test>, grp: b@x.test, c@x.test;\r\nCc: d@x.test\r\nBcc: e@x.test\r\n\r\n"})
	if want := []string{"a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"}; !reflect.DeepEqual(st.to(), want) {
		t.Errorf("recipients %q, want %q", st.to(), want)
	}
	if strings.Contains(st.content, "Bcc") {
		t.Error("Bcc: is still there")
	}
	st = w.accept(mail{begin: flags, content: full + "Resent-To: r@x.test\r\nResent-Bcc: s@x.test\r\n\r\n"})
	if want := []string{"r@x.test", "s@x.test"}; !reflect.DeepEqual(st.to(), want) {
		t.Errorf("resent: recipients %q, want %q", st.to(), want)
	}
}

func TestDiskTrouble(t *testing.T) {
	for name, tc := range map[string]struct {
		ops  *durable.Ops
		want cleanup.Status
	}{
		"full":  {&durable.Ops{Write: func(int, []byte) (int, error) { return 0, unix.ENOSPC }}, cleanup.NoSpace},
		"fsync": {&durable.Ops{Fsync: func(int) error { return unix.EIO }}, cleanup.WriteError},
	} {
		for _, size := range []int{10, 200_000} {
			w := newWorldOps(t, "", tc.ops, nil)
			_, r := w.send(mail{to: []string{"u@x.test"}, content: full + "\r\n" + strings.Repeat("x", size)})
			if r.Status != tc.want {
				t.Errorf("%s, %d bytes: %+v", name, size, r)
			}
			w.nothingLeft()
			if len(w.note.ids) != 0 {
				t.Errorf("%s: qmgr was told of a message that is not there", name)
			}
		}
	}
}

func TestCharacters(t *testing.T) {
	w := newWorld(t, "message_strip_characters = \\0\\001x\nmessage_reject_characters = \\a\\377\n", nil)
	st := w.accept(mail{to: []string{"u@x.test"}, content: full + "\r\na\x00b\x01c\\0 xyz\r\n", chunk: 3})
	if got, want := after(st.content), strings.ReplaceAll(full, "x", "")+"\r\nabc\\0 yz\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, bad := range []string{"\a", "\xff"} {
		if _, r := w.send(mail{to: []string{"u@x.test"}, content: full + "\r\n" + bad}); r.Status != cleanup.Rejected || r.Reason != "disallowed character" {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

func TestNoEmptyLine(t *testing.T) {
	for action, want := range map[string]string{"fix_quietly": full + "\r\ntext\r\n", "add_header": full + "MIME-Error: message header was not terminated by an empty line\r\n\r\ntext\r\n", "reject": ""} {
		w := newWorld(t, "non_empty_end_of_header_action = "+action+"\n", nil)
		for _, in := range []string{"text\r\n", "text"} {
			id, r := w.send(mail{to: []string{"u@x.test"}, content: full + in})
			if (r.Status == cleanup.Rejected) != (want == "") {
				t.Fatalf("%s: %+v", action, r)
			}
			if want != "" {
				if got := after(w.load(queue.Incoming, id).content); strings.TrimSuffix(got, "\r\n") != strings.TrimSuffix(want, "\r\n") {
					t.Errorf("%s: %q, want %q", action, got, want)
				}
			}
		}
	}
}

func TestReplaceStray(t *testing.T) {
	w := newWorld(t, "", nil)
	for _, chunk := range []int{1, 2, 100} {
		st := w.accept(mail{to: []string{"u@x.test"}, content: full + "\r\na\rb\nc\r\n\r\r\nd\r", chunk: chunk})
		if got, want := after(st.content), full+"\r\na b c\r\n \r\nd "; got != want {
			t.Errorf("chunks of %d: %q, want %q", chunk, got, want)
		}
	}
	w = newWorld(t, "cleanup_replace_stray_cr_lf = no\n", nil)
	st := w.accept(mail{to: []string{"u@x.test"}, content: full + "\r\na\rb\r\r\n"})
	if got, want := after(st.content), full+"\r\na\rb\r\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMessageIDLine(t *testing.T) {
	w := newWorld(t, "", nil)
	id, _ := w.send(mail{to: []string{"u@x.test"}, content: full})
	if !w.log.has(id + ": message-id=<m@b.test>") {
		t.Errorf("log %q", w.log.l)
	}
	id, _ = w.send(mail{to: []string{"u@x.test"}, content: "Subject: x\r\n", begin: func(b *cleanup.Begin) { b.Message.Local = false }})
	if !w.log.has(id + ": message-id=<>") {
		t.Errorf("log %q", w.log.l)
	}
}

// TestOverSocket runs a message through client, server and queue.
func TestOverSocket(t *testing.T) {
	w := newWorld(t, "", nil)
	path := filepath.Join(t.TempDir(), "cleanup")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	srv := &cleanup.Server{Begin: w.set.begin}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { srv.Serve(c); c.Close() }()
		}
	}()
	cl := cleanup.NewClient(path)
	defer cl.Close()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			now := time.Now()
			id := queue.NewID(now)
			tx, err := cl.Begin(&cleanup.Begin{Flags: cleanup.External, Message: envelope.Message{ID: id, Arrival: now, Sender: "a@b.test"}})
			if err != nil {
				t.Error(err)
				return
			}
			tx.Recipient(&envelope.Recipient{Address: "u@x.test"})
			body := full + "\r\n" + strings.Repeat("line\r\n", i*1000)
			tx.Write([]byte(body))
			r, err := tx.End()
			if err != nil || r.Status != cleanup.OK {
				t.Errorf("%+v, %v", r, err)
				return
			}
			f, err := w.set.spool.Load(queue.Incoming, id)
			if err != nil {
				t.Error(err)
				return
			}
			if err := f.Verify(); err != nil || f.ContentLength() != r.Size {
				t.Errorf("%v, size %d, result %d", err, f.ContentLength(), r.Size)
			}
			f.Close()
		})
	}
	wg.Wait()
}

func BenchmarkMessage4KiB(b *testing.B) {
	w := newWorldOps(b, "", &durable.Ops{Fsync: func(int) error { return nil }}, nil)
	w.set.log = maillog.New("x", maillog.Discard{})
	content := full + "Subject: hello\r\nReceived: x\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 60)
	b.ReportAllocs()
	for b.Loop() {
		id, r := w.send(mail{to: []string{"u@x.test"}, content: content})
		if r.Status != cleanup.OK {
			b.Fatal(r)
		}
		w.set.spool.Remove(queue.Incoming, id)
		w.note.ids = w.note.ids[:0]
	}
}
