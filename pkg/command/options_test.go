package command

import (
	"fmt"
	"strings"
	"testing"
)

func TestSplitOptions(t *testing.T) {
	for in, want := range map[string]string{
		"-bh -q X":     "[-b -h -q X]",
		"-qc /etc/p X": "[-q -c /etc/p X]",
		"-c/etc/p -e":  "[-c /etc/p -e]",
		"-es 10 f -x":  "[-e -s 10 f -x]",
		"-e -- -x":     "[-e -- -x]",
		"-c":           "[-c]",
		"file -b":      "[file -b]",
		"- -b":         "[- -b]",
	} {
		if got := fmt.Sprint(SplitOptions(strings.Fields(in), "cs")); got != want {
			t.Errorf("SplitOptions(%q) = %s, want %s", in, got, want)
		}
	}
}
