//go:build profile

package service

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profileDir is set when the programs are linked; only "make profile" builds
// with this tag.
var profileDir string

// startProfile writes where this process spends its time to a file of its own.
func startProfile(program string) {
	f, err := os.Create(filepath.Join(profileDir, fmt.Sprintf("%s.%d", program, os.Getpid())))
	if err == nil {
		pprof.StartCPUProfile(f)
	}
}

func stopProfile() { pprof.StopCPUProfile() }
