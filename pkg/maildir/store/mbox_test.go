package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/mailcopy"
	"posthaste/pkg/mbox"
)

// mboxHome is a user with mbox files.
type mboxHome struct {
	MboxLocation
	lock filelock.Options
}

func newMboxHome(t testing.TB) *mboxHome {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/spool", 0o700); err != nil {
		t.Fatal(err)
	}
	return &mboxHome{MboxLocation{Root: dir + "/mail", Inbox: dir + "/spool/anna"},
		filelock.Options{Methods: filelock.Fcntl | filelock.Dotlock, Attempts: 1000, Delay: 2 * time.Millisecond}}
}

func (h *mboxHome) open(t testing.TB, m *Manager) mailbox.Store {
	t.Helper()
	s, err := m.OpenMbox(h.MboxLocation, UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deliver is local's delivery.
func (h *mboxHome) deliver(t testing.TB, content string) {
	t.Helper()
	err := mbox.Append(context.Background(), mbox.NewTarget(h.Inbox, h.lock),
		&mbox.Message{Envelope: mailcopy.Envelope{Sender: "a@b", When: time.Now()}, Flags: mailcopy.Mbox &^ mailcopy.ReturnPath, Content: strings.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMboxConformance(t *testing.T) {
	mailboxtest.Run(t, func(t *testing.T) *mailboxtest.Fixture {
		h := newMboxHome(t)
		m := newManager(t, []mailbox.Folder{})
		h.open(t, m)
		return &mailboxtest.Fixture{
			Open:    func(t *testing.T) mailbox.Store { return h.open(t, m) },
			Restart: func(t *testing.T) { m = newManager(t, []mailbox.Folder{}) },
			Deliver: func(t *testing.T, content string) { h.deliver(t, content) },
			Leaves:  true,
		}
	})
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var _ = filepath.Join
