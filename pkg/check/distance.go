package check

import (
	"sync"

	"posthaste/pkg/params"
)

var parameterNames = sync.OnceValue(func() []string {
	names := make([]string, len(params.All))
	for i, d := range params.All {
		names[i] = d.Decl().Name
	}
	return names
})

// closest returns the name that is likely to have been meant: the one that
// the fewest changes turn word into, if they are few for its length.
func closest(word string, names []string) string {
	best, most := "", 1+len(word)/5
	for _, n := range names {
		if n == word {
			continue
		}
		if d := distance(word, n, most); d <= most {
			if best == "" || d < most {
				best, most = n, d
			}
		}
	}
	return best
}

// distance is the least number of insertions, deletions, substitutions and
// swaps of neighbours that turn a into b, or limit+1 if it is more.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
			least = min(least, cur[j])
		}
		if least > limit {
			return limit + 1
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
