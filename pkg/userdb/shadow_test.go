package userdb

import "testing"

const shadowFile = `root:*:19000:0:99999:7:::
# comment
+nis::::::::
anna:$y$x:19000:0:90:7:14:20000:
anna:second:1::::::
short:x:1
odd:$6$x:tomorrow::::::
none:$6$x:::::::
empty::19000::::::
`

func TestParseShadow(t *testing.T) {
	m := ParseShadow(shadowFile)
	if a := m["anna"]; a == nil || *a != (Shadow{"anna", "$y$x", 19000, 90, 14, 20000}) {
		t.Errorf("anna: %+v", a)
	}
	if a := m["none"]; a == nil || *a != (Shadow{"none", "$6$x", -1, -1, -1, -1}) {
		t.Errorf("none: %+v", a)
	}
	if len(m) != 4 || m["root"] == nil || m["empty"] == nil {
		t.Errorf("%d users: %v", len(m), m)
	}
}

// The rules of pam_unix, day by day.
func TestExpiry(t *testing.T) {
	for _, tt := range []struct {
		what string
		s    Shadow
		day  int64
		want Expiry
	}{
		{"nothing set", Shadow{LastChange: -1, Max: -1, Inactive: -1, Expire: -1}, 20000, Valid},
		{"day before the end", Shadow{LastChange: 100, Max: 99999, Inactive: -1, Expire: 20001}, 20000, Valid},
		{"day of the end", Shadow{LastChange: 100, Max: 99999, Inactive: -1, Expire: 20000}, 20000, AccountExpired},
		{"closed for ever", Shadow{LastChange: 100, Max: 99999, Inactive: -1, Expire: 0}, 20000, AccountExpired},
		{"must change", Shadow{LastChange: 0, Max: 99999, Inactive: -1, Expire: -1}, 20000, PasswordExpired},
		{"last day of the password", Shadow{LastChange: 19910, Max: 90, Inactive: -1, Expire: -1}, 20000, Valid},
		{"old password", Shadow{LastChange: 19909, Max: 90, Inactive: -1, Expire: -1}, 20000, PasswordExpired},
		{"old, in the grace time", Shadow{LastChange: 19900, Max: 90, Inactive: 10, Expire: -1}, 20000, PasswordExpired},
		{"old, after the grace time", Shadow{LastChange: 19899, Max: 90, Inactive: 10, Expire: -1}, 20000, AccountExpired},
		{"changed in the future", Shadow{LastChange: 20010, Max: 90, Inactive: 0, Expire: -1}, 20000, Valid},
	} {
		if got := tt.s.Expiry(tt.day); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// FuzzParseShadow holds that no line makes a user whose fields are not its own.
func FuzzParseShadow(f *testing.F) {
	f.Add(shadowFile)
	f.Fuzz(func(t *testing.T, s string) {
		for name, u := range ParseShadow(s) {
			if name == "" || u.Name != name || u.LastChange < -1 || u.Max < -1 || u.Inactive < -1 || u.Expire < -1 {
				t.Fatalf("%q: %+v", name, u)
			}
			u.Expiry(20000)
		}
	})
}
