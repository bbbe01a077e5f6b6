package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
)

// action is what an option does with a message.
type action struct {
	option byte
	past   string // "Deleted", for the total
	line   string // for the log
	queues []string
	ask    qmgr.Action // what qmgr does with an active message
	do     func(s *super, from, id string) error
}

var actions = []*action{
	{'d', "Deleted", qmgr.Delete.String(), []string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, qmgr.Delete, (*super).remove},
	{'h', "Placed on hold", qmgr.Hold.String(), []string{queue.Incoming, queue.Active, queue.Deferred}, qmgr.Hold, func(s *super, from, id string) error {
		return s.spool.Move(id, from, queue.Hold)
	}},
	{'H', "Released from hold", "released from hold", []string{queue.Hold}, 0, (*super).unhold},
	{'r', "Requeued", qmgr.Requeue.String(), []string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, qmgr.Requeue, func(s *super, from, id string) error {
		s.pickup = true
		return s.spool.Move(id, from, queue.Maildrop)
	}},
	{'e', "Force-expired", qmgr.Expire.String(), []string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, qmgr.Expire, (*super).expire},
	{'f', "Force-expired", qmgr.Expire.String(), []string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, qmgr.Expire, func(s *super, from, id string) error {
		err := s.expire(from, id)
		if err == nil && from == queue.Hold {
			err = s.unhold(from, id)
		}
		return err
	}},
}

// attempts bounds how often a message is followed that moves under our hands.
const attempts = 100

// one does a with one message and returns how many that made: 0 or 1. With tell, it
// says so.
func (s *super) one(a *action, id string, tell bool) int {
	for range attempts {
		from, err := s.find(a, id)
		if err != nil {
			return 0 // not there: not an error
		}
		line := a.line
		answer := qmgr.NotActive
		if from == queue.Active || from == queue.Incoming {
			answer = s.viaQmgr(a, id)
		}
		switch answer {
		case "":
		case qmgr.UnderWay:
			line, tell = "to be "+a.line+" when the delivery under way ends", true
		case qmgr.Again:
			time.Sleep(20 * time.Millisecond)
			continue
		case qmgr.NotActive:
			if err = s.place(from, id); err == nil {
				err = a.do(s, from, id)
			}
			if errors.Is(err, os.ErrNotExist) {
				continue // it moved
			}
			if err != nil {
				s.warn("%s: %v", id, err)
				return 0
			}
		default:
			s.warn("%s: %s", id, answer)
			return 0
		}
		s.log.Event(maillog.Line{ID: id, Message: line})
		if tell {
			fmt.Fprintf(s.err, "postsuper: %s: %s\n", id, line)
		}
		return 1
	}
	s.warn("%s: the message does not stand still", id)
	return 0
}

// find returns the queue that has a message, among those that a is for.
func (s *super) find(a *action, id string) (string, error) {
	for range 2 {
		q, err := s.spool.Find(id)
		if err != nil {
			return "", err
		}
		for _, n := range s.queues(a) {
			if n == q {
				return q, nil
			}
		}
	}
	return "", os.ErrNotExist
}

// place moves a misplaced file to where the operations expect it.
func (s *super) place(from, id string) error {
	if _, err := os.Lstat(s.spool.Path(from, id)); errors.Is(err, os.ErrNotExist) {
		return s.spool.Rehome(from, id)
	}
	return nil
}

// viaQmgr has qmgr give a message up and do a; "" means that it is done. What
// does not run is not working on it either.
func (s *super) viaQmgr(a *action, id string) (answer string) {
	if s.down {
		return qmgr.NotActive
	}
	for range 2 {
		if s.qmgr == nil {
			c, err := qmgr.Dial(filepath.Join(s.dir, qmgr.Service))
			if err != nil {
				s.down = true
				return qmgr.NotActive
			}
			s.qmgr = c
		}
		err := s.qmgr.LetGo(a.ask, id)
		var no *qmgr.Refused
		switch {
		case err == nil:
			if a.ask == qmgr.Requeue {
				s.pickup = true
			}
			return ""
		case errors.As(err, &no):
			return no.Text
		}
		s.qmgr.Close()
		s.qmgr = nil
	}
	return qmgr.Again
}

// remove deletes a message. It goes to the hold queue first, where nobody else
// takes it up, so that it is either deleted or, having moved on, found again.
func (s *super) remove(from, id string) error {
	if from == queue.Maildrop {
		return os.Remove(s.spool.Path(from, id))
	}
	if from != queue.Hold {
		if err := s.spool.Move(id, from, queue.Hold); err != nil {
			return err
		}
	}
	return s.spool.Remove(queue.Hold, id)
}

// unhold moves a message from hold to deferred, due at once.
func (s *super) unhold(from, id string) error {
	if err := s.spool.Schedule(from, id, time.Now()); err != nil {
		return err
	}
	return s.spool.Move(id, from, queue.Deferred)
}

// expire marks a message; qmgr sees the mark when it scans the queue.
func (s *super) expire(from, id string) error {
	return s.spool.SetForceExpire(from, id)
}

// wakePickup tells pickup that maildrop has something new.
func (s *super) wakePickup() {
	c, err := net.DialTimeout("unix", filepath.Join(s.dir, "public", s.drop), 5*time.Second)
	if err != nil {
		return // it looks by itself every minute
	}
	c.SetDeadline(time.Now().Add(time.Second))
	c.Write([]byte("W"))
	c.Close()
}

// scan calls fn for each message of the queues that were named, or of all.
func (s *super) scan(fn func(name string, e queue.Entry)) {
	for _, name := range queue.Names {
		if len(s.only) > 0 && !s.only[name] {
			continue
		}
		var l []queue.Entry
		if err := s.spool.List(name, func(e queue.Entry) bool { l = append(l, e); return true }); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.warn("%v", err)
		}
		for _, e := range l {
			fn(name, e)
		}
	}
}

// structure is -s.
func (s *super) structure() {
	moved, bad := 0, 0
	s.scan(func(name string, e queue.Entry) {
		if e.Misplaced {
			if err := s.spool.Rehome(name, e.ID); err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					s.warn("%s: %v", e.ID, err)
				}
				return
			}
			moved++
		}
		if name == queue.Corrupt || name == queue.Maildrop {
			return // pickup judges what users submit
		}
		f, err := s.spool.Load(name, e.ID)
		switch {
		case err == nil:
			f.Close()
		case errors.Is(err, queue.ErrCorrupt):
			s.warn("%v", err)
			if err := s.spool.Corrupt(name, e.ID); err != nil {
				s.warn("%v", err)
				return
			}
			bad++
		}
	})
	if moved > 0 {
		s.total("Renamed to match the hash directory", moved, "message")
	}
	if bad > 0 {
		s.total("Moved to the corrupt queue", bad, "message")
	}
}

// stale is how old a file must be that nobody will complete any more.
const stale = 7 * 24 * time.Hour

// purge is -p.
func (s *super) purge() {
	n := 0
	old := time.Now().Add(-stale)
	s.scan(func(name string, e queue.Entry) {
		if !e.ModTime.Before(old) || name == queue.Corrupt {
			return
		}
		f, err := s.spool.Load(name, e.ID)
		if err == nil {
			f.Close()
			return
		}
		if errors.Is(err, queue.ErrIncomplete) && s.spool.Remove(name, e.ID) == nil {
			n++
		}
	})
	for _, name := range queue.Names {
		if len(s.only) > 0 && !s.only[name] || name == queue.Corrupt {
			continue
		}
		var paths []string
		s.spool.Strays(name, func(path string, mod time.Time) bool {
			if mod.Before(old) {
				paths = append(paths, path)
			}
			return true
		})
		for _, p := range paths {
			if err := os.Remove(p); err != nil {
				s.warn("%v", err)
				continue
			}
			n++
		}
	}
	if n > 0 {
		s.total("Removed", n, "stale file")
	}
}
