package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what a process tree has taken.
type usage struct {
	procs    int
	pss, rss float64 // MiB
	cpu      float64 // seconds, with those of ended children
	byName   map[string]float64
}

// measureTree sums memory, if asked for, and CPU time over a process and its
// descendants.
func measureTree(root int, memory bool) usage {
	type proc struct {
		ppid int
		name string
		cpu  float64
	}
	procs := map[int]proc{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		s := string(b)
		open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
		f := strings.Fields(s[end+1:])
		var ticks float64
		for _, t := range f[11:15] { // utime stime cutime cstime
			v, _ := strconv.ParseFloat(t, 64)
			ticks += v
		}
		pid, _ := strconv.Atoi(strings.Fields(s)[0])
		ppid, _ := strconv.Atoi(f[1])
		procs[pid] = proc{ppid, s[open+1 : end], ticks / 100}
	}
	u := usage{byName: map[string]float64{}}
	inTree := func(pid int) bool {
		for pid > 1 && pid != root {
			pid = procs[pid].ppid
		}
		return pid == root
	}
	for pid, p := range procs {
		if !inTree(pid) {
			continue
		}
		u.procs++
		u.cpu += p.cpu
		if memory {
			pss, rss := processMemory(pid)
			u.pss += pss
			u.rss += rss
			u.byName[p.name] += pss
		}
	}
	return u
}

func processMemory(pid int) (pss, rss float64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Pss:":
			pss += kib / 1024
		case "Rss:":
			rss += kib / 1024
		}
	}
	return pss, rss
}

// clock measures the CPU time that a target uses, and what others than target
// and bench used meanwhile: distrust figures where that is not small.
type clock struct {
	pid                 int
	at                  time.Time
	target, own, system float64
}

func startClock(pid int) *clock {
	return &clock{pid: pid, at: time.Now(), target: measureTree(pid, false).cpu, own: ownCPU(), system: systemCPU()}
}

// stop records the CPU time divided by units.
func (c *clock) stop(b *bench, units float64, suffix string) {
	used := measureTree(c.pid, false).cpu - c.target
	b.put("cpu"+suffix, used/units, "s")
	b.put("foreign_load"+suffix, (systemCPU()-c.system-used-(ownCPU()-c.own))/time.Since(c.at).Seconds(), "cpus")
}

// ownCPU is the CPU time of this process: it shows whether the generator is
// the bottleneck.
func ownCPU() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// systemCPU is the busy time of all processors since the start.
func systemCPU() (busy float64) {
	b, _ := os.ReadFile("/proc/stat")
	for i, f := range strings.Fields(strings.SplitN(string(b), "\n", 2)[0]) {
		if i > 0 && i != 4 && i != 5 && i < 9 { // all but idle and iowait
			v, _ := strconv.ParseFloat(f, 64)
			busy += v / 100
		}
	}
	return busy
}

// quiet waits until nothing else keeps the machine busy, or for limit, and
// returns how many processors others use.
func quiet(most float64, limit time.Duration) float64 {
	for start := time.Now(); ; {
		b, own := systemCPU(), ownCPU()
		time.Sleep(500 * time.Millisecond)
		use := (systemCPU() - b - (ownCPU() - own)) / 0.5
		if use < most || time.Since(start) > limit {
			return use
		}
	}
}
