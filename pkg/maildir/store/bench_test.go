package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
)

func fill(b *testing.B, n int) (string, *Manager) {
	root := filepath.Join(b.TempDir(), "Maildir")
	m := newManager(b, []mailbox.Folder{})
	m.settle = settle
	openStore(b, m, root)
	for i := range n {
		name := fmt.Sprintf("%s/cur/17%08d.M%dP1.mx.test,S=%d,W=%d:2,S", root, i, i, 4000, 4100)
		if err := os.WriteFile(name, []byte("Subject: x\n\nbody\n"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return root, m
}

func BenchmarkSelectFirst(b *testing.B) {
	root, _ := fill(b, 10000)
	for b.Loop() {
		os.Remove(root + "/posthaste.index")
		m := newManager(b, nil)
		m.settle = settle
		box, err := openStore(b, m, root).Open("INBOX", false)
		if err != nil {
			b.Fatal(err)
		}
		box.Close()
		m.Close()
	}
}

// BenchmarkSelectCold is the first session of a process.
func BenchmarkSelectCold(b *testing.B) {
	root, m := fill(b, 10000)
	mailboxtest.Open(b, openStore(b, m, root), "INBOX").Close()
	for b.Loop() {
		m := newManager(b, nil)
		m.settle = settle
		box, err := openStore(b, m, root).Open("INBOX", false)
		if err != nil {
			b.Fatal(err)
		}
		box.Close()
		m.Close()
	}
}

func BenchmarkSelectWarm(b *testing.B) {
	root, m := fill(b, 10000)
	s := openStore(b, m, root)
	mailboxtest.Open(b, s, "INBOX").Close()
	for b.Loop() {
		box, err := s.Open("INBOX", false)
		if err != nil {
			b.Fatal(err)
		}
		box.Close()
	}
}

func BenchmarkStoreAll(b *testing.B) {
	root, m := fill(b, 10000)
	box := mailboxtest.Open(b, openStore(b, m, root), "INBOX")
	uids := mailboxtest.UIDs(box)
	on := mailbox.Add
	for b.Loop() {
		if _, err := box.Store(uids, mailbox.StoreChange{Op: on, Flags: mailbox.Flagged}); err != nil {
			b.Fatal(err)
		}
		on = mailbox.Add + mailbox.Remove - on
	}
}

func BenchmarkStoreOne(b *testing.B) {
	root, m := fill(b, 10000)
	box := mailboxtest.Open(b, openStore(b, m, root), "INBOX")
	uids := mailboxtest.UIDs(box)
	i := 0
	for b.Loop() {
		if _, err := box.Store(uids[i%10000:i%10000+1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged}); err != nil {
			b.Fatal(err)
		}
		if _, err := box.Sync(context.Background(), true); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkSync(b *testing.B) {
	root, m := fill(b, 10000)
	box := mailboxtest.Open(b, openStore(b, m, root), "INBOX")
	for b.Loop() {
		box.Sync(context.Background(), true)
	}
}

func BenchmarkAppend(b *testing.B) {
	root, m := fill(b, 0)
	s := openStore(b, m, root)
	body := mailboxBody()
	for b.Loop() {
		mailboxtest.Add(b, s, "INBOX", body)
	}
}

func mailboxBody() string {
	s := "Subject: x\r\n\r\n"
	for range 100 {
		s += "0123456789012345678901234567890123456789\r\n"
	}
	return s
}

func BenchmarkContent(b *testing.B) {
	root, m := fill(b, 0)
	s := openStore(b, m, root)
	var list []string
	for range 1000 {
		list = append(list, mailboxBody())
	}
	mailboxtest.Add(b, s, "INBOX", list...)
	box := mailboxtest.Open(b, s, "INBOX")
	i := 0
	for b.Loop() {
		c, err := box.Content(box.View().Messages[i%1000])
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
		i++
	}
}

func BenchmarkCached(b *testing.B) {
	root, m := fill(b, 10000)
	box := mailboxtest.Open(b, openStore(b, m, root), "INBOX")
	uids := mailboxtest.UIDs(box)
	for _, u := range uids {
		box.SetCached(mailbox.CacheValue{UID: u, Kind: mailbox.CacheDerived, Value: make([]byte, 400)})
	}
	box.Close()
	box = mailboxtest.Open(b, openStore(b, m, root), "INBOX")
	for b.Loop() {
		for _, u := range uids {
			if _, ok := box.Cached(u, mailbox.CacheDerived); !ok {
				b.Fatal(u)
			}
		}
	}
}

func BenchmarkMultiAppend(b *testing.B) {
	root, m := fill(b, 0)
	s := openStore(b, m, root)
	var list []string
	for range 1000 {
		list = append(list, mailboxBody())
	}
	for b.Loop() {
		mailboxtest.Add(b, s, "INBOX", list...)
	}
}

func BenchmarkCopyAll(b *testing.B) {
	root, m := fill(b, 10000)
	s := openStore(b, m, root)
	s.Create("Box", mailbox.UseNone)
	box := mailboxtest.Open(b, s, "INBOX")
	uids := mailboxtest.UIDs(box)
	for b.Loop() {
		if _, err := box.Copy(uids, "Box"); err != nil {
			b.Fatal(err)
		}
	}
}
