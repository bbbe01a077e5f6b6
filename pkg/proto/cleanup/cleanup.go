// Package cleanup is the protocol by which smtpd, pickup, bounce and local hand
// a new message to cleanup(8): envelope, recipients, content, and one answer
// that says whether the message is on stable storage.
//
// A connection carries any number of transactions, one at a time. The client
// sends
//
//	Begin      envelope and flags; the client proposes the queue id
//	Recipient  one or more, any number of frames
//	Data       content in CRLF form, without dot-stuffing, any number of frames
//	End        (or Abort, which is not answered)
//
// and may send all of it without waiting. The server answers End alone, with a
// Result; after a failure it reads and drops the rest of the transaction
// first. A server that is about to leave sends Drain: the client sends it no new
// transaction and closes the connection; one that crossed the Drain is served.
package cleanup

import (
	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "cleanup/1"

// Service is the socket's place below the queue directory.
const Service = "public/cleanup"

// Frame types.
const (
	TypeBegin     = 1
	TypeRecipient = 2
	TypeData      = 3
	TypeEnd       = 4
	TypeAbort     = 5
	TypeResult    = 6
	TypeDrain     = 7 // from the server, at any time
)

// Flags ask for or suppress parts of cleanup's work (Postfix's cleanup flags).
type Flags uint32

const (
	Filter       Flags = 1 << iota // header_checks and body_checks
	Map                            // canonical, masquerade and virtual alias rewriting
	BCC                            // always_bcc and the bcc maps
	Hold                           // put the message on hold
	Discard                        // accept and discard
	MessageInfo                    // log the message-id line
	ExtractRcpts                   // sendmail -t: recipients from the headers
	NoReceived                     // the content has its Received: header already
)

// External and Internal are the usual sets: mail from users and from the
// network, and mail that the system makes itself (reports, forwarded mail). The
// latter is mapped as well, since a report's recipient may be a virtual alias.
const (
	External = Filter | Map | BCC | MessageInfo
	Internal = Map | MessageInfo
)

// Begin opens a transaction.
type Begin struct {
	Flags    Flags
	Message  envelope.Message
	Prepend  []string // header lines that access tables ask for, without CRLF, outermost first
	Redirect string   // REDIRECT action's address
	FilterTo string   // FILTER action's transport:nexthop
	AddBCC   []string // BCC actions
}

// Result answers End.
type Result struct {
	Status Status
	Code   int    // SMTP reply code where Status alone does not give it
	DSN    string // enhanced status code
	Reason string // reply text without codes; "" for the standard one of Status
	Size   int64  // bytes of content in the queue file
}

// Status says what became of the message.
type Status uint8

const (
	OK           Status = iota
	WriteError          // 451 4.3.0 queue file write error
	NoSpace             // 452 4.3.1 insufficient system storage
	TooBig              // 552 5.3.4
	TooManyHops         // 554 5.4.0
	Rejected            // 550 5.7.1 by header or body checks; Reason, Code and DSN tell
	NoRecipients        // 550 5.1.0
	TempFail            // 451 4.3.0: table look-up trouble and the like
	BadProtocol         // 451 4.3.0: the client broke the protocol
)

// Encode returns the frame's payload.
func (b *Begin) Encode(e *wire.Encoder) {
	e.Uint(uint64(b.Flags))
	b.Message.Encode(e)
	e.Strings(b.Prepend)
	e.String(b.Redirect)
	e.String(b.FilterTo)
	e.Strings(b.AddBCC)
}

// DecodeBegin parses and validates a Begin payload.
func DecodeBegin(p []byte) (*Begin, error) {
	d := wire.NewDecoder(p)
	b := &Begin{Flags: Flags(d.Uint())}
	b.Message.Decode(d)
	b.Prepend = d.Strings()
	b.Redirect = d.String()
	b.FilterTo = d.String()
	b.AddBCC = d.Strings()
	if err := d.Done(); err != nil {
		return nil, err
	}
	return b, b.Message.Validate()
}

// Encode appends the payload.
func (r *Result) Encode(e *wire.Encoder) {
	e.Uint(uint64(r.Status))
	e.Uint(uint64(r.Code))
	e.String(r.DSN)
	e.String(r.Reason)
	e.Int(r.Size)
}

// DecodeResult parses a Result payload.
func DecodeResult(p []byte) (*Result, error) {
	d := wire.NewDecoder(p)
	r := &Result{Status: Status(d.Uint()), Code: int(d.Uint()), DSN: d.String(), Reason: d.String(), Size: d.Int()}
	return r, d.Done()
}
