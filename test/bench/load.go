package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// load is a stream of messages into a server.
type load struct {
	sessions int
	n        int    // messages
	rcpts    int    // recipients of each message, default 1
	to       string // {i} stands for the recipient's number, {d} for its domain's
	span     int    // different recipients, default 10
	domains  int    // different domains, default 1
	keep     bool   // keep the sessions open; else one message each
	pipeline bool
}

const messageSize = 4096

// result is what the load's clients saw.
type result struct {
	start   time.Time
	took    time.Duration
	latency []time.Duration // connecting included
	cpu     float64         // seconds used by this process meanwhile
}

// run sends the load and returns when the last message is acknowledged.
func (l load) run(addr string) (*result, error) {
	if l.rcpts == 0 {
		l.rcpts = 1
	}
	if l.span == 0 {
		l.span = 10
	}
	if l.domains == 0 {
		l.domains = 1
	}
	rcpt := make([]string, l.span)
	for i := range rcpt {
		rcpt[i] = strings.NewReplacer("{i}", fmt.Sprint(i), "{d}", fmt.Sprint(i%l.domains)).Replace(l.to)
	}
	res := &result{start: time.Now(), cpu: ownCPU()}
	d, err := drive(l, addr, rcpt, messageBody(messageSize-400))
	if err != nil {
		return nil, err
	}
	res.took = time.Since(res.start)
	res.cpu = ownCPU() - res.cpu
	res.latency = d.latency
	if d.failures > 0 {
		return res, fmt.Errorf("%d of %d messages not accepted, first: %w", d.failures, l.n, d.err)
	}
	if len(res.latency) != l.n {
		return res, errors.New("messages went missing in the generator")
	}
	return res, nil
}

var words = strings.Fields(`alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima
mike november oscar papa quebec romeo sierra tango uniform victor whiskey yankee report meeting budget
invoice project schedule review draft final urgent question answer release branch merge ticket server
network storage backup database customer contract delivery shipment payment account balance update`)

// messageHeader gives the header of message i, about 400 bytes.
func messageHeader(i int, to string) []byte {
	subject := words[i%len(words)] + " " + words[(i*7+3)%len(words)] + " " + words[(i*13+5)%len(words)]
	date := time.Unix(1700000000+int64(i)*61, 0).UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")
	return fmt.Appendf(nil, "From: Sender %d <sender%d@client.bench.test>\r\nTo: Some User <%s>\r\n"+
		"Cc: Other Person <other%d@client.bench.test>\r\nSubject: %s\r\nDate: %s\r\n"+
		"Message-ID: <%d.%d@client.bench.test>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
		i%97, i%97, to, i%31, subject, date, i, 1700000000+i*61)
}

// messageBody gives about size bytes of text lines.
func messageBody(size int) []byte {
	b := make([]byte, 0, size+100)
	x := uint32(12345)
	line := 0
	for len(b) < size {
		x = x*1664525 + 1013904223
		w := words[int(x>>16)%len(words)]
		if line+len(w) > 70 {
			b = append(b, "\r\n"...)
			line = 0
		}
		b = append(b, w...)
		b = append(b, ' ')
		line += len(w) + 1
	}
	return append(b, "\r\n"...)
}
