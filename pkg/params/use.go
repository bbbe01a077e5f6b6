package params

import "slices"

//go:generate go run posthaste/tools/paramuse

// IsUsed says whether some program reads a parameter. It is computed from the
// sources; see used.go.
func IsUsed(name string) bool {
	_, ok := slices.BinarySearch(used, name)
	return ok
}
