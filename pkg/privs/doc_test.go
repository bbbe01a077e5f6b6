package privs

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/security.md's table")

const manual = "../../docs/security.md"

// TestManual holds the table in the manual to the one in force.
func TestManual(t *testing.T) {
	var b strings.Builder
	b.WriteString("| program | runs as | reads | writes | dials | is dialled by | network | starts programs |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	yes := map[bool]string{true: "yes", false: "no"}
	list := func(l []string) string {
		if len(l) == 0 {
			return "–"
		}
		var out []string
		for _, s := range l {
			if !contains(tables, s) {
				out = append(out, s)
			}
		}
		if len(out) < len(l) && contains(l, "$config_directory") {
			out = append(out, "*tables*")
		}
		return strings.Join(out, ", ")
	}
	for _, r := range Table {
		b.WriteString("| " + strings.Join([]string{r.Program, string(r.As), list(r.Read), list(r.Write), list(r.Dial), list(r.Callers), yes[r.Network], yes[r.Exec]}, " | ") + " |\n")
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- table -->\n", "<!-- end -->\n"
	head, rest, ok1 := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", manual)
	}
	if *update {
		if err := os.WriteFile(manual, []byte(head+begin+b.String()+end+tail), 0644); err != nil {
			t.Fatal(err)
		}
	} else if old != b.String() {
		t.Errorf("%s is stale: go test ./pkg/privs -update", manual)
	}
}
