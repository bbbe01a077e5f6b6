// Package route decides where mail goes. It rewrites addresses into standard
// form, finds the class of a domain (local, virtual alias, virtual mailbox,
// relay, or any other), resolves a recipient to transport, next hop and final
// address, and says whether a recipient is known. What Postfix's
// trivial-rewrite answers over a socket is a function call here.
//
// All methods are safe for concurrent use. They depend on nothing but the
// configuration and its tables, so that a dry run gives the same answers as a
// daemon.
package route

// Class is the class of a recipient's domain. Each class has its list of
// domains, its default transport and its tables of valid recipients.
type Class uint8

// Classes, in the order in which they are tried.
const (
	Local          Class = iota // mydestination, inet_interfaces, proxy_interfaces
	VirtualAlias                // virtual_alias_domains
	VirtualMailbox              // virtual_mailbox_domains
	Relay                       // relay_domains
	Default                     // anything else
)

var classNames = [...]string{"local", "virtual alias", "virtual mailbox", "relay", "default"}

func (c Class) String() string { return classNames[c] }

// Problem is why a recipient cannot be delivered to. It is also found in
// Route, together with the transport error or retry.
type Problem struct {
	Temp bool
	DSN  string // "5.1.1"
	Text string // "User unknown in local recipient table"
	// Code is the SMTP reply code: 550, or unknown_local_recipient_reject_code
	// and its like.
	Code int
}

func (p *Problem) String() string { return p.DSN + " " + p.Text }

// Route is where a recipient's mail goes.
type Route struct {
	Transport string // master.cf service: "local", "smtp", "error"
	Nexthop   string // "example.com", "[mx.example.com]:587"; for error and retry the reason
	Recipient string // internal form, user@domain: what the agent is asked to deliver to
	Class     Class
	// Problem is set when the transport is error or retry: the address cannot be
	// delivered to, now or at all.
	Problem *Problem
	// Routed is set when the local part holds a routing operator (user%dom@here):
	// relay control refuses such addresses.
	Routed bool
	// Invalid is set when the address is malformed. Problem says how.
	Invalid bool
	// Why names the parameter that decided the transport: "local_transport",
	// "transport_maps".
	Why string
}
