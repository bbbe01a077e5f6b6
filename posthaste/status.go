package main

import (
	"fmt"
	"os"
	"path/filepath"

	"posthaste/pkg/params"
	"posthaste/pkg/proto/qmgr"
)

// status tells whether the system runs, and the ledger: what became of the
// recipients that it has accepted since qmgr started.
func (c *control) status() {
	pid, ok := c.running()
	if !ok {
		tool.Fatalf("the Posthaste mail system is not running") // an answer, nothing for the log
	}
	fmt.Printf("the Posthaste mail system is running: PID: %d\n", pid)
	if err := os.Chdir(params.QueueDirectory.In(c.cfg)); err != nil {
		tool.Fatalf("%v", err)
	}
	q, err := qmgr.Dial(filepath.FromSlash(qmgr.Service))
	if err != nil {
		tool.Warningf("the queue manager does not answer: %v", err)
		return
	}
	defer q.Close()
	s, err := q.Status()
	if err != nil {
		tool.Warningf("the queue manager does not answer: %v", err)
		return
	}
	fmt.Printf("recipients since the queue manager started:\n")
	for _, l := range []struct {
		name string
		n    int64
	}{{"accepted", s.Accepted}, {"retried", s.Retried}, {"delivered", s.Delivered}, {"relayed", s.Relayed}, {"bounced", s.Bounced},
		{"expired", s.Expired}, {"discarded", s.Discarded}, {"deferred", s.Deferred}, {"removed", s.Removed}, {"active", s.Active}} {
		fmt.Printf("  %-10s %d\n", l.name, l.n)
	}
	if s.Balanced() {
		fmt.Printf("  balanced   yes\n")
	} else {
		fmt.Printf("  balanced   no\n")
	}
	fmt.Printf("messages now: %d active, %d deferred, %d on hold; %d deliveries under way\n", s.Messages, s.Waiting, s.Held, s.Busy)
}
