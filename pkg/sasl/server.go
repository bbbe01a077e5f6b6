// Package sasl holds the SASL mechanisms (RFC 4422) of both sides: PLAIN,
// LOGIN, SCRAM-SHA-256 and SCRAM-SHA-1, these two with and without channel
// binding (-PLUS). Mechanisms are state machines that take
// decoded messages and return decoded messages; base64, line limits and the
// protocol around them are the caller's.
package sasl

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"strings"

	"github.com/xdg-go/scram"
)

// Errors of a server exchange. Everything that an attacker could learn
// something from is ErrCredentials.
var (
	ErrCredentials = errors.New("authentication failure")           // wrong, or no such user
	ErrMessage     = errors.New("invalid authentication message")   // the client broke the mechanism
	ErrTemporary   = errors.New("temporary authentication failure") // the backend is in trouble
)

// Kinds of ErrCredentials, for the server's own log and never for the client.
var (
	ErrUnknownUser     = reason("unknown user")
	ErrMismatch        = reason("password mismatch")
	ErrLocked          = reason("password is locked")
	ErrAccountExpired  = reason("account has expired")
	ErrPasswordExpired = reason("password has expired")
	ErrSuperuser       = reason("user ID 0 may not log in")
	ErrOtherUser       = reason("may not act as another user")
	ErrBinding         = reason("channel binding does not match: the client's TLS connection is not ours")
	ErrBindingType     = reason("channel binding of a type that this connection does not have")
	ErrDowngrade       = reason("the client was not shown the mechanisms with channel binding that are on offer")
)

// reason is an ErrCredentials that says why.
type reason string

func (r reason) Error() string        { return string(r) }
func (r reason) Is(target error) bool { return target == ErrCredentials || target == error(r) }

// ScramKeys are what a server keeps for SCRAM (RFC 5802, section 3).
type ScramKeys struct {
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

// Verifier knows users and passwords. Both methods take their full time also
// for users that do not exist.
type Verifier interface {
	// Verify checks a password and returns the canonical user name. The error is
	// ErrCredentials or ErrTemporary.
	Verify(user, password string) (name string, err error)
	// Scram returns the keys of a user for "SHA-256" or "SHA-1"; keys that nobody
	// can prove to know for an unknown user.
	Scram(user, hash string) (ScramKeys, error)
}

// Server is the server's side of one exchange.
type Server interface {
	// Next takes the client's message and returns the next challenge. done tells
	// that the exchange succeeded; a challenge with done is data that the client
	// must see before it believes in success. nil as the first message asks for the
	// first challenge.
	Next(response []byte) (challenge []byte, done bool, err error)
	// User is the authenticated user, or the one that tried, "" if not known.
	User() string
}

// maxMessage bounds names and passwords.
const maxMessage = 1024

// Bindings are the channel bindings of a TLS connection (RFC 5056), data by
// type: "tls-exporter" (RFC 9266), "tls-unique" and "tls-server-end-point"
// (RFC 5929).
type Bindings map[string][]byte

// NewServer starts an exchange; ok is false for a mechanism that does not
// exist here. Bindings are those of the client's connection, provided that the
// client was offered mechanisms with channel binding.
func NewServer(mech string, v Verifier, b Bindings) (s Server, ok bool) {
	mech = strings.ToUpper(mech)
	switch mech {
	case "PLAIN":
		return &plainServer{v: v}, true
	case "LOGIN":
		return &loginServer{v: v}, true
	}
	base, plus := strings.CutSuffix(mech, "-PLUS")
	switch base {
	case "SCRAM-SHA-256":
		return newScram(v, "SHA-256", sha256.New, plus, b), true
	case "SCRAM-SHA-1":
		return newScram(v, "SHA-1", sha1.New, plus, b), true
	}
	return nil, false
}

// plainServer is RFC 4616.
type plainServer struct {
	v    Verifier
	user string
}

func (s *plainServer) User() string { return s.user }

func (s *plainServer) Next(resp []byte) ([]byte, bool, error) {
	if resp == nil {
		return []byte{}, false, nil
	}
	parts := bytes.Split(resp, []byte{0})
	if len(parts) != 3 || len(resp) > 3*maxMessage || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return nil, false, ErrMessage
	}
	authz := string(parts[0])
	s.user = string(parts[1])
	name, err := s.v.Verify(s.user, string(parts[2]))
	if err != nil {
		return nil, false, err
	}
	if authz != "" && authz != s.user && authz != name {
		return nil, false, ErrOtherUser
	}
	s.user = name
	return nil, true, nil
}

// loginServer is the obsolete LOGIN that Outlook prefers.
type loginServer struct {
	v    Verifier
	step int
	user string
}

func (s *loginServer) User() string { return s.user }

func (s *loginServer) Next(resp []byte) ([]byte, bool, error) {
	if s.step == 0 && resp == nil {
		return []byte("Username:"), false, nil
	}
	if len(resp) == 0 || len(resp) > maxMessage || bytes.IndexByte(resp, 0) >= 0 {
		return nil, false, ErrMessage
	}
	s.step++
	if s.step == 1 {
		s.user = string(resp)
		return []byte("Password:"), false, nil
	}
	name, err := s.v.Verify(s.user, string(resp))
	if err != nil {
		return nil, false, err
	}
	s.user = name
	return nil, true, nil
}

// scramServer is RFC 5802 and RFC 7677.
type scramServer struct {
	srv  *scram.Server
	conv *scram.ServerConversation // once the client has spoken
	plus bool
	b    Bindings
	user string
	err  error
}

func newScram(v Verifier, name string, h func() hash.Hash, plus bool, b Bindings) *scramServer {
	s := &scramServer{plus: plus, b: b}
	srv, err := scram.HashGeneratorFcn(h).NewServer(func(user string) (scram.StoredCredentials, error) {
		s.user = user
		k, err := v.Scram(user, name)
		if err != nil {
			s.err = err
			return scram.StoredCredentials{}, err
		}
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations}, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
	})
	if err != nil {
		s.err = ErrTemporary
		return s
	}
	s.srv = srv.WithNonceGenerator(rand.Text)
	return s
}

func (s *scramServer) User() string { return s.user }

// bind looks at what the client's first message says of channel binding
// (RFC 5802, section 6), and starts the conversation.
func (s *scramServer) bind(first string) error {
	flag, _, ok := strings.Cut(first, ",")
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case !ok || bound != s.plus:
		return ErrMessage
	case flag == "y" && len(s.b) > 0:
		return ErrDowngrade
	case !bound:
		s.conv = s.srv.NewConversation()
		return nil
	}
	data := s.b[kind]
	if len(data) == 0 {
		return ErrBindingType
	}
	s.conv = s.srv.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingType(kind), Data: data})
	return nil
}

func (s *scramServer) Next(resp []byte) ([]byte, bool, error) {
	if s.srv == nil {
		return nil, false, s.err
	}
	if resp == nil {
		return []byte{}, false, nil
	}
	if len(resp) > 4*maxMessage {
		return nil, false, ErrMessage
	}
	first := s.conv == nil
	if first {
		if err := s.bind(string(resp)); err != nil {
			return nil, false, err
		}
	}
	out, err := s.conv.Step(string(resp))
	if err != nil {
		switch {
		case s.err != nil:
			return nil, false, s.err
		case first:
			return nil, false, ErrMessage
		case out == scram.ErrChannelBindingsDontMatch:
			return nil, false, ErrBinding
		}
		return nil, false, ErrMismatch
	}
	if !s.conv.Done() {
		return []byte(out), false, nil
	}
	switch {
	case !s.conv.Valid():
		return nil, false, ErrMismatch
	case s.conv.AuthzID() != "" && s.conv.AuthzID() != s.user:
		return nil, false, ErrOtherUser
	}
	return []byte(out), true, nil
}
