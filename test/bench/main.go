// Bench measures mail servers beside each other: the same load, on the same
// file system, in alternation, so that the ratio of two servers means something
// even where the machine's speed varies.
//
// # Usage
//
//	bench [-r REPETITIONS] [-n MESSAGES] [-o RAW.tsv] [-dir DIRECTORY] WORKLOAD[,WORKLOAD...]|all|reading TARGET...
//
// # Description
//
// A target is the name of a script in peers/ (see peers/postfix.sh for what it
// answers to), optionally followed by start parameters:
// "postfix,in_flow_delay=0". "floor" is no mail server, but the system calls of
// one, for comparison. With two targets the report has the ratio of the
// second to the first. All traffic is on 127/8, all files are below DIRECTORY.
//
// "bench workloads" lists the workloads. run-all.sh is what "make bench" calls.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"
)

// workload is one measurement of one target.
type workload struct {
	what string
	run  func(*bench) error
	// alone: the figure is the machine's; the target does not matter.
	alone bool
}

// order lists the workloads as they run and are reported.
var order = []string{"disk", "maildir1", "maildir10", "maildir50", "maildir500", "maildirkept", "relay1", "relay10", "relay50", "relay500",
	"fanout", "rtt50", "rtt50each", "deferred", "rest", "idle500", "tables"}

// apart are those that neither "all" nor "reading" mean, since they take long.
var apart = []string{"backlog"}

// every lists all.
func every() []string { return slices.Concat(order, reading, apart) }

var workloads = map[string]workload{
	"disk":        {what: "the disk's own ceiling: durable files a second", run: disk, alone: true},
	"maildir1":    {what: "SMTP to Maildir, 1 session", run: toMaildir(load{sessions: 1})},
	"maildir10":   {what: "SMTP to Maildir, 10 sessions", run: toMaildir(load{sessions: 10})},
	"maildir50":   {what: "SMTP to Maildir, 50 sessions", run: toMaildir(load{sessions: 50})},
	"maildir500":  {what: "SMTP to Maildir, 500 sessions", run: toMaildir(load{sessions: 500})},
	"maildirkept": {what: "SMTP to Maildir, 10 kept and pipelined sessions", run: toMaildir(load{sessions: 10, keep: true, pipeline: true})},
	"relay1":      {what: "SMTP relay, 1 session", run: relay(load{sessions: 1})},
	"relay10":     {what: "SMTP relay, 10 sessions", run: relay(load{sessions: 10})},
	"relay50":     {what: "SMTP relay, 50 sessions", run: relay(load{sessions: 50})},
	"relay500":    {what: "SMTP relay, 500 sessions", run: relay(load{sessions: 500})},
	"fanout":      {what: "1 message to 1,000 recipients at 100 domains", run: fanout},
	"rtt50":       {what: "relay over round trips of 50 ms", run: farAway(50*time.Millisecond, 0)},
	"rtt50each":   {what: "relay to a server that takes 50 ms for each answer", run: farAway(0, 50*time.Millisecond)},
	"deferred":    {what: "5,000 messages deferred, listed and drained", run: deferred},
	"backlog":     {what: "500 recipients in the queue for each of the -n messages", run: backlog},
	"rest":        {what: "memory at rest", run: rest},
	"idle500":     {what: "memory with 500 idle SMTP sessions", run: idle},
	"tables":      {what: "a table of 1,000,000 lines", run: tables},
}

// bench is one repetition of one workload with one target.
type bench struct {
	*target
	dir  string
	n    int // messages
	keys int // lines of a table
	put  func(figure string, value float64, unit string)
}

func main() {
	reps := flag.Int("r", 3, "repetitions")
	n := flag.Int("n", 2000, "messages in each")
	keys := flag.Int("keys", 1_000_000, "lines of the table")
	raw := flag.String("o", "", "write every single figure to this `file`")
	dir := flag.String("dir", "/var/tmp/posthaste-bench", "working `directory`")
	limit := flag.Duration("limit", 90*time.Minute, "give up after so long")
	flag.Parse()
	if flag.Arg(0) == "workloads" {
		for _, w := range every() {
			fmt.Printf("%-12s %s\n", w, workloads[w].what)
		}
		return
	}
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: bench [-r N] [-n MESSAGES] [-o RAW.tsv] [-dir DIR] WORKLOAD,...|all|reading TARGET...; bench workloads")
		os.Exit(2)
	}
	names := order
	switch flag.Arg(0) {
	case "all":
	case "reading":
		names = reading
	default:
		names = strings.Split(flag.Arg(0), ",")
	}
	var targets []*target
	for _, spec := range flag.Args()[1:] {
		targets = append(targets, newTarget(spec, *dir))
	}
	rep := newReport(*raw, targets)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case <-stop:
		case <-time.After(*limit):
		}
		for _, t := range targets {
			t.down()
		}
		rep.print(os.Stdout)
		die("stopped before the end")
	}()
	prepare(*dir)
	failed := false
	for r := range *reps {
		for _, name := range names {
			w, ok := workloads[name]
			if !ok {
				die("no workload %q", name)
			}
			for _, t := range targets {
				if w.alone && t != targets[0] {
					continue
				}
				label := t.name
				if w.alone {
					label = machine
				}
				b := &bench{target: t, dir: *dir, n: *n, keys: *keys, put: func(figure string, value float64, unit string) {
					rep.add(name, label, r, figure, value, unit)
				}}
				fmt.Fprintf(os.Stderr, "# %d/%d %s %s\n", r+1, *reps, name, label)
				b.put("load_before", quiet(0.1, 10*time.Second), "cpus")
				if err := w.run(b); err != nil {
					fmt.Fprintf(os.Stderr, "bench: %s, %s: %v\n", name, label, err)
					failed = true
				}
				t.down()
				if os.Getenv("BENCH_JOURNAL") != "" {
					tidy(*dir)
				}
			}
		}
	}
	rep.print(os.Stdout)
	if failed {
		os.Exit(1)
	}
}

// prepare makes the working directory. On an ext4 without a journal, creating
// a file skips the inodes that were freed in the same block group within the
// last minute, one look at the disk each (recently_deleted() in
// fs/ext4/ialloc.c), so directories are spread over groups, and targets move
// their old files to old/ instead of deleting them. BENCH_JOURNAL in the
// environment says that the file system has a journal.
func prepare(dir string) {
	old := filepath.Join(dir, "old")
	if err := os.MkdirAll(old, 0755); err != nil {
		die("%v", err)
	}
	os.Chmod(dir, 0755)
	exec.Command("chattr", "+T", dir, old).Run() // not every file system can
	if os.Geteuid() == 0 {
		var lim syscall.Rlimit
		if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
			lim.Cur = lim.Max
			syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
		}
	}
}

// tidy deletes what earlier runs left, where that does no harm to later ones.
func tidy(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, "old", "*"))
	for _, d := range old {
		os.RemoveAll(d)
	}
	syscall.Sync()
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
	os.Exit(1)
}

// percentile sorts d and returns one of its percentiles in milliseconds.
func percentile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return d[int(p*float64(len(d)-1))].Seconds() * 1e3
}
