package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"posthaste/pkg/agenttest"
	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/worker"
)

func TestMain(m *testing.M) {
	if worker.Requested() {
		if err := worker.Serve(openWorker); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, settings string, args ...string) *agenttest.Agent {
	t.Helper()
	a := agenttest.New(t, "pipe", "filter", "recipient_delimiter = +\n"+settings, append([]string{"user=nobody"}, args...)...)
	p, err := newPiper(a.Env)
	if err != nil {
		t.Fatal(err)
	}
	os.Mkdir(a.Dir+"/out", 0o777)
	os.Chmod(a.Dir+"/out", 0o777)
	a.Serve(p.deliver)
	return a
}

func script(t *testing.T, a *agenttest.Agent, text string) {
	t.Helper()
	os.Remove(a.Dir + "/cmd")
	if err := os.WriteFile(a.Dir+"/cmd", []byte("#!/bin/sh\ncd "+a.Dir+"/out\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

const simple = "Subject: x\r\n\r\n.dot\r\nFrom here\r\n"

func TestContent(t *testing.T) {
	a := start(t, "", "flags=BDFORXhqu.>", `eol=\r\n`, "argv=DIR/cmd")
	script(t, a, "cat > in")
	a.Want(a.One(simple, "Anna@V.test"), envelope.Sent, "2.0.0", "delivered via filter service")
	b, _ := os.ReadFile(a.Dir + "/out/in")
	_, rest, _ := strings.Cut(string(b), "\r\n")
	want := "Return-Path: <sender@example.org>\r\nX-Original-To: Anna@V.test\r\nDelivered-To: Anna@V.test\r\nSubject: x\r\n\r\n..dot\r\n>From here\r\n\r\n"
	if rest != want || !strings.HasPrefix(string(b), "From sender@example.org  ") {
		t.Errorf("got %q, want %q", rest, want)
	}
	loop := "Delivered-To: anna@v.test\r\n" + simple
	a.Want(a.One(loop, "Anna@V.test"), envelope.Bounced, "5.4.6", "mail forwarding loop for Anna@V.test")
	r := a.Request(simple, "a@v.test", "b@v.test")
	for _, o := range a.Send(r, simple) {
		a.Want(o, envelope.Deferred, "4.3.5", "mail system configuration error")
	}
}

func TestIdentity(t *testing.T) {
	a := start(t, "export_environment = FOO=bar", "directory=/", "argv=/bin/sh", "-c", "echo $$(id -u) $$(pwd) $$FOO; cat > /dev/null")
	want := fmt.Sprintf("(%d / bar)", os.Geteuid())
	if os.Geteuid() == 0 {
		want = "(65534 / bar)"
	}
	o := a.One(simple, "a@v.test")
	a.Want(o, envelope.Sent, "2.0.0", want)
	if o.Action != delivery.Relayed {
		t.Errorf("action %q", o.Action)
	}
	if !strings.Contains(a.Log(), "relay=filter, ") {
		t.Error(a.Log())
	}
}

// TestUmask: what a command writes is its user's alone.
func TestUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	a := start(t, "", "argv=/bin/sh", "-c", "umask; cat > /dev/null")
	a.Want(a.One(simple, "a@v.test"), envelope.Sent, "2.0.0", "(0077)")
}

func TestOutcomes(t *testing.T) {
	a := start(t, "filter_time_limit = 1s", "size=1k", "argv=DIR/cmd", "${recipient}")
	for _, c := range []struct {
		script, dsn, text string
		status            envelope.Status
	}{
		{"cat >/dev/null", "2.0.0", "delivered via filter service", envelope.Sent},
		{"exit 67", "5.1.1", "user unknown", envelope.Bounced},
		{"exit 75", "4.3.0", "temporary failure", envelope.Deferred},
		{"echo 4.7.1 later; exit 1", "4.7.1", "later", envelope.Deferred},
		{"echo why; exit 9", "5.3.0", "Command died with status 9: ", envelope.Bounced},
		{"kill -SEGV $$", "4.3.0", "Command died with signal 11", envelope.Deferred},
		{"sleep 100", "5.3.0", "Command time limit exceeded", envelope.Bounced},
	} {
		script(t, a, c.script)
		a.Want(a.One(simple, "a@v.test"), c.status, c.dsn, c.text)
	}
	a.Want(a.One(strings.Repeat("0123456789\r\n", 100), "a@v.test"), envelope.Bounced, "5.2.3", "message too large")
}

func TestArguments(t *testing.T) {
	r := &proto.Request{Nexthop: "Next.Hop", ContentLength: 77, Message: envelope.Message{ID: "QQ", Sender: "a b@x.y", Envid: "e", Client: envelope.Client{Address: "192.0.2.1"}},
		Recipients: []envelope.Recipient{{Address: "Us Er+E+x@Dom.Ain", Orig: "o@p"}, {Address: "$sender;`id`@b"}, {Address: "plain@c"}}}
	for _, c := range []struct {
		flags, arg string
		want       []string
	}{
		{"", "-f", []string{"-f"}},
		{"", "$$", []string{"$"}},
		{"", "${sender}", []string{"a b@x.y"}},
		{"q", "$sender", []string{`"a b"@x.y`}},
		{"", "$recipient", []string{"Us Er+E+x@Dom.Ain", "$sender;`id`@b", "plain@c"}},
		{"qh", "$recipient", []string{`"Us Er+E+x"@dom.ain`, "\"$sender;`id`\"@b", "plain@c"}},
		{"u", "<$recipient>", []string{"<us er+e+x@Dom.Ain>", "<$sender;`id`@b>", "<plain@c>"}},
		{"", "$user/$extension", []string{"Us Er/E+x", "$sender;`id`/", "plain/"}},
		{"q", "$mailbox", []string{"Us Er+E+x", "$sender;`id`", "plain"}},
		{"h", "$domain:$nexthop", []string{"dom.ain:next.hop", "b:next.hop", "c:next.hop"}},
		{"", "$original_recipient", []string{"o@p", "$sender;`id`@b", "plain@c"}},
		{"", "$size $queue_id $envid $client_address", []string{"77 QQ e 192.0.2.1"}},
		{"", "${envid?--envid=$envid}${sasl_username:nobody}", []string{"--envid=enobody"}},
	} {
		a, err := parseAttrs([]string{"flags=" + c.flags, "user=u", "argv=" + c.arg})
		if err != nil {
			t.Errorf("%s: %v", c.arg, err)
			continue
		}
		got, err := expandArgv(a, "+", r)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("flags=%s %s: %q, %v; want %q", c.flags, c.arg, got, err, c.want)
		}
	}
	r.Message.Sender = ""
	a, _ := parseAttrs([]string{"user=u", "null_sender=", "argv=x", "-f", "$sender"})
	if got, _ := expandArgv(a, "", r); len(got) != 3 || got[2] != "" {
		t.Errorf("empty null sender: %q", got)
	}
}

func TestRefused(t *testing.T) {
	for _, args := range [][]string{
		{"argv=x"}, {"user=u"}, {"user=u", "argv="}, {"user=u", "chroot=/x", "argv=x"}, {"user=u", "flags=Z", "argv=x"}, {"user=u", "what=x", "argv=x"},
		{"user=u", "argv=x", "$nonsense"}, {"user=u", "argv=x", "${recipient"}, {"user=u", "size=1x", "argv=x"}, {"user=u", `eol=\`, "argv=x"}, {"stray"},
	} {
		if _, err := parseAttrs(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if os.Geteuid() == 0 {
		for _, user := range []string{"root", "no-such-user", "nobody:root", "nobody:no-such-group"} {
			a := agenttest.New(t, "pipe", "filter", "", "user="+user, "argv=x")
			if _, err := newPiper(a.Env); err == nil {
				t.Errorf("user=%s is taken", user)
			}
		}
	}
}

// FuzzPipeArgs: attributes and addresses never make an argument disappear,
// appear or split.
func FuzzPipeArgs(f *testing.F) {
	f.Add("flags=hqu", "-x ${recipient?a$user}", "a b+c@d", "x@y")
	f.Add(`eol=\033\n`, "$sender$$", "$recipient", "")
	f.Fuzz(func(t *testing.T, attr, arg, rcpt, sender string) {
		a, err := parseAttrs([]string{attr, "user=u", "argv=cmd", arg, "end"})
		if err != nil {
			return
		}
		r := &proto.Request{Message: envelope.Message{Sender: sender}, Recipients: []envelope.Recipient{{Address: rcpt}, {Address: "b@c"}}}
		out, err := expandArgv(a, "+", r)
		if err != nil {
			return
		}
		if strings.HasPrefix(strings.ToLower(attr), "argv=") {
			return
		}
		if n := len(out); n != 3 && n != 4 || out[0] != "cmd" || out[n-1] != "end" {
			t.Fatalf("%q with %q became %q", arg, rcpt, out)
		}
		if !strings.Contains(arg, "$") && out[1] != arg {
			t.Fatalf("%q became %q", arg, out[1])
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add((&order{Argv: []string{"a"}, Env: []string{"b=c"}, EOL: "\n"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := decodeOrder(b); err == nil {
			if p, err := decodeOrder(o.encode()); err != nil || !slices.Equal(p.Argv, o.Argv) {
				t.Fatalf("%+v became %+v, %v", o, p, err)
			}
		}
	})
}
