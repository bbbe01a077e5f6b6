// Package store shows Maildir++ to readers: it implements package mailbox on
// Maildirs with an index file beside each folder.
package store

import (
	"errors"
	"time"

	"posthaste/pkg/mailbox"
)

// Manager shares folders among the sessions of a process. A process has one.
type Manager struct{}

// Options are for all stores of a Manager.
type Options struct {
	// Host is the name that ends the names of new files.
	Host string
	// Syncfs: see durable.Options.
	Syncfs string
	// Poll is how often folders that cannot be watched are looked at, 0 for 30 s.
	Poll time.Duration
	// Create lists the folders that the first login makes.
	Create []mailbox.Folder
}

// UserOptions are for one store.
type UserOptions struct {
	QuotaBytes    int64 // 0 for what an existing maildirsize file says
	QuotaMessages int64
}

// NewManager returns a Manager.
func NewManager(o Options) (*Manager, error) { return nil, errors.New("not built yet") }

// Open opens the Maildir at root, which is made if it is missing.
func (m *Manager) Open(root string, o UserOptions) (mailbox.Store, error) {
	return nil, errors.New("not built yet")
}

// Close ends watching. Stores must be closed.
func (m *Manager) Close() error { return nil }
