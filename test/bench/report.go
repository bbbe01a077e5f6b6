package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
)

// machine is the target's name for figures that are the machine's own.
const machine = "machine"

// report collects figures.
type report struct {
	mu      sync.Mutex
	raw     *os.File
	targets []string
	values  map[key]map[string][]float64 // by target
	units   map[key]string
	order   []key
}

type key struct{ workload, figure string }

func newReport(raw string, targets []*target) *report {
	r := &report{values: map[key]map[string][]float64{}, units: map[key]string{}}
	for _, t := range targets {
		r.targets = append(r.targets, t.name)
	}
	if raw != "" {
		f, err := os.OpenFile(raw, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0644)
		if err != nil {
			die("%v", err)
		}
		r.raw = f
	}
	return r
}

func (r *report) add(workload, target string, rep int, figure string, value float64, unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raw != nil {
		fmt.Fprintf(r.raw, "%s\t%s\t%d\t%s\t%.6g\t%s\n", workload, target, rep+1, figure, value, unit)
	}
	k := key{workload, figure}
	if r.values[k] == nil {
		r.values[k] = map[string][]float64{}
		r.units[k] = unit
		r.order = append(r.order, k)
	}
	r.values[k][target] = append(r.values[k][target], value)
}

// median returns the median of v; v is sorted.
func median(v []float64) float64 {
	sort.Float64s(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (m + v[len(v)/2-1]) / 2
	}
	return m
}

// cell shows a median and the range.
func cell(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	m := median(v)
	if len(v) == 1 {
		return fmt.Sprintf("%.4g", m)
	}
	return fmt.Sprintf("**%.4g** (%.4g–%.4g)", m, v[0], v[len(v)-1])
}

// disturbance is the most processors that other programs used before a run.
func (r *report) disturbance() (most float64) {
	for k, by := range r.values {
		for _, v := range by {
			for _, x := range v {
				if k.figure == "load_before" {
					most = max(most, x)
				}
			}
		}
	}
	return most
}

// print writes the report as Markdown: a table of all figures, each with its
// median and range, and the ratio of the second target to the first. What other
// programs used of the machine is only in the raw figures.
func (r *report) print(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	compare := len(r.targets) >= 2
	head := []string{"workload", "figure", "unit"}
	head = append(head, r.targets...)
	if compare {
		head = append(head, "ratio")
	}
	fmt.Fprintf(w, "Medians (lowest–highest). Other programs used at most %.2f processors before a run.\n\n| %s |\n|%s\n", r.disturbance(), strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	last := ""
	for _, name := range every() {
		for _, k := range r.order {
			if k.workload != name || strings.Contains(k.figure, "load_") {
				continue
			}
			title := ""
			if name != last {
				title, last = name+": "+workloads[name].what, name
			}
			fmt.Fprintf(w, "| %s | %s | %s |", title, k.figure, r.units[k])
			if v := r.values[k][machine]; v != nil {
				fmt.Fprintf(w, " %s |%s\n", cell(v), strings.Repeat(" |", len(head)-4))
				continue
			}
			for _, t := range r.targets {
				fmt.Fprintf(w, " %s |", cell(r.values[k][t]))
			}
			if compare {
				fmt.Fprintf(w, " %s |", r.ratio(k))
			}
			fmt.Fprintln(w)
		}
	}
	if compare && strings.HasPrefix(r.targets[1], "posthaste") {
		r.printAims(w)
	}
}

func (r *report) ratio(k key) string {
	a, b := r.values[k][r.targets[0]], r.values[k][r.targets[1]]
	if len(a) == 0 || len(b) == 0 || median(a) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", median(b)/median(a))
}

// aim is what the project wants of one figure: a ratio to the first target, or
// a value.
type aim struct {
	workload, figure string
	atLeast, atMost  float64 // of the ratio
	most             float64 // of the value itself
}

var aims = []aim{
	{"maildir1", "done", 1, 0, 0}, {"maildir10", "done", 3, 0, 0}, {"maildir50", "done", 3, 0, 0}, {"maildir500", "done", 3, 0, 0}, {"maildirkept", "done", 3, 0, 0},
	{"relay1", "done", 1, 0, 0}, {"relay10", "done", 3, 0, 0}, {"relay50", "done", 3, 0, 0}, {"relay500", "done", 3, 0, 0},
	{"maildir1", "cpu_per_1000", 0, .25, 0}, {"maildir10", "cpu_per_1000", 0, .25, 0}, {"maildir50", "cpu_per_1000", 0, .25, 0}, {"maildir500", "cpu_per_1000", 0, .25, 0},
	{"relay1", "cpu_per_1000", 0, .25, 0}, {"relay10", "cpu_per_1000", 0, .25, 0}, {"relay50", "cpu_per_1000", 0, .25, 0}, {"relay500", "cpu_per_1000", 0, .25, 0},
	{"idle500", "pss", 0, 0, 40}, {"rest", "pss", 0, 0, 15}, {"tables", "build", 0, 1, 0},
}

func (r *report) printAims(w io.Writer) {
	fmt.Fprintf(w, "\n| aim | wanted | seen | |\n|---|---|---|---|\n")
	met, n := 0, 0
	for _, a := range aims {
		k := key{a.workload, a.figure}
		ours, theirs := r.values[k][r.targets[1]], r.values[k][r.targets[0]]
		if len(ours) == 0 || a.most == 0 && len(theirs) == 0 {
			continue
		}
		seen := median(ours)
		if a.most == 0 {
			seen /= median(theirs)
		}
		wanted, ok := "", false
		switch {
		case a.atLeast > 0:
			wanted, ok = fmt.Sprintf("at least %g times %s", a.atLeast, r.targets[0]), seen >= a.atLeast
		case a.atMost > 0:
			wanted, ok = fmt.Sprintf("at most %g of %s", a.atMost, r.targets[0]), seen <= a.atMost
		default:
			wanted, ok = fmt.Sprintf("at most %g %s", a.most, r.units[k]), seen <= a.most
		}
		n++
		verdict := "**missed**"
		if ok {
			verdict = "met"
			met++
		}
		fmt.Fprintf(w, "| %s %s | %s | %.2f | %s |\n", a.workload, a.figure, wanted, seen, verdict)
	}
	fmt.Fprintf(w, "\n%d of %d aims met.\n", met, n)
}
