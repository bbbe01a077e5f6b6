package macro

import (
	"strings"
	"testing"
)

var vars = map[string]string{"user": "anna", "ext": "", "evil": "a;b $user `c`"}

func get(n string) (string, bool) { v, ok := vars[n]; return v, ok }

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"$user/x": "anna/x", "${user}x": "annax", "$(user)x": "annax", "$$user": "$user", "": "",
		"${ext?+$ext}": "", "${user?+$user}": "+anna", "${ext:none}": "none", "${none:n}": "n",
		"${user?{yes}:{no}}": "yes", "${ext?{yes}:{no}}": "no", "${user?a${ext:b}}": "ab", "$evil": "a;b $user `c`",
	} {
		if got, _, err := Expand(in, "", get); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"$", "${user", "$-", "${}", "${user!x}", "${user?{a}x}"} {
		if _, _, err := Expand(in, "", get); err == nil {
			t.Errorf("%s: no error", in)
		}
	}
	if _, undef, _ := Expand("$none", "", get); !undef {
		t.Error("$none is defined")
	}
	if got, _, _ := Expand("$evil;", "abcdefghijklmnopqrstuvwxyz", get); got != "a_b__user__c_;" {
		t.Errorf("filtered: %q", got)
	}
	if n, err := Names("$a ${b?$c} ${d?{$e}:{$f}}"); err != nil || strings.Join(n, "") != "abcdef" {
		t.Errorf("names %q, %v", n, err)
	}
}

// FuzzExpand: values are not expanded again, and nothing grows without bound.
func FuzzExpand(f *testing.F) {
	f.Add("${user?{$user}:{x}}$evil")
	f.Fuzz(func(t *testing.T, s string) {
		out, _, err := Expand(s, "", get)
		if err == nil && len(out) > len(s)*len(vars["evil"])+len(s) {
			t.Fatalf("%q grew to %d bytes", s, len(out))
		}
		Names(s)
	})
}
