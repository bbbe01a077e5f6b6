package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestConsistency lets clients change one mailbox at the same time. Each keeps
// what a client knows: the UIDs by sequence number. It must never be wrong.
func TestConsistency(t *testing.T) { checkConsistency(t, newTestStore(t)) }

// TestConsistencyMbox is the same on mbox files.
func TestConsistencyMbox(t *testing.T) {
	ts := newTestStore(t)
	ts.mbox = true
	checkConsistency(t, ts)
}

func checkConsistency(t *testing.T, ts *testStore) {
	seed := ts.client()
	for i := range 20 {
		seed.append("INBOX", "", fmt.Sprintf("Subject: %d\n\nbody %d\n", i, i))
	}
	const clients, steps = 6, 120
	var wg sync.WaitGroup
	for n := range clients {
		c := &modelled{client: ts.client(), rnd: rand.New(rand.NewPCG(uint64(n), 7)), bodies: map[string]string{}}
		wg.Add(1)
		go func() {
			defer wg.Done()
			c.do("SELECT INBOX")
			c.learn()
			for range steps {
				c.step()
			}
		}()
	}
	wg.Wait()
}

// modelled is a client with its model of the mailbox.
type modelled struct {
	*client
	rnd    *rand.Rand
	uids   []string // "" where not known yet
	bodies map[string]string
}

// do runs a command and holds its responses to the model.
func (c *modelled) do(format string, args ...any) []string {
	cmd := fmt.Sprintf(format, args...)
	out := c.client.do("%s", cmd)
	quiet := strings.HasPrefix(cmd, "FETCH") || strings.HasPrefix(cmd, "STORE") || strings.HasPrefix(cmd, "SEARCH")
	for _, r := range out {
		f := strings.Fields(r)
		if len(f) < 3 || f[0] != "*" {
			continue
		}
		seq, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		switch f[2] {
		case "EXPUNGE":
			if quiet {
				c.t.Errorf("%s told of %s", cmd, r)
			}
			if seq < 1 || seq > len(c.uids) {
				c.t.Errorf("%s: %s of %d messages", cmd, r, len(c.uids))
				return out
			}
			c.uids = append(c.uids[:seq-1], c.uids[seq:]...)
		case "EXISTS":
			if seq < len(c.uids) && !strings.HasPrefix(cmd, "SELECT") {
				c.t.Errorf("%s: %s, but there were %d", cmd, r, len(c.uids))
			}
			for len(c.uids) < seq {
				c.uids = append(c.uids, "")
			}
		case "FETCH":
			if seq < 1 || seq > len(c.uids) {
				c.t.Errorf("%s: %s of %d messages", cmd, r, len(c.uids))
				continue
			}
			_, rest, ok := strings.Cut(r, "UID ")
			if !ok {
				continue
			}
			uid, _, _ := strings.Cut(strings.TrimRight(rest, ")"), " ")
			if c.uids[seq-1] != "" && c.uids[seq-1] != uid {
				c.t.Errorf("%s: message %d had UID %s and now %s", cmd, seq, c.uids[seq-1], uid)
			}
			c.uids[seq-1] = uid
			if _, body, ok := strings.Cut(r, "BODY[] "); ok {
				if old, ok := c.bodies[uid]; ok && old != body {
					c.t.Errorf("UID %s had body %q and now %q", uid, old, body)
				}
				c.bodies[uid] = body
			}
		}
	}
	if last := out[len(out)-1]; strings.HasPrefix(last, "T BAD") && len(c.uids) > 0 {
		c.t.Errorf("%s: %s", cmd, last)
	}
	return out
}

// learn asks for all UIDs.
func (c *modelled) learn() {
	if len(c.uids) > 0 {
		c.do("FETCH 1:* UID")
	}
	for i := 1; i < len(c.uids); i++ {
		a, _ := strconv.Atoi(c.uids[i-1])
		b, _ := strconv.Atoi(c.uids[i])
		if b != 0 && b <= a {
			c.t.Errorf("UIDs not ascending: %v", c.uids)
		}
	}
}

func (c *modelled) step() {
	n := len(c.uids)
	pick := func() int { return 1 + c.rnd.IntN(n) }
	switch k := c.rnd.IntN(10); {
	case k < 2 || n < 5:
		i := c.rnd.IntN(1000)
		body := fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i)
		c.do("APPEND INBOX {%d+}\r\n%s", len(body), body)
	case k < 4:
		c.do("STORE %d +FLAGS (\\Deleted)", pick())
	case k < 5:
		c.do("EXPUNGE")
	case k < 6:
		c.do("NOOP")
	case k < 7:
		c.do("STORE %d FLAGS (\\Seen \\Flagged)", pick())
	case k < 8:
		c.do("FETCH %d (UID BODY.PEEK[])", pick())
	case k < 9:
		c.do("SEARCH SUBJECT 1 UNDELETED")
	default:
		c.learn()
	}
}
