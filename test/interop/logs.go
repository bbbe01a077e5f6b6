package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// What logTraffic does, in numbers.
const (
	logDelivered = 5 // messages to a Maildir
	logRelayed   = 2 // messages to the sink
	logBounced   = 1 // messages that the sink refuses
	logDeferred  = 1 // messages that the sink takes the second time
	logUnknown   = 3 // recipients refused as unknown
	logDenied    = 2 // recipients refused as relaying
	logBadAuth   = 2 // wrong passwords
)

// logTraffic makes an instance whose log has one of each line that log readers
// look for, and returns the log.
func (st *stage) logTraffic() (string, error) {
	later := badmx.LaterRcpt(1, "450 4.2.0 come back later")
	sink, err := badmx.Start("127.0.0.1:0", badmx.Script{Rcpt: func(n int, to string) string {
		switch {
		case strings.HasPrefix(to, "no"):
			return "550 5.1.1 no such user here"
		case strings.HasPrefix(to, "later"):
			return later.Rcpt(n, to)
		}
		return ""
	}})
	if err != nil {
		return "", err
	}
	defer sink.Close()
	s, err := rig.New(filepath.Join(st.dir, "logs"), 2, 0)
	if err != nil {
		return "", err
	}
	defer s.Stop()
	if err := s.Set("mynetworks=127.0.0.2/32", "relay_domains=sink.test", "relay_recipient_maps=", "queue_run_delay=2s", "minimal_backoff_time=2s", "maximal_backoff_time=2s",
		"transport_maps=inline:{ sink.test=smtp:[127.0.0.1]:"+sink.Port()+" }"); err != nil {
		return "", err
	}
	if err := s.Start(); err != nil {
		return "", err
	}
	var to []string
	for range logDelivered {
		to = append(to, "user0@local.test")
	}
	for i := range logRelayed {
		to = append(to, fmt.Sprintf("r%d@sink.test", i))
	}
	to = append(to, "no@sink.test", "later@sink.test")
	for _, rcpt := range to {
		c, err := smtptalk.Dial(s.SMTP(), time.Minute)
		if err != nil {
			return "", err
		}
		if r := c.Send("user1@local.test", []string{rcpt}, fixtures()[0].wire()); r.Err != nil {
			return "", fmt.Errorf("to %s: %w", rcpt, r.Err)
		}
		c.Quit()
	}
	for i := range logUnknown + logDenied {
		rcpt := "nobody@local.test"
		if i >= logUnknown {
			rcpt = "somebody@elsewhere.test"
		}
		c, err := smtptalk.Dial(s.SMTP(), time.Minute)
		if err != nil {
			return "", err
		}
		if r := c.Send("sender@client.test", []string{rcpt}, fixtures()[0].wire()); r.Acked {
			return "", fmt.Errorf("%s was accepted", rcpt)
		}
		c.Quit()
	}
	for range logBadAuth {
		if err := refused(login(s.Submission(), "user0@local.test", "wrong")); err != nil {
			return "", err
		}
	}
	// The bounce goes to user1.
	if err := rig.Until(time.Minute, "deliver all mail", func() bool { return s.Waiting() == 0 }); err != nil {
		return "", err
	}
	return s.Log, s.Stop()
}

// logReaders has programs that read Postfix's log read ours.
func (st *stage) logReaders() {
	var log string
	var err error
	made := false
	traffic := func(programs ...string) error {
		if e := needs(programs...); e != nil {
			return e
		}
		if !made {
			made = true
			log, err = st.logTraffic()
		}
		return err
	}
	st.try("pflogsumm reads our log", func() error {
		if err := traffic("pflogsumm"); err != nil {
			return err
		}
		return summarized(log)
	})
	st.try("fail2ban reads our log", func() error {
		if err := traffic("fail2ban-regex"); err != nil {
			return err
		}
		return banned(log)
	})
}

// summarized compares pflogsumm's totals with what was done.
func summarized(log string) error {
	out, err := output(time.Minute, "perl", "-w", "/usr/sbin/pflogsumm", log)
	if err != nil {
		return err
	}
	if strings.Contains(out, "Use of uninitialized") || strings.Contains(out, " at /usr/sbin/pflogsumm line") {
		return fmt.Errorf("pflogsumm complains: %s", lastLines([]byte(out), 3))
	}
	messages := logDelivered + logRelayed + logBounced + logDeferred
	for what, want := range map[string]int{
		"received":  messages, // reports are not counted here
		"delivered": logDelivered + logRelayed + logDeferred + 1,
		"deferred":  logDeferred,
		"bounced":   logBounced,
		"rejected":  logUnknown + logDenied,
	} {
		m := regexp.MustCompile(`(?m)^ +(\d+) +` + what).FindStringSubmatch(out)
		if m == nil {
			return fmt.Errorf("no line %q in its report: %.500s", what, out)
		}
		if n, _ := strconv.Atoi(m[1]); n != want {
			return fmt.Errorf("it counts %d %s, expected %d", n, what, want)
		}
	}
	if !strings.Contains(out, "User unknown in virtual mailbox table") && !strings.Contains(out, "Recipient address rejected") {
		return fmt.Errorf("no reason of a rejection in its report")
	}
	return nil
}

// banned looks at what fail2ban matched and missed.
func banned(log string) error {
	out, err := output(time.Minute, "fail2ban-regex", "--print-all-matched", "--print-all-missed", log, "postfix[mode=aggressive]")
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`Lines: (\d+) lines, (\d+) ignored, (\d+) matched, (\d+) missed`).FindStringSubmatch(out)
	if m == nil {
		return fmt.Errorf("no totals in its answer: %s", lastLines([]byte(out), 3))
	}
	lines, _ := strconv.Atoi(m[1])
	matched, _ := strconv.Atoi(m[3])
	dated := 0
	for _, d := range regexp.MustCompile(`(?m)^\|  \[(\d+)\] `).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(d[1])
		dated += n
	}
	if dated != lines {
		return fmt.Errorf("it found a time in %d of %d lines", dated, lines)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	want := 0
	for _, l := range strings.Split(string(b), "\n") {
		if strings.Contains(l, "reject: RCPT") || strings.Contains(l, "authentication failed") {
			want++
			if !strings.Contains(out[strings.Index(out, "Matched line(s)")+1:], l[20:]) {
				return fmt.Errorf("not matched: %s", l)
			}
		}
	}
	if want != logUnknown+logDenied+logBadAuth || matched < want {
		return fmt.Errorf("%d lines matched, %d of %d expected in the log", matched, want, logUnknown+logDenied+logBadAuth)
	}
	return nil
}
