package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settled is when a change that a foreign program made in a directory must be
// seen: imapd looks a second time, a second later, where file times cannot tell.
const settled = 10 * time.Second

// stranger changes Maildirs by hand, as a mail reader does that knows nothing of
// us: it adds files, renames and removes them.
type stranger struct {
	w   *world
	rng *rand.Rand
	// tokens of files by the unique part of their name.
	tokens map[string]string
	seq    int
}

func (x *stranger) run(stop <-chan struct{}) error {
	x.tokens = map[string]string{}
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Duration(x.rng.IntN(2*int(x.w.o.foreignEvery)) + 1)):
		}
		b := x.w.boxes[x.rng.IntN(len(x.w.boxes))]
		var err error
		if n := x.rng.IntN(10); n < 2 {
			err = x.add(b)
		} else {
			err = x.change(b, n)
		}
		if err != nil {
			return fmt.Errorf("foreign program: %w", err)
		}
	}
}

// add delivers a message, into new/ or with flags into cur/.
func (x *stranger) add(b *box) error {
	b.mu.Lock()
	full := len(b.live) > x.w.o.most
	b.mu.Unlock()
	if full {
		return nil
	}
	t := x.w.token("f")
	x.seq++
	name := fmt.Sprintf("%d.F%dR%d.foreign", time.Now().Unix(), x.seq, x.rng.IntN(1e9))
	tmp := filepath.Join(b.dir, "tmp", name)
	body := strings.ReplaceAll(text(t), "\r\n", "\n")
	if err := os.WriteFile(tmp, []byte(body), 0o600); err != nil {
		return err
	}
	if err := os.Lchown(tmp, b.w.uid, b.w.gid); err != nil {
		return err
	}
	to := filepath.Join(b.dir, "cur", name+":2,"+first(t).letters())
	if first(t) == 0 && x.rng.IntN(2) == 0 {
		to = filepath.Join(b.dir, "new", name)
	}
	x.tokens[name] = t
	over := b.coming(t, false)
	err := os.Rename(tmp, to)
	over(err == nil)
	x.w.stats.foreignAdded.Add(1)
	return err
}

// change renames a file to other flags, moves it from new/ to cur/, or removes it.
func (x *stranger) change(b *box, n int) error {
	sub := "cur"
	if x.rng.IntN(3) == 0 {
		sub = "new"
	}
	names, err := os.ReadDir(filepath.Join(b.dir, sub))
	if err != nil || len(names) == 0 {
		return err
	}
	name := names[x.rng.IntN(len(names))].Name()
	path := filepath.Join(b.dir, sub, name)
	base, info, _ := strings.Cut(name, ":2,")
	t := x.tokens[base]
	if t == "" {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if t = tokenOf(string(text)); t == "" {
			return fmt.Errorf("%s has no token", path)
		}
		x.tokens[base] = t
	}
	if n == 2 && len(names) > 10 {
		return x.remove(b, t, path)
	}
	// Only what is one file and one UID for sure, so that it is known whose flags change.
	b.mu.Lock()
	l := b.letters[t]
	var uids []uint32
	if l != nil && !l.copies && l.sure+l.maybe == 1 && len(l.uids) == 1 {
		uids = []uint32{l.uids[0].uid}
	}
	b.mu.Unlock()
	if uids == nil {
		return nil
	}
	i := x.rng.IntN(5)
	letter := string(flagLetters[i])
	on, off := flags(1<<i), flags(0)
	if strings.Contains(info, letter) {
		on, off = 0, 1<<i
		info = strings.Replace(info, letter, "", 1)
	} else {
		info = insert(info, letter)
	}
	over := b.change(uids, on, off, "foreign program")
	switch err := os.Rename(path, filepath.Join(b.dir, "cur", base+":2,"+info)); {
	case os.IsNotExist(err): // renamed by another meanwhile
		over(-1)
		return nil
	case err != nil:
		return err
	}
	over(settled)
	x.w.stats.foreignRenamed.Add(1)
	return nil
}

// insert puts a letter into its place.
func insert(info, letter string) string {
	i := 0
	for i < len(info) && info[i] < letter[0] {
		i++
	}
	return info[:i] + letter + info[i:]
}

// remove takes a message away that all UIDs of are known.
func (x *stranger) remove(b *box, t, path string) error {
	b.mu.Lock()
	l := b.letters[t]
	ok := l != nil && l.maybe == 0 && len(l.uids) == l.sure
	if ok {
		l.removal = &removal{start: now(), who: "foreign program"}
	}
	b.mu.Unlock()
	if !ok {
		return nil
	}
	err := os.Remove(path)
	if os.IsNotExist(err) {
		return nil
	}
	x.w.stats.foreignRemoved.Add(1)
	return err
}
