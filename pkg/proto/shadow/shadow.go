// Package shadow is the protocol of private/shadow: auth(8) asks shadow(8)
// whether a password is that of a system user. The hash never leaves shadow;
// who knows the password learns whose mail it opens.
package shadow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/sasl"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "shadow/1"

// Service is the socket's place below the queue directory.
const Service = "private/shadow"

// TypeVerify is the one type of call.
const TypeVerify = 1

// Limits on the fields of a Query.
const (
	MaxName     = 256
	MaxPassword = 4096
)

// Query asks about a password.
type Query struct{ User, Password string }

// Status is the verdict on a password.
type Status uint8

const (
	OK Status = iota
	Unknown
	Mismatch
	Locked          // no password fits
	AccountExpired  // right, but the account is closed
	PasswordExpired // right, but it must be changed first
	Superuser       // user ID 0 has no mail here
	Trouble         // Detail says what keeps shadow from a verdict
	Stale           // the files have changed: ask again, on a new connection
)

// Reply answers a Query. But for OK, and Detail with Trouble, all fields after
// Status are empty.
type Reply struct {
	Status   Status
	Detail   string
	Name     string // as /etc/passwd writes it
	UID, GID uint32
	Home     string
}

// errs are the verdicts as errors of package sasl.
var errs = map[Status]error{Unknown: sasl.ErrUnknownUser, Mismatch: sasl.ErrMismatch, Locked: sasl.ErrLocked,
	AccountExpired: sasl.ErrAccountExpired, PasswordExpired: sasl.ErrPasswordExpired, Superuser: sasl.ErrSuperuser}

// EncodeQuery makes the payload of a call.
func EncodeQuery(q *Query) []byte {
	var e wire.Encoder
	e.String(q.User)
	e.String(q.Password)
	return e.B
}

// DecodeQuery parses the payload of a call.
func DecodeQuery(p []byte) (*Query, error) {
	d := wire.NewDecoder(p)
	q := &Query{User: d.String(), Password: d.String()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(q.User) > MaxName || len(q.Password) > MaxPassword {
		return nil, fmt.Errorf("%w: query", wire.ErrMalformed)
	}
	return q, nil
}

// EncodeReply makes the payload of an answer.
func EncodeReply(r *Reply) []byte {
	var e wire.Encoder
	e.Uint(uint64(r.Status))
	e.String(r.Detail)
	e.String(r.Name)
	e.Uint(uint64(r.UID))
	e.Uint(uint64(r.GID))
	e.String(r.Home)
	return e.B
}

// DecodeReply parses the payload of an answer.
func DecodeReply(p []byte) (*Reply, error) {
	d := wire.NewDecoder(p)
	st := d.Uint()
	r := &Reply{Detail: d.String(), Name: d.String()}
	uid, gid := d.Uint(), d.Uint()
	r.Home = d.String()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if st > uint64(Stale) || uid > 1<<32-1 || gid > 1<<32-1 || (Status(st) == OK) != (r.Name != "") {
		return nil, fmt.Errorf("%w: reply", wire.ErrMalformed)
	}
	r.Status, r.UID, r.GID = Status(st), uint32(uid), uint32(gid)
	return r, nil
}

// Client asks shadow(8). It is safe for concurrent use.
type Client struct{ c ipc.Caller }

// NewClient returns a client of the socket at path, normally Service.
func NewClient(path string) *Client {
	return &Client{ipc.Caller{Path: path, Protocol: Protocol}}
}

// Close closes the connection.
func (c *Client) Close() error { return c.c.Close() }

// maxStale bounds how often a question is asked while the files keep changing.
const maxStale = 5

// Verify asks about a password. The error is one of package sasl:
// ErrCredentials of some kind, or ErrTemporary.
func (c *Client) Verify(ctx context.Context, user, password string) (*Reply, error) {
	if len(user) > MaxName || strings.ContainsAny(user, ":\n\x00") {
		user = "" // nobody's name, and looked up like any other
	}
	if len(password) > MaxPassword {
		password = rand.Text() // wrong, and as much work as any other
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for range maxStale {
		b, err := c.c.Call(ctx, TypeVerify, EncodeQuery(&Query{user, password}))
		if err != nil {
			return nil, fmt.Errorf("%w: shadow service: %w", sasl.ErrTemporary, err)
		}
		r, err := DecodeReply(b)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: shadow service: %w", sasl.ErrTemporary, err)
		case r.Status == OK:
			return r, nil
		case r.Status == Trouble:
			return nil, fmt.Errorf("%w: shadow service: %.300s", sasl.ErrTemporary, r.Detail)
		case r.Status != Stale:
			return nil, errs[r.Status]
		}
		c.c.Close()
	}
	return nil, fmt.Errorf("%w: shadow service: %w", sasl.ErrTemporary, errors.New("the files keep changing"))
}
