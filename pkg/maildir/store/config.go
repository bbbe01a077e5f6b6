package store

import (
	"fmt"

	"posthaste/pkg/config"
	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/params"
)

// Configured returns the Options that main.cf gives: the host's name, and how and
// how far mbox files are written, as for local(8).
func Configured(cfg *config.Config) (Options, error) {
	methods, err := filelock.ParseMethods(params.MailboxDeliveryLock.List(cfg))
	if err != nil {
		return Options{}, fmt.Errorf("mailbox_delivery_lock: %w", err)
	}
	return Options{
		Host:      params.Myhostname.In(cfg),
		Locks:     filelock.Options{Methods: methods, Stale: params.StaleLockTime.In(cfg)},
		MboxLimit: params.MailboxSizeLimit.In64(cfg),
	}, nil
}

// OpenAt opens the mail at a location, in its format.
func (m *Manager) OpenAt(l location.Location, o UserOptions) (mailbox.Store, error) {
	if l.Mbox {
		return m.OpenMbox(MboxLocation{Root: l.Root, Inbox: l.Inbox}, o)
	}
	return m.Open(l.Root, o)
}

// ControlDir is the directory for files about the user's mail as a whole. It exists
// while a Store is open.
func ControlDir(l location.Location) string {
	if l.Mbox {
		return l.Root + "/" + controlDir
	}
	return l.Root
}
