package params

import "posthaste/pkg/config"

var (
	LocalCommandShell                = config.String{Name: "local_command_shell"}
	LocalDeliveryStatusFilter        = config.String{Name: "local_delivery_status_filter", Default: "$default_delivery_status_filter"}
	LocalDestinationConcurrencyLimit = config.Int{Name: "local_destination_concurrency_limit", Default: "2"}
	LocalDestinationRecipientLimit   = config.Int{Name: "local_destination_recipient_limit", Default: "1"}
	LocalHeaderRewriteClients        = config.String{Name: "local_header_rewrite_clients", Default: "permit_inet_interfaces"}
	LocalLoginSenderMaps             = config.String{Name: "local_login_sender_maps", Default: "static:*"}
	LocalRecipientMaps               = config.String{Name: "local_recipient_maps", Default: "proxy:unix:passwd.byname $alias_maps"}
	LocalTransport                   = config.String{Name: "local_transport", Default: "local:$myhostname", MinLen: 1}
)
