package service

import (
	"os"
	"strconv"
)

// monitorSlack is how much later than asked for the Go runtime's monitor thread
// may wake up.
//
// That thread looks at a busy process every 20 microseconds, and sleeps when
// there is nothing to do: with a load of many short requests it starts afresh
// with each of them, and made a third of all context switches and a quarter of
// the suite's processor time. What it is there for can wait this long: it
// preempts goroutines that have run for 10 ms, and gives the processor of one
// that is in a long system call to others, which matters only when as many such
// calls are under way as there are processors.
const monitorSlack = 5_000_000 // ns

// calmMonitor sets the timer slack of the monitor thread, which is the first
// that the runtime creates. It takes CAP_SYS_NICE to do that for another thread
// than one's own: without it everything works, and costs more.
func calmMonitor() {
	d, err := os.Open("/proc/self/task")
	if err != nil {
		return
	}
	defer d.Close()
	// The kernel lists threads in the order of their creation.
	names, err := d.Readdirnames(2)
	if err != nil || len(names) < 2 || names[0] != strconv.Itoa(os.Getpid()) {
		return
	}
	f, err := os.OpenFile("/proc/"+names[1]+"/timerslack_ns", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	f.WriteString(strconv.Itoa(monitorSlack))
	f.Close()
}
