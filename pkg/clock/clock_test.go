package clock

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"":        0,
		"26h":     26 * time.Hour,
		"-90s":    -90 * time.Second,
		"3600":    time.Hour,
		"nonsene": 0,
	} {
		if got := parse(in); got != want {
			t.Errorf("parse(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestNowAddsOffset(t *testing.T) {
	t.Setenv(Variable, "48h")
	if got := Until(time.Now().Add(Offset())); got < -time.Minute || got > time.Minute {
		t.Errorf("Until(system time plus offset) = %v, want about 0", got)
	}
}
