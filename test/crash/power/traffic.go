package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/pkg/queue"
	"posthaste/test/tools/badmx"
	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

const users = 8

// traffic is the mail that the test sends.
type traffic struct {
	letters map[string]*letter // by token
	tokens  []string           // in the order of sending
	rec     *recorder
	sink    *badmx.Server
	open    atomic.Bool    // later.test takes mail now
	mu      sync.Mutex     //
	taken   map[string]int // what the remote server took since reset
}

type letter struct {
	token  string
	sender int
	to     []string
	body   []byte
}

// newTraffic decides what will be sent and starts the remote server: far.test
// takes everything, later.test says 450 while the disk is recorded, no.test
// refuses everything.
func newTraffic(o options, rec *recorder) (*traffic, error) {
	t := &traffic{letters: map[string]*letter{}, rec: rec, taken: map[string]int{}}
	rng := rand.New(rand.NewSource(o.seed))
	for i := range o.n {
		l := &letter{token: fmt.Sprintf("p%05d", i), sender: rng.Intn(users)}
		first := rng.Intn(users)
		for j := range 1 + rng.Intn(3) {
			switch n := rng.Intn(10); {
			case n < 6:
				l.to = append(l.to, fmt.Sprintf("user%d@local.test", (first+j)%users))
			case n < 8:
				l.to = append(l.to, fmt.Sprintf("r%d-%d@far.test", i, j))
			case n < 9:
				l.to = append(l.to, fmt.Sprintf("r%d-%d@later.test", i, j))
			default:
				l.to = append(l.to, fmt.Sprintf("r%d-%d@no.test", i, j))
			}
		}
		l.body = body(l, rng)
		t.letters[l.token] = l
		t.tokens = append(t.tokens, l.token)
	}
	var err error
	t.sink, err = badmx.Start("127.0.0.1:0", badmx.Script{
		Rcpt: func(_ int, to string) string {
			switch {
			case strings.HasSuffix(to, "@no.test"):
				return "550 5.1.1 no such user here"
			case strings.HasSuffix(to, "@later.test") && !t.open.Load():
				return "450 4.2.0 come back later"
			}
			return ""
		},
		// Marked before our 250 is sent: from then on the mail is in other hands.
		Done: func(_ int, m *badmx.Mail) string {
			l := t.letters[token(m.Data)]
			if l == nil || !bytes.HasSuffix(m.Data, l.body) {
				return "554 5.6.0 this is not what was sent"
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			for _, to := range m.To {
				t.taken[l.token+" "+to]++
				rec.mark("taken " + l.token + " " + to)
			}
			return ""
		},
		Forget: false,
	})
	return t, err
}

// body makes a message of 0.3 to 40 KiB.
func body(l *letter, rng *rand.Rand) []byte {
	var b bytes.Buffer
	// With these fields nothing is added but trace fields in front.
	fmt.Fprintf(&b, "From: user%d@local.test\r\nSubject: power\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@client.test>\r\nX-Token: %s\r\n\r\n", l.sender, l.token, l.token)
	lines := 3 + rng.Intn(40)
	if rng.Intn(5) == 0 {
		lines *= 10
	}
	for n := range lines {
		fmt.Fprintf(&b, "%s %d %x the quick brown fox jumps over the lazy dog, and then it rests\r\n", l.token, n, rng.Int63())
	}
	fmt.Fprintf(&b, "end of %s\r\n", l.token)
	return b.Bytes()
}

// token finds the token in a message's header, whatever its line ends.
func token(data []byte) string {
	_, rest, ok := bytes.Cut(data, []byte("\nX-Token: "))
	if !ok {
		if rest, ok = bytes.CutPrefix(data, []byte("X-Token: ")); !ok {
			return ""
		}
	}
	t, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimRight(t, "\r"))
}

// run sends all letters, first by few clients and then by many, so that single
// and shared commits are both on record; then it waits until everything that
// can be delivered is.
func (t *traffic) run(s *rig.System) error {
	half := len(t.tokens) / 2
	if err := t.send(s, t.tokens[:half], 3); err != nil {
		return err
	}
	if err := t.send(s, t.tokens[half:], 40); err != nil {
		return err
	}
	return rig.Until(time.Minute, "deliver all but the deferred", func() bool {
		q := s.Queued()
		return q[queue.Incoming]+q[queue.Active] == 0
	})
}

func (t *traffic) send(s *rig.System, tokens []string, clients int) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var c smtptalk.Client
			defer c.Quit()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(tokens) {
					return
				}
				l := t.letters[tokens[i]]
				var err error
				if !c.Live() {
					err = c.Open(s.SMTP(), time.Minute)
				}
				if err == nil {
					err = c.Send(fmt.Sprintf("user%d@local.test", l.sender), l.to, l.body).Err
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				t.rec.mark("ack " + l.token)
			}
		}()
	}
	wg.Wait()
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}
