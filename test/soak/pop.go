package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// popper is a POP3 client.
type popper struct {
	w    *world
	id   int
	rng  *rand.Rand
	box  *box
	wire *wire
}

func (p *popper) dialogue() string {
	if p.wire == nil {
		return ""
	}
	return p.wire.dialogue()
}

// ask sends a command and reads the first line of the answer.
func (p *popper) ask(format string, a ...any) (string, error) {
	if err := p.wire.send(fmt.Sprintf(format, a...) + "\r\n"); err != nil {
		return "", err
	}
	p.w.count("POP3 " + format)
	return p.wire.text()
}

// lines reads a multi-line answer's rest, dots unstuffed.
func (p *popper) lines() (out []string, err error) {
	for {
		l, err := p.wire.r.ReadString('\n')
		if err != nil {
			return nil, p.wire.lost(err)
		}
		if l == ".\r\n" {
			return out, nil
		}
		out = append(out, strings.TrimPrefix(l, "."))
	}
}

// drop is one of the messages that the session sees.
type drop struct {
	n    int
	uid  uint32
	size uint64
}

// session does one POP3 session; nil if another one has the mailbox.
func (p *popper) session() error {
	var err error
	if p.wire, err = dial(p.w.s.POP3()); err != nil {
		return err
	}
	defer p.wire.close()
	at := now()
	if _, err := p.wire.text(); err != nil {
		return err
	}
	if _, err := p.ask("USER %s", p.box.user); err != nil {
		return err
	}
	l, err := p.ask("PASS test")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(l, "+OK") {
		if strings.Contains(l, "[IN-USE]") || strings.Contains(l, "[SYS/TEMP]") {
			p.w.stats.inUse.Add(1)
			return nil
		}
		return wrong("PASS: %s", l)
	}
	drops, err := p.drops(at)
	if err != nil || len(drops) == 0 {
		return err
	}
	return p.work(drops)
}

// drops lists the messages.
func (p *popper) drops(at int64) (list []drop, err error) {
	if l, err := p.ask("UIDL"); err != nil || !strings.HasPrefix(l, "+OK") {
		return nil, orWrong(err, "UIDL: %s", l)
	}
	ids, err := p.lines()
	if err != nil {
		return nil, err
	}
	if l, err := p.ask("LIST"); err != nil || !strings.HasPrefix(l, "+OK") {
		return nil, orWrong(err, "LIST: %s", l)
	}
	sizes, err := p.lines()
	if err != nil {
		return nil, err
	}
	if len(ids) != len(sizes) {
		return nil, wrong("UIDL has %d lines and LIST %d", len(ids), len(sizes))
	}
	has := map[uint32]bool{}
	for i, l := range ids {
		var d drop
		var validity uint32
		if _, err := fmt.Sscanf(l, "%d %08x%08x", &d.n, &d.uid, &validity); err != nil {
			return nil, wrong("UIDL line %q: %v", l, err)
		}
		var n int
		if _, err := fmt.Sscanf(sizes[i], "%d %d", &n, &d.size); err != nil || n != d.n || d.n != i+1 {
			return nil, wrong("UIDL line %q and LIST line %q", l, sizes[i])
		}
		if len(list) > 0 && list[len(list)-1].uid >= d.uid {
			return nil, wrong("UIDL: UIDs do not ascend: %q", l)
		}
		if v := p.box.validityNow(); v != 0 && validity != v {
			return nil, wrong("UIDL line %q, but the UIDVALIDITY of %v is %d", l, p.box, v)
		}
		has[d.uid] = true
		list = append(list, d)
		if err := p.box.observe(d.uid, seen{size: d.size}, at); err != nil {
			return nil, asWrong(err)
		}
	}
	return list, asWrong(p.box.missing(has, at))
}

func orWrong(err error, format string, a ...any) error {
	if err != nil {
		return err
	}
	return wrong(format, a...)
}

// work reads some messages, marks some to be deleted, and says QUIT, or not.
func (p *popper) work(list []drop) error {
	for range 1 + p.rng.IntN(4) {
		d := list[p.rng.IntN(len(list))]
		// It becomes \Seen now, or when the session ends.
		p.box.change([]uint32{d.uid}, 1<<4, 0, fmt.Sprintf("client %d, RETR", p.id))
		l, err := p.ask("RETR %d", d.n)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(l, "+OK") { // gone meanwhile
			p.w.refused("POP3 RETR " + l)
			continue
		}
		text, err := p.lines()
		if err != nil {
			return err
		}
		if err := p.octets(d, strings.Join(text, "")); err != nil {
			return err
		}
	}
	p.box.mu.Lock()
	full := len(p.box.live) > p.w.o.most/2
	p.box.mu.Unlock()
	var marked []uint32
	for range p.rng.IntN(3) {
		d := list[p.rng.IntN(len(list))]
		p.box.mu.Lock()
		m := p.box.msgs[d.uid]
		known := m != nil && m.token != ""
		p.box.mu.Unlock()
		if !known || !full {
			continue
		}
		if l, err := p.ask("DELE %d", d.n); err != nil {
			return err
		} else if strings.HasPrefix(l, "+OK") {
			marked = append(marked, d.uid)
		}
	}
	if p.rng.IntN(3) == 0 { // hang up: nothing may be deleted
		return nil
	}
	over := func() {}
	if len(marked) > 0 {
		over = p.box.remove(marked, false, fmt.Sprintf("client %d, DELE and QUIT", p.id))
	}
	if _, err := p.ask("QUIT"); err != nil {
		return err
	}
	over()
	return nil
}

// octets holds what RETR gave to what the message is. POP3 has lines: one that
// ends in LF alone within comes with CRLF, and then only the text can be compared.
func (p *popper) octets(d drop, got string) error {
	t := tokenOf(got)
	if t != "" && text(t) != got && strings.ReplaceAll(strings.ReplaceAll(text(t), "\r\n", "\n"), "\n", "\r\n") == got {
		return asWrong(p.box.bind(d.uid, t, 0))
	}
	return asWrong(p.box.octets(d.uid, got))
}
