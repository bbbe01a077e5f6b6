package main

import (
	"math/rand"
	"regexp"
	"strings"
	"time"

	"posthaste/test/tools/rig"
)

// admin does to the queue what can be done to it.
type admin struct {
	s    *rig.System
	w    *world
	rng  *rand.Rand
	acts map[string]int
}

var queueID = regexp.MustCompile(`"queue_id": "([^"]+)"`)

// some returns ids of messages in the queue.
func (a *admin) some() (ids []string) {
	out, _ := a.s.Run("postqueue", "-c", a.s.Conf(), "-j")
	for _, m := range queueID.FindAllStringSubmatch(out, 40) {
		if a.rng.Intn(8) == 0 {
			ids = append(ids, m[1])
		}
	}
	return ids
}

func (a *admin) act() error {
	var err error
	all := []string{"hold all", "release all", "requeue all", "flush", "reload", "away", "back", "hold some", "requeue some", "flush some", "release some", "delete none"}
	name := all[a.rng.Intn(len(all))]
	a.acts[name]++
	super := func(args ...string) { a.s.Run("postsuper", append([]string{"-c", a.s.Conf()}, args...)...) }
	switch name {
	case "hold all":
		super("-h", "ALL")
	case "release all":
		super("-H", "ALL")
	case "requeue all":
		super("-r", "ALL")
	case "flush":
		_, err = a.s.Run("postqueue", "-c", a.s.Conf(), "-f")
	case "reload":
		_, err = a.s.Control("reload")
	case "away":
		a.w.away[a.rng.Intn(domains)].Store(true)
	case "back":
		for n := range domains {
			a.w.away[n].Store(false)
		}
	case "delete none":
		super("-d", "4jYFgr19csz34qFS") // nobody has that
	default:
		verb, _, _ := strings.Cut(name, " ")
		for _, id := range a.some() {
			switch verb {
			case "hold":
				super("-h", id)
			case "release":
				super("-H", id)
			case "requeue":
				super("-r", id)
			case "flush":
				a.s.Run("postqueue", "-c", a.s.Conf(), "-i", id)
			}
			time.Sleep(time.Duration(a.rng.Intn(20)) * time.Millisecond)
		}
	}
	return err
}
