package tablebuild

import (
	"fmt"
	"strings"
)

// getopt calls fn with each option of args, in the manner of getopt(3): letters
// may be joined, a letter followed by ":" in spec takes a value, "--" ends the
// options. It returns what follows the options.
func getopt(args []string, spec string, fn func(opt byte, value string) error) (rest []string, err error) {
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			return args[1:], nil
		}
		if len(a) < 2 || a[0] != '-' {
			return args, nil
		}
		args = args[1:]
		for i := 1; i < len(a); i++ {
			at := strings.IndexByte(spec, a[i])
			if at < 0 || a[i] == ':' {
				return nil, fmt.Errorf("invalid option -- '%c'", a[i])
			}
			value := ""
			if takes := at+1 < len(spec) && spec[at+1] == ':'; takes {
				if value = a[i+1:]; value == "" {
					if len(args) == 0 {
						return nil, fmt.Errorf("option requires an argument -- '%c'", a[i])
					}
					value, args = args[0], args[1:]
				}
				if err := fn(a[i], value); err != nil {
					return nil, err
				}
				break
			}
			if err := fn(a[i], value); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}
