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
	open  func(user, password string) (Client, error)
}{
	{"SCRAM-SHA-256", NoActive | NoDictionary | ForwardSecrecy, newScramClient("SCRAM-SHA-256", scram.SHA256)},
	{"SCRAM-SHA-1", NoActive | NoDictionary | ForwardSecrecy, newScramClient("SCRAM-SHA-1", scram.SHA1)},
	{"CRAM-MD5", NoActive | NoDictionary | ForwardSecrecy | MutualAuth, newCramMD5Client},
	{"PLAIN", NoPlaintext | NoActive | NoDictionary | ForwardSecrecy | MutualAuth, newPlainClient},
	{"LOGIN", NoPlaintext | NoActive | NoDictionary | ForwardSecrecy | MutualAuth, newLoginClient},
}

// ErrNoMechanism says that a server offers none that we have and may use.
var ErrNoMechanism = errors.New("no compatible authentication mechanisms")

// ClientMechanisms returns those of offered that we can use under the security
// options, best first.
func ClientMechanisms(offered []string, s Security) []string {
	var l []string
	for _, m := range clientMechanisms {
		if m.lacks&s == 0 && slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, m.name) }) {
			l = append(l, m.name)
		}
	}
	return l
}

// NewClient starts an exchange.
func NewClient(mechanism, user, password string) (Client, error) {
	for _, m := range clientMechanisms {
		if strings.EqualFold(m.name, mechanism) {
			return m.open(user, password)
		}
	}
	return nil, ErrNoMechanism
}

// plainClient is RFC 4616.
type plainClient struct{ user, password string }

func newPlainClient(user, password string) (Client, error) {
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

func newLoginClient(user, password string) (Client, error) {
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

func newCramMD5Client(user, password string) (Client, error) {
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

// scramClient is RFC 5802 without channel binding.
type scramClient struct {
	name string
	conv *scram.ClientConversation
}

func newScramClient(name string, h scram.HashGeneratorFcn) func(string, string) (Client, error) {
	return func(user, password string) (Client, error) {
		c, err := h.NewClient(user, password, "")
		if err != nil {
			return nil, err
		}
		return &scramClient{name, c.NewConversation()}, nil
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
