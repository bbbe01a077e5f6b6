package route

import (
	"fmt"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
)

// Router holds the routing configuration and its open tables.
type Router struct {
	// Trace, if set, is told each step and the parameter behind it. Set it before
	// the Router is used.
	Trace func(step string)

	log func(format string, a ...any)

	myhostname, myorigin, mydomain, remoteDomain string
	swapBang, percentHack, appendOrigin          bool
	appendDomain, nullDomain, numericDomain      bool
	dequote, allowMinus, utf8, showTable         bool
	relocatedPrefix                              bool
	emptyRecipient, doubleBounce, delims         string
	nullRelayKey, nullTransportKey               string
	options                                      lookup.AddressOptions
	transportKeys                                lookup.Find

	mydestination, aliasDomains, mailboxDomains, relayDomains *lookup.List
	interfaces                                                *addresses

	localTransport, virtualTransport, relayTransport, defaultTransport target
	relayhost                                                          string

	transportMaps, senderTransport, senderRelay, relocated *lookup.Maps

	canonical, rcptCanonical, virtualAlias             *lookup.Maps
	localRecipients, mailboxRecipients, relayRecipient *lookup.Maps
	localCode, aliasCode, mailboxCode, relayCode       int
	warnings                                           bool
	checked                                            onceSet // domains that nag has looked at
}

// target is a value of the form transport[:nexthop].
type target struct{ param, transport, nexthop string }

func parseTarget(param, value string) (target, error) {
	t, n, _ := strings.Cut(value, ":")
	if t == "" {
		return target{}, fmt.Errorf("%s: null transport is not allowed", param)
	}
	return target{param, t, n}, nil
}

// New reads the parameters and opens the tables.
func New(cfg *config.Config, env *lookup.Env) (*Router, error) {
	if env == nil {
		env = &lookup.Env{Config: cfg}
	}
	r := &Router{
		myhostname: params.Myhostname.In(cfg), myorigin: params.Myorigin.In(cfg), mydomain: params.Mydomain.In(cfg),
		remoteDomain: params.RemoteHeaderRewriteDomain.In(cfg),
		swapBang:     params.SwapBangpath.In(cfg), percentHack: params.AllowPercentHack.In(cfg),
		appendOrigin: params.AppendAtMyorigin.In(cfg), appendDomain: params.AppendDotMydomain.In(cfg),
		nullDomain: params.ResolveNullDomain.In(cfg), numericDomain: params.ResolveNumericDomain.In(cfg),
		dequote: params.ResolveDequotedAddress.In(cfg), allowMinus: params.AllowMinUser.In(cfg),
		utf8: params.Smtputf8Enable.In(cfg), showTable: params.ShowUserUnknownTableName.In(cfg),
		relocatedPrefix: params.RelocatedPrefixEnable.In(cfg),
		emptyRecipient:  params.EmptyAddressRecipient.In(cfg), doubleBounce: params.DoubleBounceSender.In(cfg),
		delims:           params.RecipientDelimiter.In(cfg),
		nullRelayKey:     params.EmptyAddressRelayhostMapsLookupKey.In(cfg),
		nullTransportKey: params.EmptyAddressDefaultTransportMapsLookupKey.In(cfg),
		relayhost:        params.Relayhost.In(cfg),
		localCode:        params.UnknownLocalRecipientRejectCode.In(cfg), aliasCode: params.UnknownVirtualAliasRejectCode.In(cfg),
		mailboxCode: params.UnknownVirtualMailboxRejectCode.In(cfg), relayCode: params.UnknownRelayRecipientRejectCode.In(cfg),
		warnings: params.HelpfulWarnings.In(cfg),
		log:      env.Log.Warningf,
	}
	r.options = lookup.AddressOptions{
		Local: r.IsLocal,
		Ext:   address.Extension{SplitOwner: !params.OwnerRequestSpecial.In(cfg), DoubleBounce: r.doubleBounce},
	}
	o := opener{env: env, parents: params.ParentDomainMatchesSubdomains.List(cfg)}
	o.transport(&r.localTransport, "local_transport", params.LocalTransport.In(cfg))
	o.transport(&r.virtualTransport, "virtual_transport", params.VirtualTransport.In(cfg))
	o.transport(&r.relayTransport, "relay_transport", params.RelayTransport.In(cfg))
	o.transport(&r.defaultTransport, "default_transport", params.DefaultTransport.In(cfg))
	o.list(&r.mydestination, "mydestination", params.Mydestination.In(cfg), true)
	o.list(&r.aliasDomains, "virtual_alias_domains", params.VirtualAliasDomains.In(cfg), true)
	o.list(&r.mailboxDomains, "virtual_mailbox_domains", params.VirtualMailboxDomains.In(cfg), true)
	o.list(&r.relayDomains, "relay_domains", params.RelayDomains.In(cfg), false)
	o.maps(&r.transportMaps, "transport_maps", params.TransportMaps.In(cfg))
	o.maps(&r.senderTransport, "sender_dependent_default_transport_maps", params.SenderDependentDefaultTransportMaps.In(cfg))
	o.maps(&r.senderRelay, "sender_dependent_relayhost_maps", params.SenderDependentRelayhostMaps.In(cfg))
	o.maps(&r.relocated, "relocated_maps", params.RelocatedMaps.In(cfg))
	o.maps(&r.canonical, "canonical_maps", params.CanonicalMaps.In(cfg))
	o.maps(&r.rcptCanonical, "recipient_canonical_maps", params.RecipientCanonicalMaps.In(cfg))
	o.maps(&r.virtualAlias, "virtual_alias_maps", params.VirtualAliasMaps.In(cfg))
	o.maps(&r.localRecipients, "local_recipient_maps", params.LocalRecipientMaps.In(cfg))
	o.maps(&r.mailboxRecipients, "virtual_mailbox_maps", params.VirtualMailboxMaps.In(cfg))
	o.maps(&r.relayRecipient, "relay_recipient_maps", params.RelayRecipientMaps.In(cfg))
	r.transportKeys = lookup.FindTransport | lookup.FindDotParents
	if lookup.ParentMatches("transport_maps", o.parents) {
		r.transportKeys = lookup.FindTransport | lookup.FindSubdomains
	}
	r.interfaces = ownAddresses(params.InetInterfaces.List(cfg), params.ProxyInterfaces.List(cfg), r.log)
	if o.err != nil {
		r.Close()
		return nil, o.err
	}
	return r, nil
}

// opener opens tables until the first error.
type opener struct {
	env     *lookup.Env
	parents []string
	err     error
}

func (o *opener) maps(to **lookup.Maps, param, value string) {
	if o.err == nil {
		*to, o.err = lookup.OpenMaps(param, value, o.env)
	}
}

func (o *opener) list(to **lookup.List, param, value string, plain bool) {
	switch {
	case o.err != nil:
	case plain:
		*to, o.err = lookup.OpenStringList(param, value, o.env)
	default:
		*to, o.err = lookup.OpenList(param, value, o.env, lookup.ParentMatches(param, o.parents))
	}
}

func (o *opener) transport(to *target, param, value string) {
	if o.err == nil {
		*to, o.err = parseTarget(param, value)
	}
}

// Close closes the tables.
func (r *Router) Close() error {
	var first error
	keep := func(err error) {
		if err != nil && first == nil {
			first = err
		}
	}
	for _, l := range []*lookup.List{r.mydestination, r.aliasDomains, r.mailboxDomains, r.relayDomains} {
		keep(l.Close())
	}
	for _, m := range []*lookup.Maps{r.transportMaps, r.senderTransport, r.senderRelay, r.relocated, r.canonical, r.rcptCanonical,
		r.virtualAlias, r.localRecipients, r.mailboxRecipients, r.relayRecipient} {
		keep(m.Close())
	}
	return first
}

func (r *Router) trace(format string, a ...any) {
	if r.Trace != nil {
		r.Trace(fmt.Sprintf(format, a...))
	}
}

// ClassOf returns the class of a domain; "[192.0.2.1]" is an address literal.
func (r *Router) ClassOf(domain string) (Class, error) {
	local, err := r.isDestination(domain)
	if err != nil {
		return Default, err
	}
	if local {
		return Local, nil
	}
	return r.remoteClass(domain)
}

// remoteClass is the class of a domain that is not local.
func (r *Router) remoteClass(domain string) (Class, error) {
	for _, c := range [...]struct {
		list  *lookup.List
		class Class
		param string
	}{{r.aliasDomains, VirtualAlias, "virtual_alias_domains"}, {r.mailboxDomains, VirtualMailbox, "virtual_mailbox_domains"}, {r.relayDomains, Relay, "relay_domains"}} {
		ok, err := c.list.Match(domain)
		if err != nil {
			return Default, err
		}
		if ok {
			if r.Trace != nil {
				r.trace("%s: %s matches: %s domain", c.param, domain, c.class)
			}
			return c.class, nil
		}
	}
	return Default, nil
}

// isDestination says whether this machine is the final destination of a
// domain: mydestination, or an address of ours in brackets.
func (r *Router) isDestination(domain string) (bool, error) {
	n := len(domain)
	if n > 0 && domain[n-1] == '.' {
		domain = domain[:n-1]
		if n--; n == 0 || domain[n-1] == '.' {
			return false, nil
		}
	}
	if n == 0 {
		return false, nil
	}
	ok, err := r.mydestination.Match(domain)
	if err != nil {
		return false, err
	}
	if ok {
		if r.Trace != nil {
			r.trace("mydestination: %s matches: local domain", domain)
		}
		return true, nil
	}
	if domain[0] == '[' && r.interfaces.contains(domain) {
		if r.Trace != nil {
			r.trace("inet_interfaces, proxy_interfaces: %s is an address of this machine: local domain", domain)
		}
		return true, nil
	}
	return false, nil
}

// IsLocal says whether a domain is $myorigin, in $mydestination or, in
// brackets, an address of this machine: the Local function of
// lookup.AddressOptions.
func (r *Router) IsLocal(domain string) (bool, error) {
	if strings.EqualFold(domain, r.myorigin) {
		return true, nil
	}
	return r.isDestination(domain)
}

// AddressOptions are the options for looking addresses up in tables of kind
// FindDefault, with this router's idea of local domains and extensions.
func (r *Router) AddressOptions() lookup.AddressOptions { return r.options }

// Delims is $recipient_delimiter.
func (r *Router) Delims() string { return r.delims }
