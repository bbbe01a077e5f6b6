// Package dovecot speaks Dovecot's authentication protocol, version 1, as
// client (smtpd, login) and as server (auth): lines of tab-separated fields over
// a Unix socket, many requests at a time on one connection. Our programs and
// Dovecot's can take each other's place.
package dovecot

import (
	"encoding/base64"
	"errors"
	"strings"

	"posthaste/pkg/sasl"
)

// Limits of the protocol.
const (
	maxLine  = 16384 // longest line
	versMaj  = "1"
	versMin  = "2"
	maxField = 8192
)

// ErrProtocol is every violation of the protocol.
var ErrProtocol = errors.New("authentication protocol error")

// Mech is a mechanism as the server's MECH line describes it.
type Mech struct {
	Name           string
	Anonymous      bool
	Plaintext      bool
	Dictionary     bool
	Active         bool
	ForwardSecrecy bool
	MutualAuth     bool
	Private        bool // not to be announced by clients of Dovecot's
	// ChannelBinding, of our own servers alone, marks a mechanism that needs the
	// bindings of the connection with the request. Such mechanisms are Private, too:
	// other programs do not know how to pass bindings. Dovecot passes them otherwise.
	ChannelBinding bool
}

// Usable tells whether a client may be offered the mechanism; bound tells that
// its connection has channel bindings.
func (m *Mech) Usable(bound bool) bool {
	if m.ChannelBinding {
		return bound
	}
	return !m.Private && !strings.HasSuffix(m.Name, "-PLUS")
}

func (m *Mech) flags() []struct {
	name string
	v    *bool
} {
	return []struct {
		name string
		v    *bool
	}{{"anonymous", &m.Anonymous}, {"plaintext", &m.Plaintext}, {"dictionary", &m.Dictionary}, {"active", &m.Active},
		{"forward-secrecy", &m.ForwardSecrecy}, {"mutual-auth", &m.MutualAuth}, {"private", &m.Private},
		{"channel-binding-in-request", &m.ChannelBinding}}
}

// Mechs that servers of ours offer, with their properties.
var knownMechs = []Mech{
	{Name: "PLAIN", Plaintext: true},
	{Name: "LOGIN", Plaintext: true},
	{Name: "SCRAM-SHA-256", MutualAuth: true},
	{Name: "SCRAM-SHA-1", MutualAuth: true},
	{Name: "SCRAM-SHA-256-PLUS", MutualAuth: true, Private: true, ChannelBinding: true},
	{Name: "SCRAM-SHA-1-PLUS", MutualAuth: true, Private: true, ChannelBinding: true},
}

// MechByName returns a known mechanism with its properties.
func MechByName(name string) (Mech, bool) {
	for _, m := range knownMechs {
		if strings.EqualFold(m.Name, name) {
			return m, true
		}
	}
	return Mech{}, false
}

// Request opens an exchange.
type Request struct {
	Mech       string
	Service    string // "smtp", "imap"
	LocalIP    string
	LocalPort  string
	RemoteIP   string
	RemotePort string
	Secured    bool // TLS, or a local connection
	// Program, of login, is the session program that the user is to get. auth
	// announces the user to master and answers success with a field "cookie". Not
	// "session", which is what Dovecot's programs call their identifier of a
	// connection.
	Program string
	// FinalOK, for servers, says that the client takes the mechanism's last words
	// together with success, as our own client does. Postfix does not.
	FinalOK bool
	// Bindings are the channel bindings of the client's connection, if it was
	// offered mechanisms that need them.
	Bindings sasl.Bindings
	Initial  []byte // initial response; nil for none
	// State is a Handler's own.
	State any
}

// escape makes a value fit for one field.
func escape(s string) string {
	if !strings.ContainsAny(s, "\x00\x01\t\r\n") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case 0:
			b.WriteString("\x010")
		case 1:
			b.WriteString("\x011")
		case '\t':
			b.WriteString("\x01t")
		case '\r':
			b.WriteString("\x01r")
		case '\n':
			b.WriteString("\x01n")
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func unescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 1 && i+1 < len(s) {
			i++
			switch s[i] {
			case '0':
				c = 0
			case '1':
				c = 1
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'n':
				c = '\n'
			default:
				c = s[i]
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// fields splits a line at tabs, unescaped.
func fields(line string) []string {
	f := strings.Split(line, "\t")
	for i := range f {
		f[i] = unescape(f[i])
	}
	return f
}

func join(f ...string) string {
	for i := range f {
		f[i] = escape(f[i])
	}
	return strings.Join(f, "\t") + "\n"
}

// value finds key=value among fields.
func value(f []string, key string) (string, bool) {
	for _, x := range f {
		if k, v, ok := strings.Cut(x, "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

func has(f []string, word string) bool {
	for _, x := range f {
		if x == word {
			return true
		}
	}
	return false
}

func decode64(s string) ([]byte, error) {
	if len(s) > maxLine {
		return nil, ErrProtocol
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, ErrProtocol
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
