package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
)

func newManager(t testing.TB, create []mailbox.Folder) *Manager {
	t.Helper()
	m, err := NewManager(Options{Host: "mx.test", Create: create})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	// Look again as long as a look proves nothing, so that a test need not wait.
	m.settle = 0
	return m
}

func openStore(t testing.TB, m *Manager, root string) mailbox.Store {
	t.Helper()
	s, err := m.Open(root, UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drop delivers as procmail does: LF line ends, no size in the name.
func drop(t testing.TB, root, content string) string {
	t.Helper()
	names.n++
	name := fmt.Sprintf("17000000%02d.%05d_1.host", names.n/1000, names.n)
	path := root + "/new/" + name
	if err := os.WriteFile(root+"/tmp/"+name, []byte(strings.ReplaceAll(content, "\r\n", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root+"/tmp/"+name, path); err != nil {
		t.Fatal(err)
	}
	return path
}

var names struct{ n int }

func TestConformance(t *testing.T) {
	mailboxtest.Run(t, func(t *testing.T) *mailboxtest.Fixture {
		root := filepath.Join(t.TempDir(), "Maildir")
		m := newManager(t, []mailbox.Folder{})
		openStore(t, m, root)
		return &mailboxtest.Fixture{
			Open:    func(t *testing.T) mailbox.Store { return openStore(t, m, root) },
			Restart: func(t *testing.T) { m = newManager(t, []mailbox.Folder{}) },
			Deliver: func(t *testing.T, content string) { drop(t, root, content) },
		}
	})
}
