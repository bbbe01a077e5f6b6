package params

import "posthaste/pkg/config"

var (
	VirtualAliasAddressLengthLimit     = config.Int{Name: "virtual_alias_address_length_limit", Default: "1000", Min: 1}
	VirtualAliasDomains                = config.String{Name: "virtual_alias_domains", Default: "$virtual_alias_maps"}
	VirtualAliasExpansionLimit         = config.Int{Name: "virtual_alias_expansion_limit", Default: "1000", Min: 1}
	VirtualAliasMaps                   = config.String{Name: "virtual_alias_maps", Default: "$virtual_maps"}
	VirtualAliasRecursionLimit         = config.Int{Name: "virtual_alias_recursion_limit", Default: "1000", Min: 1}
	VirtualDeliveryStatusFilter        = config.String{Name: "virtual_delivery_status_filter", Default: "$default_delivery_status_filter"}
	VirtualDestinationConcurrencyLimit = config.Int{Name: "virtual_destination_concurrency_limit", Default: "$default_destination_concurrency_limit"}
	VirtualDestinationRecipientLimit   = config.Int{Name: "virtual_destination_recipient_limit", Default: "$default_destination_recipient_limit"}
	VirtualGidMaps                     = config.String{Name: "virtual_gid_maps"}
	VirtualMailboxBase                 = config.String{Name: "virtual_mailbox_base", MinLen: 1}
	VirtualMailboxDomains              = config.String{Name: "virtual_mailbox_domains", Default: "$virtual_mailbox_maps"}
	VirtualMailboxLimit                = config.Int{Name: "virtual_mailbox_limit", Default: "51200000"}
	VirtualMailboxLock                 = config.String{Name: "virtual_mailbox_lock", Default: "fcntl, dotlock", MinLen: 1}
	VirtualMailboxMaps                 = config.String{Name: "virtual_mailbox_maps"}
	VirtualMaps                        = config.String{Name: "virtual_maps", Handling: "alias", Note: "supplies the default of virtual_alias_maps"}
	VirtualMinimumUid                  = config.Int{Name: "virtual_minimum_uid", Default: "100", Min: 1}
	VirtualTransport                   = config.String{Name: "virtual_transport", Default: "virtual", MinLen: 1}
	VirtualUidMaps                     = config.String{Name: "virtual_uid_maps"}
)
