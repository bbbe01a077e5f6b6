package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
)

// TestShared: sessions of two processes on one folder, with a foreign program
// beside them: each sees an orderly folder at any time, and all the same in the end.
func TestShared(t *testing.T) {
	m, root, s := setup(t)
	other := newManager(t, []mailbox.Folder{})
	s.Create("Box", mailbox.UseNone)
	for i := range 50 {
		mailboxtest.Add(t, s, "INBOX", msg(i))
	}
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(n)))
			mgr := m
			if n%3 == 0 {
				mgr = other
			}
			st, err := mgr.Open(root, UserOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			b, err := st.Open("INBOX", false)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			if n%2 == 0 {
				b.Changed()
			}
			for i := range 60 {
				if err := step(rng, st, b, i); err != nil {
					t.Errorf("session %d: %v", n, err)
					return
				}
			}
		})
	}
	wg.Go(func() { // mutt
		for range 40 {
			files, _ := filepath.Glob(root + "/cur/*")
			if len(files) > 0 {
				f := files[len(files)/2]
				base, _ := splitName(filepath.Base(f))
				os.Rename(f, root+"/cur/"+base+":2,FS")
			}
			runtime.Gosched()
		}
	})
	wg.Wait()
	a, b := mailboxtest.Open(t, s, "INBOX"), mailboxtest.Open(t, openStore(t, other, root), "INBOX")
	mailboxtest.Sync(t, a)
	mailboxtest.Sync(t, b)
	mailboxtest.Sync(t, a) // what b found
	mailboxtest.SameView(t, a.View(), b.View())
	files, _ := filepath.Glob(root + "/[cn]*/*")
	if len(files) != len(a.View().Messages) {
		t.Errorf("%d files, %d messages", len(files), len(a.View().Messages))
	}
	m.Close()
	if bad, err := (&maildirAdmin{newManager(t, nil), root}).Verify("INBOX"); err != nil || len(bad) > 0 {
		t.Errorf("%q, %v", bad, err)
	}
}

// step does one thing that a client does, and looks whether the View is in order.
func step(rng *rand.Rand, st mailbox.Store, b mailbox.Mailbox, i int) error {
	before := b.View()
	c, err := b.Sync(context.Background(), i%2 == 0)
	if err != nil {
		return err
	}
	v := b.View()
	if len(v.Messages) != len(before.Messages)-len(c.Expunged)+c.New || v.UIDNext < before.UIDNext || v.HighestModSeq < before.HighestModSeq {
		return fmt.Errorf("from %d messages by %+v to %d", len(before.Messages), c, len(v.Messages))
	}
	for k, m := range v.Messages {
		if k > 0 && m.UID <= v.Messages[k-1].UID || m.UID >= v.UIDNext {
			return fmt.Errorf("UID %d at %d", m.UID, k)
		}
	}
	var some []mailbox.UID
	for range 4 {
		if len(v.Messages) > 0 {
			some = append(some, v.Messages[rng.IntN(len(v.Messages))].UID)
		}
	}
	switch rng.IntN(8) {
	case 0:
		_, err = b.Store(some, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
	case 1:
		_, err = b.Store(some, mailbox.StoreChange{Op: mailbox.Replace, Flags: mailbox.Seen, Keywords: []string{fmt.Sprint("k", rng.IntN(30))}})
	case 2:
		err = b.Expunge(nil)
	case 3:
		_, err = b.Copy(some, "INBOX")
	case 4:
		_, err = b.Move(some, "Box")
	case 5, 6:
		a, aerr := st.Append("INBOX")
		if aerr != nil {
			return aerr
		}
		defer a.Abort()
		for range 1 + rng.IntN(2) {
			w, werr := a.Begin(mailbox.AppendInfo{})
			if werr != nil {
				return werr
			}
			fmt.Fprintf(w, "Subject: %d\r\n\r\n%d\r\n", i, rng.IntN(1000))
		}
		_, err = a.Commit()
	case 7:
		if len(v.Messages) == 0 {
			return nil
		}
		m := v.Messages[rng.IntN(len(v.Messages))]
		var ct mailbox.Content
		if ct, err = b.Content(m); errors.Is(err, mailbox.ErrExpunged) {
			return nil
		}
		if err == nil {
			if m.Size >= 0 && ct.Size() != m.Size {
				err = fmt.Errorf("UID %d: %d bytes, size %d", m.UID, ct.Size(), m.Size)
			}
			ct.Close()
			b.SetCached(mailbox.CacheValue{UID: m.UID, Kind: mailbox.CacheDerived, Value: []byte(fmt.Sprint(m.UID))})
			if got, ok := b.Cached(m.UID, mailbox.CacheDerived); ok && string(got) != fmt.Sprint(m.UID) {
				err = fmt.Errorf("cached %s for %d", got, m.UID)
			}
		}
	}
	return err
}
