package durable

import (
	"errors"
	"testing"
)

func TestSurveyed(t *testing.T) {
	table := `21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 21 7:0 / /mnt/with\040blank rw,noatime - ext4 /dev/loop0 rw
31 30 7:1 / /mnt/with\040blank/inner rw,nobarrier - xfs /dev/loop1 rw
32 21 0:5 / /proc rw - proc proc rw
junk
33 21 7:2 /sub /mnt/sub rw - xfs /dev/loop2 rw
`
	read := func(name string) ([]byte, error) {
		if name == "/proc/fs/ext4/loop0/options" {
			return []byte("rw\ndata=ordered\n"), nil
		}
		return nil, errors.New("not there")
	}
	defer Adopt(nil)
	known.mounts = judgeAll([]byte(table), map[string]bool{"254:1": true}, read)
	for _, tc := range []struct {
		dev, path  string
		ok         bool
		own, entry bool
	}{
		{"254:1", "/var/mail", true, false, false},
		{"7:0", "/mnt/with blank", true, true, true},
		{"7:0", "/mnt/with blank/x", true, true, true},
		{"7:0", "/mnt/with blanks", false, false, false},
		{"7:1", "/mnt/with blank/inner/y", true, true, true},
		{"7:2", "/mnt/sub/z", true, false, true},
		{"0:5", "/proc", false, false, false},
	} {
		fs, ok := remembered(tc.dev, tc.path)
		if ok != tc.ok || fs.Own != tc.own || fs.EntryWithFile != tc.entry {
			t.Errorf("%s %s: %+v, %v", tc.dev, tc.path, fs, ok)
		}
	}
}

func TestSurveyIsAdopted(t *testing.T) {
	defer Adopt(nil)
	b := Survey()
	want := known.mounts
	Adopt(nil)
	if err := Adopt(b); err != nil {
		t.Fatal(err)
	}
	if len(known.mounts) != len(want) {
		t.Fatalf("%d mounts, want %d", len(known.mounts), len(want))
	}
	for i := range want {
		w := want[i]
		w.fs.Warning = ""
		if known.mounts[i] != w {
			t.Errorf("%+v, want %+v", known.mounts[i], w)
		}
	}
	if Adopt([]byte("\x05ab")) == nil {
		t.Error("a torn survey was adopted")
	}
}
