package sasl

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// Client is the client's side of one exchange; the messages are decoded.
type Client interface {
	// Name is the mechanism's name.
	Name() string
	// Start returns the initial response, nil if the mechanism has none.
	Start() (initial []byte, err error)
	// Next answers a challenge.
	Next(challenge []byte) (response []byte, err error)
}

// Security are the properties that smtp_sasl_security_options asks for.
type Security uint8

const (
	NoPlaintext  Security = 1 << iota // no mechanism that shows the password
	NoActive                          // none that an active attacker defeats
	NoDictionary                      // none that a passive attacker can guess against
	NoAnonymous                       // always so here
	ForwardSecrecy
	MutualAuth
)

// ParseSecurity reads a list such as "noplaintext, noanonymous".
func ParseSecurity(words []string) (s Security, err error) {
	for _, w := range words {
		switch strings.ToLower(w) {
		case "noplaintext":
			s |= NoPlaintext
		case "noactive":
			s |= NoActive
		case "nodictionary":
			s |= NoDictionary
		case "noanonymous":
			s |= NoAnonymous
		case "forward_secrecy":
			s |= ForwardSecrecy
		case "mutual_auth":
			s |= MutualAuth
		default:
			return 0, fmt.Errorf("unknown SASL security option %q", w)
		}
	}
	return s, nil
}

// clientMechanisms are what we can do, best first, with the properties that
// each lacks.
var clientMechanisms = []struct {
	name  string
	lacks Security
	open  func(o *Offer, user, password string) (Client, error)
}{
	{"SCRAM-SHA-256-PLUS", NoDictionary | ForwardSecrecy, newScramClient("SCRAM-SHA-256-PLUS", scram.SHA256)},
	{"SCRAM-SHA-1-PLUS", NoDictionary | ForwardSecrecy, newScramClient("SCRAM-SHA-1-PLUS", scram.SHA1)},
	{"SCRAM-SHA-256", NoActive | NoDictionary | ForwardSecrecy, newScramClient("SCRAM-SHA-256", scram.SHA256)},
	{"SCRAM-SHA-1", NoActive | NoDictionary | ForwardSecrecy, newScramClient("SCRAM-SHA-1", scram.SHA1)},
	{"CRAM-MD5", NoActive | NoDictionary | ForwardSecrecy | MutualAuth, newCramMD5Client},
	{"PLAIN", NoPlaintext | NoActive | NoDictionary | ForwardSecrecy | MutualAuth, newPlainClient},
	{"LOGIN", NoPlaintext | NoActive | NoDictionary | ForwardSecrecy | MutualAuth, newLoginClient},
}

// ErrNoMechanism says that a server offers none that we have and may use.
var ErrNoMechanism = errors.New("no compatible authentication mechanisms")

// Offer is what a server offers over one connection.
type Offer struct {
	Mechanisms []string
	// Bindings are the connection's channel bindings; none without TLS.
	Bindings Bindings
}

// Has tells whether the server offers a mechanism.
func (o *Offer) Has(mechanism string) bool {
	return slices.ContainsFunc(o.Mechanisms, func(m string) bool { return strings.EqualFold(m, mechanism) })
}

// Usable returns those mechanisms that we can use under the security options,
// best first.
func (o *Offer) Usable(s Security) []string {
	var l []string
	for _, m := range clientMechanisms {
		if m.lacks&s == 0 && o.Has(m.name) && (len(o.Bindings) > 0 || !strings.HasSuffix(m.name, "-PLUS")) {
			l = append(l, m.name)
		}
	}
	return l
}

// NewClient starts an exchange. o must be all that the server offers: with SCRAM
// the client tells the server what it was shown, so that a mechanism that
// somebody between them took out is missed.
func NewClient(mechanism, user, password string, o *Offer) (Client, error) {
	for _, m := range clientMechanisms {
		if strings.EqualFold(m.name, mechanism) {
			return m.open(o, user, password)
		}
	}
	return nil, ErrNoMechanism
}

// plainClient is RFC 4616.
type plainClient struct{ user, password string }

func newPlainClient(_ *Offer, user, password string) (Client, error) {
	if strings.ContainsRune(user+password, 0) {
		return nil, ErrMessage
	}
	return &plainClient{user, password}, nil
}

func (*plainClient) Name() string { return "PLAIN" }

func (p *plainClient) Start() ([]byte, error) {
	return []byte("\x00" + p.user + "\x00" + p.password), nil
}

func (*plainClient) Next([]byte) ([]byte, error) { return nil, ErrMessage }

// loginClient is the mechanism that was never standardized: two questions, whose
// texts are not to be relied on.
type loginClient struct {
	user, password string
	step           int
}

func newLoginClient(_ *Offer, user, password string) (Client, error) {
	return &loginClient{user: user, password: password}, nil
}

func (*loginClient) Name() string { return "LOGIN" }

func (*loginClient) Start() ([]byte, error) { return nil, nil }

func (l *loginClient) Next([]byte) ([]byte, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte(l.user), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, ErrMessage
}

// cramMD5 is RFC 2195.
type cramMD5 struct {
	user, password string
	done           bool
}

func newCramMD5Client(_ *Offer, user, password string) (Client, error) {
	return &cramMD5{user: user, password: password}, nil
}

func (*cramMD5) Name() string { return "CRAM-MD5" }

func (*cramMD5) Start() ([]byte, error) { return nil, nil }

func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if c.done {
		return nil, ErrMessage
	}
	c.done = true
	h := hmac.New(md5.New, []byte(c.password))
	h.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(h.Sum(nil))), nil
}

// scramClient is RFC 5802.
type scramClient struct {
	name string
	conv *scram.ClientConversation
}

// bindingTypes are the channel bindings in the order of choice: what every
// server has that binds channels at all (RFC 5802, section 6; RFC 9266 for TLS 1.3,
// which has no tls-unique).
var bindingTypes = []string{"tls-unique", "tls-exporter", "tls-server-end-point"}

func newScramClient(name string, h scram.HashGeneratorFcn) func(*Offer, string, string) (Client, error) {
	return func(o *Offer, user, password string) (Client, error) {
		c, err := h.NewClient(user, password, "")
		if err != nil {
			return nil, err
		}
		s := &scramClient{name: name}
		switch {
		case strings.HasSuffix(name, "-PLUS"):
			i := slices.IndexFunc(bindingTypes, func(t string) bool { return len(o.Bindings[t]) > 0 })
			if i < 0 {
				return nil, ErrNoMechanism
			}
			t := bindingTypes[i]
			s.conv = c.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingType(t), Data: o.Bindings[t]})
		case len(o.Bindings) > 0 && !o.Has("SCRAM-SHA-256-PLUS") && !o.Has("SCRAM-SHA-1-PLUS"):
			s.conv = c.NewConversationAdvertisingChannelBinding()
		default:
			s.conv = c.NewConversation()
		}
		return s, nil
	}
}

func (s *scramClient) Name() string { return s.name }

func (s *scramClient) Start() ([]byte, error) {
	m, err := s.conv.Step("")
	return []byte(m), err
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	m, err := s.conv.Step(string(challenge))
	return []byte(m), err
}

// Verified says whether the server has proved that it knows the password: with
// SCRAM its last message must have been checked; the other mechanisms prove
// nothing, and are always satisfied.
func Verified(c Client) bool {
	s, ok := c.(*scramClient)
	return !ok || s.conv.Valid()
}
