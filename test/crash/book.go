package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"net"
	"regexp"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// kind is what is to become of a recipient.
type kind int

const (
	mailbox kind = iota // a user's Maildir
	aliased             // an alias of a user: forwarded as a new message
	relayed             // a remote server takes it
	later               // a remote server takes it the second time
	refused             // a remote server refuses it: a report comes back
	kinds
)

var kindNames = [kinds]string{"to a Maildir", "by an alias to a Maildir", "relayed", "relayed after a 450", "refused, so reported"}

// recipient is one recipient of a message.
type recipient struct {
	kind    kind
	user    int // whose Maildir
	address string
}

// letter is one message.
type letter struct {
	token  string
	sender int // a user
	to     []recipient
	acked  bool
}

// book knows every message that was sent, and what arrived.
type book struct {
	prefix  string
	letters []*letter

	acked, unknown, failed int64

	mu     sync.Mutex
	remote map[string]int  // token+" "+address -> times a remote server took it
	asked  map[string]bool // addresses at later.test that got their 450
}

// newBook decides what will be sent. The prefix, of tokens and remote recipients,
// tells the books of a run apart.
func newBook(o options, prefix string) *book {
	b := &book{prefix: prefix, remote: map[string]int{}, asked: map[string]bool{}}
	rng := rand.New(rand.NewSource(o.seed))
	for i := range o.n {
		l := &letter{sender: rng.Intn(o.users)}
		used := map[int]bool{} // a user gets a message once, under whichever name
		for j := range 1 + rng.Intn(o.rcpts) {
			r := recipient{kind: pick(rng)}
			switch r.kind {
			case mailbox, aliased:
				if r.user = rng.Intn(o.users); used[r.user] {
					continue
				}
				used[r.user] = true
				r.address = fmt.Sprintf("user%d@local.test", r.user)
				if r.kind == aliased {
					r.address = fmt.Sprintf("alias%d@localhost", r.user)
				}
			default:
				r.address = fmt.Sprintf("%s%d-%d@%s", prefix, i, j, map[kind]string{relayed: "far.test", later: "later.test", refused: "no.test"}[r.kind])
			}
			l.to = append(l.to, r)
		}
		b.letters = append(b.letters, l)
	}
	return b
}

// pick chooses a kind: mostly Maildirs and relaying.
func pick(rng *rand.Rand) kind {
	switch n := rng.Intn(100); {
	case n < 50:
		return mailbox
	case n < 80:
		return relayed
	case n < 88:
		return later
	case n < 94:
		return aliased
	}
	return refused
}

// entries is the number of queue entries that the letters make when nothing
// goes wrong: an alias makes a second one, and each letter with refused
// recipients a report.
func (b *book) entries() (n int64) {
	for _, l := range b.letters {
		report := int64(0)
		for _, r := range l.to {
			n++
			switch r.kind {
			case aliased:
				n++
			case refused:
				report = 1
			}
		}
		n += report
	}
	return n
}

func (l *letter) body(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: user%d@local.test\r\nSubject: message %d\r\nX-Token: %s\r\n\r\n", l.sender, i, l.token)
	for n := 0; n < 1+i%60; n++ {
		fmt.Fprintf(&b, "%s line %d: the quick brown fox jumps over the lazy dog\r\n", l.token, n)
	}
	fmt.Fprintf(&b, "end of %s\r\n", l.token)
	return b.Bytes()
}

// send sends all letters and returns when each is acknowledged or its fate is
// unknown. progress is called by one goroutine, with the number of those done.
func (b *book) send(s *rig.System, o options, progress func(done int)) {
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range o.clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var c smtptalk.Client
			defer c.Quit()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(b.letters) {
					return
				}
				b.sendOne(&c, s.SMTP(), i)
				done.Add(1)
			}
		}()
	}
	finished := make(chan bool)
	go func() { wg.Wait(); close(finished) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			progress(int(done.Load()))
		case <-finished:
			progress(len(b.letters))
			return
		}
	}
}

// sendOne tries until the server has taken the letter. One whose end was sent
// without an answer is not sent again: it may have been taken. So may one to
// whose end the answer was 451, if cleanup was killed between making it durable
// and saying so: the next attempt has another token, and a delivery under the
// old one is nobody's promise.
func (b *book) sendOne(c *smtptalk.Client, addr string, i int) {
	l := b.letters[i]
	l.token = fmt.Sprintf("%s%06d", b.prefix, i)
	var to []string
	for _, r := range l.to {
		to = append(to, r.address)
	}
	for try := 0; ; try++ {
		if try > 0 {
			time.Sleep(time.Duration(min(try*10, 200)) * time.Millisecond)
		}
		if !c.Live() {
			c.Pipeline = i%2 == 0
			if c.Open(addr, time.Minute) != nil {
				atomic.AddInt64(&b.failed, 1)
				continue
			}
		}
		res := c.Send(fmt.Sprintf("user%d@local.test", l.sender), to, l.body(i))
		if res.Acked {
			l.acked = true
			atomic.AddInt64(&b.acked, 1)
			if i%5 == 0 { // some sessions carry one message, some several
				c.Quit()
			}
			return
		}
		c.Close()
		if res.Unknown {
			atomic.AddInt64(&b.unknown, 1)
			return
		}
		if re, ok := res.Err.(*smtptalk.ReplyError); ok && !re.Temporary() {
			fail("message %s to %v: %v", l.token, to, res.Err)
		}
		atomic.AddInt64(&b.failed, 1)
		if res.Refused {
			l.token = fmt.Sprintf("%s%06d.%d", b.prefix, i, try+1)
		}
	}
}

var tokenLine = regexp.MustCompile(`(?m)^X-Token: (\S+)\r?$`)

func token(data []byte) string {
	if m := tokenLine.FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return ""
}

func host(addr string) string {
	h, _, _ := net.SplitHostPort(addr)
	return h
}

// startSink is the remote server.
func startSink(b *book) (*badmx.Server, error) {
	return badmx.Start("127.0.0.1:0", badmx.Script{
		Rcpt: func(_ int, to string) string {
			switch {
			case strings.HasSuffix(to, "@no.test"):
				return "550 5.1.1 no such user here"
			case strings.HasSuffix(to, "@later.test"):
				b.mu.Lock()
				defer b.mu.Unlock()
				if !b.asked[to] {
					b.asked[to] = true
					return "450 4.2.0 come back later"
				}
			}
			return ""
		},
		Done: func(_ int, m *badmx.Mail) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			t := token(m.Data)
			if !bytes.HasSuffix(m.Data, []byte("end of "+t+"\r\n")) {
				t = "torn " + t
			}
			for _, to := range m.To {
				b.remote[t+" "+to]++
			}
			return ""
		},
	})
}

var finalRecipient = regexp.MustCompile(`(?mi)^Final-Recipient: *rfc822; *(\S+@no\.test)\r?$`)

// inbox counts what the Maildirs hold: letters by token and user, and reports
// by the address reported.
type inbox struct {
	letters map[string]int
	reports map[string]int
	torn    []string
}

func readInboxes(s *rig.System, users int) (*inbox, error) {
	in := &inbox{letters: map[string]int{}, reports: map[string]int{}}
	for u := range users {
		ls, err := rig.Letters(s.Maildir(fmt.Sprintf("user%d", u)))
		if err != nil {
			return nil, err
		}
		for name, data := range ls {
			head, _, _ := bytes.Cut(data, []byte("\n\n"))
			if bytes.Contains(head, []byte("report-type=delivery-status")) {
				for _, m := range finalRecipient.FindAllSubmatch(data, -1) {
					in.reports[fmt.Sprintf("%d %s", u, m[1])]++
				}
				continue
			}
			t := token(head)
			if !bytes.HasSuffix(data, []byte("end of "+t+"\n")) {
				in.torn = append(in.torn, name)
			}
			in.letters[fmt.Sprintf("%s %d", t, u)]++
		}
	}
	return in, nil
}

// check accounts for every recipient. k tells who was killed; without it,
// nothing may come twice.
func (b *book) check(s *rig.System, k *killer) bool {
	in, err := readInboxes(s, len(b.users()))
	if err != nil {
		fmt.Printf("WRONG: %v\n", err)
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var due, found, twice, extra [kinds]int
	var lost []string
	for _, l := range b.letters {
		for _, r := range l.to {
			n := 0
			switch r.kind {
			case mailbox, aliased:
				n = in.letters[fmt.Sprintf("%s %d", l.token, r.user)]
			case relayed, later:
				n = b.remote[l.token+" "+r.address]
			case refused:
				n = in.reports[fmt.Sprintf("%d %s", l.sender, r.address)]
			}
			switch {
			case !l.acked && n > 0:
				extra[r.kind]++
			case l.acked && n == 0:
				lost = append(lost, l.token+" to "+r.address)
			case l.acked:
				found[r.kind]++
			}
			if l.acked {
				due[r.kind]++
			}
			if n > 1 {
				twice[r.kind] += n - 1
			}
		}
	}
	fmt.Printf("%-28s %10s %10s %10s %10s\n", "recipients", "promised", "found", "doubled", "unpromised")
	for i := range kinds {
		fmt.Printf("%-28s %10d %10d %10d %10d\n", kindNames[i], due[i], found[i], twice[i], extra[i])
	}
	ok := len(lost) == 0 && len(in.torn) == 0 && twice[mailbox] == 0
	if len(lost) > 0 {
		sort.Strings(lost)
		fmt.Printf("WRONG: %d promised recipients are lost: %s\n", len(lost), strings.Join(lost[:min(len(lost), 10)], "; "))
	}
	if len(in.torn) > 0 {
		fmt.Printf("WRONG: %d torn messages in Maildirs: %v\n", len(in.torn), in.torn[:min(len(in.torn), 10)])
	}
	if twice[mailbox] > 0 {
		fmt.Printf("WRONG: %d messages came twice into a Maildir\n", twice[mailbox])
	}
	return explain(twice, k) && ok
}

// explain says why some came twice, or that nothing can excuse it.
func explain(twice [kinds]int, k *killer) bool {
	remote, own := twice[relayed]+twice[later], twice[aliased]+twice[refused]
	if k == nil {
		if remote+own > 0 {
			fmt.Printf("WRONG: nobody was killed, but %d came twice\n", remote+own)
		}
		return remote+own == 0
	}
	ok := true
	say := func(n int, what string, kills int) {
		if n == 0 {
			return
		}
		fmt.Printf("%d %s; %d kills could do that\n", n, what, kills)
		if kills == 0 {
			fmt.Println("WRONG: so this needs another explanation")
			ok = false
		}
	}
	say(remote, "recipients doubled at the remote server: killed between its 250 and our record", k.killed["smtp"]+k.killed["qmgr"]+k.masters)
	say(own, "recipients doubled by an alias or in a report: killed between our own queue's OK and our record", k.killed["local"]+k.killed["bounce"]+k.killed["cleanup"]+k.killed["qmgr"]+k.masters)
	return ok
}

// users lists the numbers of all users who may have mail.
func (b *book) users() []int {
	most := 0
	for _, l := range b.letters {
		most = max(most, l.sender)
		for _, r := range l.to {
			most = max(most, r.user)
		}
	}
	u := make([]int, most+1)
	for i := range u {
		u[i] = i
	}
	return u
}
