package dnsclient

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"posthaste/pkg/proto/resolver"
)

// ErrNotFound is matched (errors.Is) by the errors for names that do not
// exist, have no record of the type, or are no legal names.
var ErrNotFound = errors.New("no such record in the DNS")

// ErrNullMX says that a domain takes no mail (RFC 7505).
var ErrNullMX = errors.New("domain does not accept mail (nullMX)")

// Error is a question without the records wanted. Its text is the one that log
// readers know.
type Error struct {
	Name   string
	Type   string
	Status resolver.Status
	Detail string // what the resolver knows beyond the status, not in the text
}

func (e *Error) Error() string {
	why := "Unknown DNS error"
	switch e.Status {
	case resolver.NotFound:
		why = "Host not found"
	case resolver.NoData:
		why = "Host found but no data record of requested type"
	case resolver.TryAgain:
		why = "Host not found, try again"
	case resolver.Failed:
		why = "Non-recoverable error"
	case resolver.Invalid:
		why = "Malformed or unexpected name server reply"
		if e.Detail != "" {
			why = e.Detail
		}
	}
	return fmt.Sprintf("Host or domain name not found. Name service error for name=%s type=%s: %s", e.Name, e.Type, why)
}

// Is makes errors.Is(err, ErrNotFound) true where that is so.
func (e *Error) Is(target error) bool { return target == ErrNotFound && !e.Temporary() }

// Temporary says that asking again later may help.
func (e *Error) Temporary() bool {
	return e.Status == resolver.TryAgain || e.Status == resolver.Failed
}

// Timeout says that no server answered; it is the same as a SERVFAIL here.
func (e *Error) Timeout() bool { return e.Status == resolver.TryAgain }

// IsTemporary says whether err means that nothing is known: no answer, or a
// server in trouble. Errors of other packages count as temporary.
func IsTemporary(err error) bool {
	return err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNullMX)
}

func replyError(name string, typ uint16, r *resolver.Reply) error {
	if r.Status == resolver.OK {
		return nil
	}
	return &Error{Name: name, Type: dns.TypeToString[typ], Status: r.Status, Detail: r.Detail}
}
