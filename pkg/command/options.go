package command

import "strings"

// SplitOptions takes options apart that stand together, as getopt allows and
// package flag does not: -sp is -s -p, and -d with its value is one word or two.
// withValue lists the options that take a value. Splitting ends at "--" and at
// the first argument that is no option.
func SplitOptions(args []string, withValue string) (out []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" || len(a) < 2 || a[0] != '-' {
			return append(out, args[i:]...)
		}
		for k := 1; k < len(a); k++ {
			out = append(out, "-"+a[k:k+1])
			if strings.IndexByte(withValue, a[k]) < 0 {
				continue
			}
			if k+1 < len(a) {
				out = append(out, a[k+1:])
			} else if i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
			break
		}
	}
	return out
}
