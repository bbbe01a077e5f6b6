package main

import (
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"
)

const (
	boxSize  = 10_000 // messages in the large mailbox
	appended = 1_000  // messages added to it
)

// step is one timed command on a mailbox of boxSize messages.
type step struct {
	figure, command string
	want            int // how many FETCH responses, search hits or messages come back
}

var readSteps = []step{
	{"select_warm", "SELECT INBOX", boxSize},
	{"fetch_flags", "FETCH 1:* (FLAGS UID)", boxSize},
	{"envelope_first", "FETCH 1:* (FLAGS UID RFC822.SIZE ENVELOPE)", boxSize},
	{"envelope_again", "FETCH 1:* (FLAGS UID RFC822.SIZE ENVELOPE)", boxSize},
	{"structure_first", "FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE)", boxSize},
	{"structure_again", "FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE)", boxSize},
	{"bodies", "FETCH 1:* (UID BODY.PEEK[])", boxSize},
	{"search_subject", "SEARCH SUBJECT zebra", boxSize / 50},
	{"search_body", "SEARCH BODY needle", boxSize/100 - 1},
	{"search_body_again", "SEARCH BODY needle", boxSize/100 - 1},
	{"search_text", "SEARCH TEXT needle", boxSize/100 - 1},
	{"search_unseen", "SEARCH UNSEEN", boxSize / 2},
	{"store_add", `STORE 1:* +FLAGS (\Flagged)`, boxSize},
	{"store_remove", `STORE 1:* -FLAGS (\Flagged)`, boxSize},
	{"store_silent", `STORE 1:* +FLAGS.SILENT (\Answered)`, 0},
}

// timed runs one command and records how long it took.
func (r *reader) timed(c *imapClient, s step, literals ...[]byte) error {
	t := time.Now()
	res, err := c.cmd(s.command, literals...)
	if err != nil {
		return err
	}
	r.put(s.figure, time.Since(t).Seconds()*1e3, "ms")
	if got := res.fetches + res.hits + res.exists; s.want > 0 && got != s.want {
		return fmt.Errorf("%s: %d responses, not %d", s.command, got, s.want)
	}
	return nil
}

// mailbox reads and changes one large mailbox in one session after another.
func mailbox(b *bench) error {
	r, err := b.upReader(1)
	if err != nil {
		return err
	}
	if err := r.fill(1, boxSize); err != nil {
		return err
	}
	clk := startClock(b.pid)
	first, err := dialIMAP(r.imap, mailUser(0))
	if err != nil {
		return err
	}
	if err := r.timed(first, step{"select_first", "SELECT INBOX", boxSize}); err != nil {
		return err
	}
	first.close()
	c, err := dialIMAP(r.imap, mailUser(0))
	if err != nil {
		return err
	}
	defer c.close()
	for _, s := range readSteps {
		if err := r.timed(c, s); err != nil {
			return err
		}
	}
	if err := r.grow(c); err != nil {
		return err
	}
	clk.stop(b, 1, "")
	return nil
}

// grow appends to the mailbox and copies all of it.
func (r *reader) grow(c *imapClient) error {
	t := time.Now()
	var texts [][]byte
	for i := range appended {
		text := mailMessage(i, mailUser(0))
		texts = append(texts, text)
		if _, err := c.cmd("APPEND INBOX", text); err != nil {
			return err
		}
	}
	r.put("append_1000", time.Since(t).Seconds()*1e3, "ms")
	t = time.Now()
	for k := 0; k < appended; k += 500 {
		if _, err := c.cmd("APPEND INBOX", texts[k:k+500]...); err != nil {
			return err
		}
	}
	r.put("multiappend_1000", time.Since(t).Seconds()*1e3, "ms")
	if _, err := c.cmd("CREATE Copy"); err != nil {
		return err
	}
	return r.timed(c, step{"copy_all", "COPY 1:* Copy", 0})
}

const mixedClients = 20

// mixed runs clients that each do a random mix of operations, on the mailboxes
// of so many users of so many messages.
func mixed(users, messages int) func(*bench) error {
	return func(b *bench) error {
		const each = 200
		r, err := b.upReader(mixedClients)
		if err != nil {
			return err
		}
		if err := r.fill(users, messages); err != nil {
			return err
		}
		var clients []*imapClient
		defer func() {
			for _, c := range clients {
				c.close()
			}
		}()
		for k := range mixedClients {
			c, err := dialIMAP(r.imap, mailUser(k%users))
			if err != nil {
				return err
			}
			clients = append(clients, c)
			if _, err := c.cmd("SELECT INBOX"); err != nil {
				return err
			}
			if k < users { // what any client does first
				if _, err := c.cmd("FETCH 1:* (FLAGS UID RFC822.SIZE ENVELOPE)"); err != nil {
					return err
				}
			}
		}
		lat := make([]map[string][]time.Duration, mixedClients)
		errs := make([]error, mixedClients)
		clk := startClock(b.pid)
		start, own := time.Now(), ownCPU()
		var wg sync.WaitGroup
		for k, c := range clients {
			wg.Add(1)
			go func() {
				defer wg.Done()
				lat[k], errs[k] = mix(c, k, each, messages)
			}()
		}
		wg.Wait()
		took := time.Since(start)
		all := map[string][]time.Duration{}
		for k := range lat {
			if errs[k] != nil {
				return errs[k]
			}
			for op, d := range lat[k] {
				all[op] = append(all[op], d...)
				all["all"] = append(all["all"], d...)
			}
		}
		r.put("rate", mixedClients*each/took.Seconds(), "op/s")
		for _, op := range strings.Fields("append store envelopes body search") {
			r.put(op+"_p50", percentile(all[op], .5), "ms")
		}
		r.put("all_p99", percentile(all["all"], .99), "ms")
		r.put("generator_cpu", ownCPU()-own, "s")
		clk.stop(b, 1, "")
		return nil
	}
}

// mix does n operations, the same ones for every target.
func mix(c *imapClient, seed, n, messages int) (map[string][]time.Duration, error) {
	rnd := rand.New(rand.NewSource(int64(seed)))
	lat := map[string][]time.Duration{}
	for i := range n {
		at := 1 + rnd.Intn(messages-50)
		op, line, lit := "", "", [][]byte(nil)
		switch p := rnd.Intn(100); {
		case p < 35:
			op, line = "envelopes", fmt.Sprintf("FETCH %d:%d (FLAGS UID RFC822.SIZE ENVELOPE)", at, at+49)
		case p < 65:
			op, line = "body", fmt.Sprintf("FETCH %d (UID BODY.PEEK[])", at)
		case p < 80:
			op, line = "store", fmt.Sprintf(`STORE %d %cFLAGS (\Seen)`, at, "+-"[i%2])
		case p < 90:
			op, line, lit = "append", "APPEND INBOX", [][]byte{mailMessage(i, mailUser(seed))}
		case p < 95:
			op, line = "search", "SEARCH UNSEEN SUBJECT zebra"
		default:
			op, line = "noop", "NOOP"
		}
		t := time.Now()
		if _, err := c.cmd(line, lit...); err != nil {
			return nil, err
		}
		lat[op] = append(lat[op], time.Since(t))
	}
	return lat, nil
}
