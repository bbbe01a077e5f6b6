package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// world is the mail that was sent, and where it went.
type world struct {
	calm atomic.Bool // all destinations are well
	away [domains]atomic.Bool

	mu      sync.Mutex
	sent    map[string][]string // recipients by token
	taken   map[string]int      // token+" "+recipient: how often a destination took it
	odd     []string            // messages that were not as they were sent
	letters int
	numbers int
}

func newWorld() *world { return &world{sent: map[string][]string{}, taken: map[string]int{}} }

func (w *world) recipients() (n int) {
	for _, l := range w.sent {
		n += len(l)
	}
	return n
}

// refused tells whether an address is one that its destination does not know.
func refused(address string) bool {
	var n int
	fmt.Sscanf(address, "u%d@", &n)
	return n%13 == 0
}

var tokenLine = regexp.MustCompile(`(?m)^X-Token: (\S+)\r?$`)

// destination is the mail server of one domain.
func (w *world) destination(n int, seed int64) (*badmx.Server, error) {
	var mu sync.Mutex
	rng := rand.New(rand.NewSource(seed))
	// chance is true in so many of a hundred cases.
	chance := func(percent int) bool {
		if w.calm.Load() {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		return rng.Intn(100) < percent
	}
	return badmx.Start("127.0.0.1:0", badmx.Script{
		NoPipelining: n%4 == 0,
		Greeting: func(int) string {
			if w.away[n].Load() && !w.calm.Load() || chance(2) {
				return badmx.Hangup
			}
			return ""
		},
		Mail: func(int, string) string {
			switch {
			case chance(3):
				return "451 4.3.0 not now"
			case chance(2):
				return badmx.Hangup
			}
			return ""
		},
		Rcpt: func(_ int, to string) string {
			switch {
			case refused(to):
				return "550 5.1.1 no such user here"
			case chance(10):
				return "450 4.2.0 come back later"
			case chance(1):
				return badmx.Hangup
			}
			return ""
		},
		Data: func(int) string {
			if chance(3) {
				return "451 4.3.0 not now"
			}
			return ""
		},
		CutAfter: func(int) int {
			if chance(4) {
				return 200
			}
			return 0
		},
		Done: func(_ int, m *badmx.Mail) string {
			if chance(5) {
				return "452 4.3.1 full"
			}
			if chance(10) {
				time.Sleep(time.Second)
			}
			t := ""
			if found := tokenLine.FindSubmatch(m.Data); found != nil {
				t = string(found[1])
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if !bytes.HasSuffix(m.Data, []byte("\r\nend of "+t+"\r\n")) {
				w.odd = append(w.odd, fmt.Sprintf("%q for %v", t, m.To))
			}
			for _, to := range m.To {
				w.taken[t+" "+to]++
			}
			return ""
		},
	})
}

// clients send messages until the function that is returned is called.
func (w *world) clients(addr string, n int, rng *rand.Rand) (stop func()) {
	over := make(chan bool)
	var wg sync.WaitGroup
	for range n {
		r := rand.New(rand.NewSource(rng.Int63()))
		wg.Go(func() {
			var c smtptalk.Client
			defer c.Quit()
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(r.Intn(500)) * time.Millisecond):
				}
				if !c.Live() || r.Intn(5) == 0 {
					c.Quit()
					if c.Open(addr, time.Minute) != nil {
						continue
					}
				}
				w.send(&c, r)
			}
		})
	}
	return func() { close(over); wg.Wait() }
}

func (w *world) send(c *smtptalk.Client, r *rand.Rand) {
	w.mu.Lock()
	w.letters++
	token := fmt.Sprintf("t%d", w.letters)
	var to []string
	for range []int{1, 1, 2, 5, 20, 60}[r.Intn(6)] {
		w.numbers++
		to = append(to, fmt.Sprintf("u%d@d%d.test", w.numbers, r.Intn(domains)))
	}
	w.mu.Unlock()
	body := "From: user0@local.test\r\nSubject: soak\r\nX-Token: " + token + "\r\n\r\n" + strings.Repeat("some text\r\n", r.Intn(500)) + "end of " + token + "\r\n"
	res := c.Send("user0@local.test", to, []byte(body))
	if res.Err != nil {
		c.Close()
	}
	if res.Acked {
		w.mu.Lock()
		w.sent[token] = to
		w.mu.Unlock()
	}
}

var finalRecipient = regexp.MustCompile(`(?mi)^Final-Recipient: *rfc822; *(\S+)\r?$`)

// check accounts for every recipient.
func (w *world) check(s *rig.System) (bool, error) {
	letters, err := rig.Letters(s.Maildir("user0"))
	if err != nil {
		return false, err
	}
	reported := map[string]int{}
	for _, data := range letters {
		t := tokenLine.FindSubmatch(data)
		if t == nil || !bytes.Contains(data, []byte("\nAction: failed")) {
			continue
		}
		for _, m := range finalRecipient.FindAllSubmatch(data, -1) {
			reported[string(t[1])+" "+string(m[1])]++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := true
	wrong := map[string]int{}
	for token, to := range w.sent {
		for _, address := range to {
			key := token + " " + address
			taken, told := w.taken[key], reported[key]
			what := ""
			switch {
			case taken+told == 0:
				what = "lost"
			case taken > 1:
				what = "delivered more than once"
			case told > 1:
				what = "reported more than once"
			case taken+told > 1:
				what = "delivered and reported"
			case refused(address) != (told == 1):
				what = "reported, although its destination takes it"
			default:
				continue
			}
			ok = false
			if wrong[what]++; wrong[what] <= 5 {
				fmt.Printf("WRONG: %s of message %s was %s\n", address, token, what)
			}
		}
	}
	for what, n := range wrong {
		fmt.Printf("WRONG: %d recipients were %s\n", n, what)
	}
	for _, o := range w.odd {
		fmt.Printf("WRONG: a destination got another message than was sent: %s\n", o)
		ok = false
	}
	fmt.Printf("%d recipients were delivered to, %d reported\n", len(w.taken), len(reported))
	return ok, nil
}
