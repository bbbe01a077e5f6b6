package params

import "posthaste/pkg/config"

var (
	VirtualAliasAddressLengthLimit     = config.Int{Name: "virtual_alias_address_length_limit", Default: "1000", Min: 1, Note: "bytes of the longest address that virtual_alias_maps may give"}
	VirtualAliasDomains                = config.String{Name: "virtual_alias_domains", Default: "$virtual_alias_maps", Note: "domains all of whose addresses virtual_alias_maps replaces, as a list of names, type:table and /file"}
	VirtualAliasExpansionLimit         = config.Int{Name: "virtual_alias_expansion_limit", Default: "1000", Min: 1, Note: "recipients that one address may become by virtual_alias_maps"}
	VirtualAliasMaps                   = config.String{Name: "virtual_alias_maps", Default: "$virtual_maps", Note: "virtual(5) tables that replace recipients of any domain by one or more addresses"}
	VirtualAliasRecursionLimit         = config.Int{Name: "virtual_alias_recursion_limit", Default: "1000", Min: 1, Note: "times that virtual_alias_maps is applied to its own results"}
	VirtualDeliveryStatusFilter        = config.String{Name: "virtual_delivery_status_filter", Default: "$default_delivery_status_filter"}
	VirtualDestinationConcurrencyLimit = config.Int{Name: "virtual_destination_concurrency_limit", Default: "$default_destination_concurrency_limit", Note: "deliveries at a time of the transport virtual to one destination"}
	VirtualDestinationRecipientLimit   = config.Int{Name: "virtual_destination_recipient_limit", Default: "$default_destination_recipient_limit", Note: "recipients in one delivery of the transport virtual"}
	VirtualGidMaps                     = config.String{Name: "virtual_gid_maps", Note: "tables from recipient to the group ID of virtual(8)'s mailbox"}
	VirtualMailboxBase                 = config.String{Name: "virtual_mailbox_base", MinLen: 1, Note: "directory that the paths of virtual_mailbox_maps are below"}
	VirtualMailboxDomains              = config.String{Name: "virtual_mailbox_domains", Default: "$virtual_mailbox_maps", Note: "domains that are delivered by virtual_transport, as a list of names, type:table and /file"}
	VirtualMailboxLimit                = config.Int{Name: "virtual_mailbox_limit", Default: "51200000", Note: "bytes of the largest mailbox file that virtual(8) writes, or of one message in a Maildir; 0 means no limit; must not be below message_size_limit"}
	VirtualMailboxLock                 = config.String{Name: "virtual_mailbox_lock", Default: "fcntl, dotlock", MinLen: 1, Note: "how mailbox files are locked, in the form of mailbox_delivery_lock"}
	VirtualMailboxMaps                 = config.String{Name: "virtual_mailbox_maps", Note: "tables from recipient (user+extension@domain, user@domain, @domain) to a mailbox path, a Maildir if it ends in \"/\"; also the list of valid recipients"}
	VirtualMaps                        = config.String{Name: "virtual_maps", Handling: "alias", Note: "supplies the default of virtual_alias_maps"}
	VirtualMinimumUid                  = config.Int{Name: "virtual_minimum_uid", Default: "100", Min: 1, Note: "lowest user ID that virtual_uid_maps may give"}
	VirtualTransport                   = config.String{Name: "virtual_transport", Default: "virtual", MinLen: 1, Note: "transport:nexthop of virtual_mailbox_domains"}
	VirtualUidMaps                     = config.String{Name: "virtual_uid_maps", Note: "tables from recipient to the user ID of virtual(8)'s mailbox"}
)
