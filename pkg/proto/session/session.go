// Package session is the protocol by which an authenticated connection comes
// from login(8) to the session program of its user (imapd, pop3d).
//
// auth, and nobody else, tells master who may open what: a Grant with a random
// cookie, the user's identity and home. login learns only the cookie, from
// auth's answer to it, and hands it to master in an Open, with the
// descriptor of the connection: the client's socket itself, or, under TLS, one
// end of a socket pair that login feeds. master finds or starts the process of
// that program and user ID and forwards grant and descriptor as a Deliver.
// A cookie serves once and for a minute.
//
// auth and login dial Service; master knows them by SO_PEERCRED. Between master
// and a session process, Deliver frames go over the process's own socket.
package session

import (
	"fmt"
	"strings"
	"syscall"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "session/2"

// Service is the socket's place below the queue directory; master itself
// serves it.
const Service = "private/session"

// Frame types.
const (
	TypeGrant   = 1 // auth to master
	TypeOpen    = 2 // login to master, with one descriptor, or two with Lease
	TypeDeliver = 3 // master to session process, with the same
	TypeResult  = 4 // master's answer to Grant and Open
)

// CookieSize is the length of a cookie in bytes.
const CookieSize = 16

// Grant says who a cookie's bearer is.
type Grant struct {
	Cookie  string // CookieSize random bytes
	Program string // "imapd", "pop3d": must be a session service of master.cf
	User    string // login name as auth knows it
	UID     uint32
	GID     uint32
	Home    string
	Mail    string   // mail location, "maildir:~/Maildir" or ""; for the session program
	Extra   []string // further fields of the user database, "name=value": quota_rule and the like
}

// Open hands a connection over.
type Open struct {
	Cookie  string
	TLS     bool
	Remote  string // client address and port
	Local   string
	Input   []byte // what the client has sent beyond the login command
	Tag     string // IMAP: tag of the command that authenticated; its OK is for the session program to send
	Service string // "imap", "imaps", "pop3", "pop3s": for the log
	// Lease: a second descriptor comes along, which the session process keeps open
	// as long as the session lasts. anvil(8) watches its other end.
	Lease   bool
	LeaseFD int // that descriptor, once received; not on the wire
}

// Deliver is both together, for the session program.
type Deliver struct {
	Grant Grant
	Open  Open
}

// Result answers Grant and Open.
type Result struct {
	OK   bool
	Text string
}

func bad(what, s string, most int) error {
	if len(s) > most || strings.ContainsAny(s, "\r\n\x00") {
		return fmt.Errorf("session: bad %s", what)
	}
	return nil
}

// Validate refuses what no well-behaved auth sends. User ID 0 is refused.
func (g *Grant) Validate() error {
	if len(g.Cookie) != CookieSize {
		return fmt.Errorf("session: cookie of %d bytes", len(g.Cookie))
	}
	if g.UID == 0 || g.GID == 0 {
		return fmt.Errorf("session: user %.40q has user or group ID 0", g.User)
	}
	for _, f := range append([]string{g.Program, g.User, g.Home, g.Mail}, g.Extra...) {
		if err := bad("grant", f, 4096); err != nil {
			return err
		}
	}
	if g.Program == "" || strings.ContainsAny(g.Program, "/.") || g.User == "" {
		return fmt.Errorf("session: bad grant for %.40q", g.User)
	}
	return nil
}

// Validate refuses what no well-behaved login sends.
func (o *Open) Validate() error {
	if len(o.Cookie) != CookieSize || len(o.Input) > 64<<10 {
		return fmt.Errorf("session: bad open request")
	}
	for _, f := range []string{o.Remote, o.Local, o.Tag, o.Service} {
		if err := bad("open request", f, 1024); err != nil {
			return err
		}
	}
	return nil
}

func (g *Grant) encode(e *wire.Encoder) {
	e.String(g.Cookie)
	e.String(g.Program)
	e.String(g.User)
	e.Uint(uint64(g.UID))
	e.Uint(uint64(g.GID))
	e.String(g.Home)
	e.String(g.Mail)
	e.Strings(g.Extra)
}

func (g *Grant) decode(d *wire.Decoder) {
	g.Cookie, g.Program, g.User = d.String(), d.String(), d.String()
	g.UID, g.GID = uint32(d.Uint()), uint32(d.Uint())
	g.Home, g.Mail, g.Extra = d.String(), d.String(), d.Strings()
}

func (o *Open) encode(e *wire.Encoder) {
	e.String(o.Cookie)
	e.Bool(o.TLS)
	e.String(o.Remote)
	e.String(o.Local)
	e.Bytes(o.Input)
	e.String(o.Tag)
	e.String(o.Service)
	e.Bool(o.Lease)
}

func (o *Open) decode(d *wire.Decoder) {
	o.Cookie, o.TLS, o.Remote, o.Local = d.String(), d.Bool(), d.String(), d.String()
	o.Input = append([]byte(nil), d.Bytes()...)
	o.Tag, o.Service, o.Lease = d.String(), d.String(), d.Bool()
}

// EncodeGrant returns a Grant's payload.
func EncodeGrant(g *Grant) []byte { var e wire.Encoder; g.encode(&e); return e.B }

// DecodeGrant parses and validates a Grant payload.
func DecodeGrant(p []byte) (*Grant, error) {
	d, g := wire.NewDecoder(p), new(Grant)
	g.decode(d)
	if err := d.Done(); err != nil {
		return nil, err
	}
	return g, g.Validate()
}

// EncodeOpen returns an Open's payload.
func EncodeOpen(o *Open) []byte { var e wire.Encoder; o.encode(&e); return e.B }

// DecodeOpen parses and validates an Open payload.
func DecodeOpen(p []byte) (*Open, error) {
	d, o := wire.NewDecoder(p), new(Open)
	o.decode(d)
	if err := d.Done(); err != nil {
		return nil, err
	}
	return o, o.Validate()
}

// Descriptors takes what came along with an Open or a Deliver: the client's
// connection, and the lease.
func (o *Open) Descriptors(c *ipc.Conn) (fd int, err error) {
	if fd, err = c.TakeFD(); err == nil && o.Lease {
		if o.LeaseFD, err = c.TakeFD(); err != nil {
			syscall.Close(fd)
		}
	}
	return fd, err
}

// CloseLease closes the lease, if there is one.
func (o *Open) CloseLease() {
	if o.Lease {
		syscall.Close(o.LeaseFD)
	}
}

// EncodeDeliver returns a Deliver's payload.
func EncodeDeliver(v *Deliver) []byte {
	var e wire.Encoder
	v.Grant.encode(&e)
	v.Open.encode(&e)
	return e.B
}

// DecodeDeliver parses and validates a Deliver payload.
func DecodeDeliver(p []byte) (*Deliver, error) {
	d, v := wire.NewDecoder(p), new(Deliver)
	v.Grant.decode(d)
	v.Open.decode(d)
	if err := d.Done(); err != nil {
		return nil, err
	}
	if err := v.Grant.Validate(); err != nil {
		return nil, err
	}
	return v, v.Open.Validate()
}

// EncodeResult returns a Result's payload.
func EncodeResult(r *Result) []byte { var e wire.Encoder; e.Bool(r.OK); e.String(r.Text); return e.B }

// DecodeResult parses a Result payload.
func DecodeResult(p []byte) (*Result, error) {
	d := wire.NewDecoder(p)
	r := &Result{OK: d.Bool(), Text: d.String()}
	return r, d.Done()
}
