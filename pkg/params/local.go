package params

import "posthaste/pkg/config"

var (
	LocalCommandShell                = config.String{Name: "local_command_shell", Note: "shell that runs all commands of local(8); empty means /bin/sh, for commands that need one"}
	LocalDeliveryStatusFilter        = config.String{Name: "local_delivery_status_filter", Default: "$default_delivery_status_filter"}
	LocalDestinationConcurrencyLimit = config.Int{Name: "local_destination_concurrency_limit", Default: "2", Note: "deliveries at a time to one mailbox by the transport local"}
	LocalDestinationRecipientLimit   = config.Int{Name: "local_destination_recipient_limit", Default: "1", Note: "recipients in one delivery of the transport local"}
	LocalHeaderRewriteClients        = config.String{Name: "local_header_rewrite_clients", Default: "permit_inet_interfaces", Note: "clients whose headers are rewritten and completed as those of local mail: permit_inet_interfaces, permit_mynetworks, permit_sasl_authenticated, permit_tls_clientcerts, permit_tls_all_clientcerts, check_address_map type:table, type:table"}
	LocalLoginSenderMaps             = config.String{Name: "local_login_sender_maps", Default: "static:*", Note: "tables from a user's login name to the sender addresses that he may give to sendmail(1): addresses, @domain, <> and *"}
	LocalRecipientMaps               = config.String{Name: "local_recipient_maps", Default: "proxy:unix:passwd.byname $alias_maps", Note: "tables of the valid local parts in mydestination, which smtpd(8) refuses others by; empty means that all are valid"}
	LocalTransport                   = config.String{Name: "local_transport", Default: "local:$myhostname", MinLen: 1, Note: "transport:nexthop of mydestination and of this system's addresses in brackets"}
)
