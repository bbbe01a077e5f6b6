package main

import (
	"context"
	"strings"
	"testing"

	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/lookup"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/route"
	"posthaste/pkg/userdb"
)

// memTable is an alias table in memory.
type memTable map[string]string

func (m memTable) Get(k string) (string, bool, error) { v, ok := m[k]; return v, ok, nil }
func (memTable) Name() string                         { return "static:test" }
func (memTable) Partial() bool                        { return true }
func (memTable) Close() error                         { return nil }

// plainRouter sends @other.example elsewhere and everything else to local.
type plainRouter struct{}

func (plainRouter) Rewrite(a string, _ bool) string {
	if !strings.Contains(a, "@") {
		return a + "@mx.test"
	}
	return a
}
func (plainRouter) Resolve(_, rcpt string) (route.Route, error) {
	if strings.HasSuffix(rcpt, "@other.example") {
		return route.Route{Transport: "smtp", Recipient: rcpt}, nil
	}
	return route.Route{Transport: "local", Recipient: rcpt}, nil
}
func (plainRouter) Delims() string { return "+" }

// FuzzAliasExpansion: whatever a table holds, the expansion ends within its
// limits and every recipient gets an outcome or a new message.
func FuzzAliasExpansion(f *testing.F) {
	for _, s := range []string{"a: b\nb: a", "a: a", "a: a, b, c\nb: c, a+x\nc: x@other.example", "a: \"|cmd\", /file, :include:/nonexistent", "a: :include:rel, ~/x, ~, |", "a: owner-a\nowner-a: a, x@other.example", "a: <>, ()", "a: \\a, \\\\a, \"\""} {
		f.Add(s)
	}
	dir := f.TempDir()
	write(f, dir+"/passwd", "", 0o644, 0)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		m := memTable{}
		for _, l := range strings.Split(text, "\n") {
			if k, v, ok := strings.Cut(l, ":"); ok && len(m) < 20 {
				m[strings.ToLower(strings.TrimSpace(k))] = v
			}
		}
		set := &settings{aliases: lookup.Single(m), ownerSpecial: true, frozen: true, dupLimit: 1000, propAlias: true, propInclude: true, agent: agentConf{LineLimit: 2048}}
		d := &dispatcher{set: set, service: "local", users: userdb.New(dir+"/passwd", dir+"/group"), route: plainRouter{}, euid: 4242, self: &agent{conf: &set.agent}}
		j := &delivery.Job{Request: &proto.Request{Message: envelope.Message{ID: "X", Sender: "s@other.example"}, Recipients: []envelope.Recipient{{Address: "a+e@mx.test"}}}}
		x := newExpansion(d, j, 0)
		x.scanned = true
		x.recipient(context.Background(), attr{rcpt: x.orig, sender: "s@other.example"})
		if x.visits > maxVisits+maxTokens {
			t.Fatalf("%d visits", x.visits)
		}
		if len(x.leaves) == 0 && len(x.forwards) == 0 {
			t.Fatalf("no outcome for %q", text)
		}
		for _, fw := range x.forwards {
			for i := range fw.rcpts {
				if err := fw.rcpts[i].Validate(); err != nil {
					t.Fatalf("forwards to %q: %v", fw.rcpts[i].Address, err)
				}
			}
		}
	})
}

// FuzzWorkerMessages: what a worker or a dispatcher sends is decoded or
// refused, and survives a round trip.
func FuzzWorkerMessages(f *testing.F) {
	f.Add((&task{Kind: taskUser, User: "alice", Forwards: []string{"/x"}, Env: []string{"A=b"}}).encode())
	f.Add((&reply{Verdict: isTokens, Tokens: []string{"a", "b"}, Warnings: []string{"w"}}).encode())
	f.Add((&agentConf{Hostname: "h"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := decodeTask(b); err == nil {
			if y, err := decodeTask(x.encode()); err != nil || y.Kind != x.Kind || y.Target != x.Target {
				t.Fatalf("task %+v became %+v, %v", x, y, err)
			}
		}
		if x, err := decodeReply(b); err == nil {
			if y, err := decodeReply(x.encode()); err != nil || len(y.Tokens) != len(x.Tokens) {
				t.Fatalf("reply %+v became %+v, %v", x, y, err)
			}
		}
		decodeConf(b)
	})
}
