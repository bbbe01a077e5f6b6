package sasl

import (
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

func TestClientMechanisms(t *testing.T) {
	offered := []string{"LOGIN", "plain", "CRAM-MD5", "GSSAPI", "SCRAM-SHA-256"}
	for _, tt := range []struct{ options, want string }{
		{"", "SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"},
		{"noplaintext noanonymous", "SCRAM-SHA-256 CRAM-MD5"},
		{"mutual_auth", "SCRAM-SHA-256"},
		{"noactive", ""},
	} {
		s, err := ParseSecurity(strings.Fields(tt.options))
		if got := strings.Join((&Offer{Mechanisms: offered}).Usable(s), " "); err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v", tt.options, got, err)
		}
	}
	if _, err := ParseSecurity([]string{"whatever"}); err == nil {
		t.Error("an unknown option is accepted")
	}
}

// The example of RFC 2195, section 2.
func TestCramMD5Client(t *testing.T) {
	c, _ := NewClient("CRAM-MD5", "tim", "tanstaaftanstaaf", &Offer{})
	if r, err := c.Next([]byte("<1896.697170952@postoffice.reston.mci.net>")); err != nil || string(r) != "tim b913a602c7eda7a495b4e6e7334d3890" {
		t.Errorf("got %q, %v", r, err)
	}
	if _, err := c.Next(nil); err == nil {
		t.Error("a second challenge is answered")
	}
}

func TestPlainAndLogin(t *testing.T) {
	c, _ := NewClient("plain", "u", "p", &Offer{})
	if r, err := c.Start(); err != nil || string(r) != "\x00u\x00p" {
		t.Errorf("PLAIN: %q, %v", r, err)
	}
	if _, err := NewClient("PLAIN", "u\x00x", "p", &Offer{}); err == nil {
		t.Error("PLAIN: NUL in a name")
	}
	c, _ = NewClient("LOGIN", "u", "p", &Offer{})
	a, _ := c.Next([]byte("anything"))
	b, _ := c.Next([]byte("else"))
	if _, err := c.Next(nil); string(a) != "u" || string(b) != "p" || err == nil {
		t.Errorf("LOGIN: %q %q %v", a, b, err)
	}
}

// Mechanisms with channel binding need a connection that has one.
func TestClientPlus(t *testing.T) {
	offered := []string{"PLAIN", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}
	o := &Offer{Mechanisms: offered}
	if got := strings.Join(o.Usable(0), " "); got != "SCRAM-SHA-256 PLAIN" {
		t.Error(got)
	}
	if _, err := NewClient("SCRAM-SHA-256-PLUS", "u", "p", o); err == nil {
		t.Error("binding to nothing")
	}
	o.Bindings = Bindings{"tls-exporter": []byte("x"), "tls-server-end-point": []byte("y")}
	if got := strings.Join(o.Usable(NoActive), " "); got != "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS" {
		t.Error(got)
	}
	for _, tt := range []struct{ mech, offered, want string }{
		{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=u,"},
		{"SCRAM-SHA-256", "SCRAM-SHA-256", "y,,n=u,"},
		{"SCRAM-SHA-256", "SCRAM-SHA-256 SCRAM-SHA-1-PLUS", "n,,n=u,"},
	} {
		o.Mechanisms = strings.Fields(tt.offered)
		c, err := NewClient(tt.mech, "u", "p", o)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := c.Start(); err != nil || !strings.HasPrefix(string(m), tt.want) {
			t.Errorf("%+v: %q, %v", tt, m, err)
		}
	}
}

// An exchange with the server side of the library; a server that does not know
// the password is found out.
func TestScramClient(t *testing.T) {
	for _, impostor := range []bool{false, true} {
		stored, _ := scram.SHA256.NewClient("user", "pencil", "")
		creds := stored.GetStoredCredentials(scram.KeyFactors{Salt: "salty", Iters: 4096})
		srv, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
			c := creds
			if impostor {
				c.ServerKey = []byte(strings.Repeat("x", 32))
			}
			return c, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		conv := srv.NewConversation()
		c, err := NewClient("SCRAM-SHA-256", "user", "pencil", &Offer{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Start()
		for i := 0; i < 2 && err == nil; i++ {
			var ch string
			if ch, err = conv.Step(string(m)); err != nil {
				t.Fatal(err)
			}
			m, err = c.Next([]byte(ch))
		}
		if ok := err == nil && Verified(c); ok == impostor {
			t.Errorf("impostor %v: verified %v, %v", impostor, ok, err)
		}
	}
}
