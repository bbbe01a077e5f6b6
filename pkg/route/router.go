package route

import (
	"errors"

	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
)

// Router holds the routing configuration and its open tables.
type Router struct {
	// Trace, if set, is told each step and the parameter behind it. Set it before
	// the Router is used.
	Trace func(step string)
}

// New reads the parameters and opens the tables.
func New(cfg *config.Config, env *lookup.Env) (*Router, error) {
	return nil, errors.New("route: not available")
}

// Close closes the tables.
func (r *Router) Close() error { return nil }

// Rewrite puts an internal address into standard form, user@domain: source
// routes go, site!user and user%domain are turned round, $myorigin and
// $mydomain are appended, as the parameters say. local is false for header
// addresses of mail from elsewhere: $remote_header_rewrite_domain takes the
// place of $myorigin and $mydomain then. "" stays "".
func (r *Router) Rewrite(addr string, local bool) string { return addr }

// Resolve finds the route of a recipient; sender is the envelope sender, ""
// for the null sender, and matters to the sender_dependent_* parameters. Both
// are internal and have been through Rewrite. An error is temporary trouble
// with a table.
func (r *Router) Resolve(sender, rcpt string) (Route, error) {
	return Route{}, errors.New("route: not available")
}

// ClassOf returns the class of a domain; "[192.0.2.1]" is an address literal.
func (r *Router) ClassOf(domain string) (Class, error) {
	return Default, errors.New("route: not available")
}

// IsLocal says whether a domain is $myorigin, in $mydestination or, in
// brackets, an address of this machine: the Local function of
// lookup.AddressOptions.
func (r *Router) IsLocal(domain string) (bool, error) {
	return false, errors.New("route: not available")
}

// Listed says whether a recipient is known in its domain's class; p says how a
// client is refused if it is not. Recipients of the default class, and of
// classes without tables, are always known. An error is temporary trouble with
// a table: answer 451, never "unknown".
func (r *Router) Listed(rcpt string) (ok bool, p *Problem, err error) {
	return false, nil, errors.New("route: not available")
}

// AddressOptions are the options for looking addresses up in tables of kind
// FindDefault, with this router's idea of local domains and extensions.
func (r *Router) AddressOptions() lookup.AddressOptions { return lookup.AddressOptions{} }

// Delims is $recipient_delimiter.
func (r *Router) Delims() string { return "" }
