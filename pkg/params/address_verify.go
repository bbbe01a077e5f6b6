package params

import "posthaste/pkg/config"

var (
	AddressVerifyCacheCleanupInterval                = config.Time{Name: "address_verify_cache_cleanup_interval", Default: "12h", Unit: 'h', Note: "time between two rewritings of the file of verify results without what has expired, 0 for only at start"}
	AddressVerifyDefaultTransport                    = config.String{Name: "address_verify_default_transport", Default: "$default_transport", MinLen: 1}
	AddressVerifyLocalTransport                      = config.String{Name: "address_verify_local_transport", Default: "$local_transport", MinLen: 1}
	AddressVerifyMap                                 = config.String{Name: "address_verify_map", Default: "$default_cache_db_type:$data_directory/verify_cache", Note: "where verify keeps its results, as type:file or file; the type does not matter, and if it is empty they live in memory"}
	AddressVerifyNegativeCache                       = config.Bool{Name: "address_verify_negative_cache", Default: "yes", Note: "keep the result that an address is not good, rather than only answer those who wait for it"}
	AddressVerifyNegativeExpireTime                  = config.Time{Name: "address_verify_negative_expire_time", Default: "3d", Unit: 'd', Min: 1, Note: "how long it is believed that an address is not good"}
	AddressVerifyNegativeRefreshTime                 = config.Time{Name: "address_verify_negative_refresh_time", Default: "3h", Unit: 'h', Min: 1, Note: "age at which it is probed again whether an address is still not good"}
	AddressVerifyPendingRequestLimit                 = config.Int{Name: "address_verify_pending_request_limit", Default: "5000", Min: 1, Note: "the most probes under way"}
	AddressVerifyPollCount                           = config.Int{Name: "address_verify_poll_count", Default: "${stress?{1}:{3}}", Min: 1, Note: "how many times address_verify_poll_delay smtpd waits for the result of a probe"}
	AddressVerifyPollDelay                           = config.Time{Name: "address_verify_poll_delay", Default: "3s", Unit: 's', Min: 1, Note: "see address_verify_poll_count"}
	AddressVerifyPositiveExpireTime                  = config.Time{Name: "address_verify_positive_expire_time", Default: "31d", Unit: 'd', Min: 1, Note: "how long it is believed that an address is good"}
	AddressVerifyPositiveRefreshTime                 = config.Time{Name: "address_verify_positive_refresh_time", Default: "7d", Unit: 'd', Min: 1, Note: "age at which it is probed again whether an address is still good"}
	AddressVerifyRelayTransport                      = config.String{Name: "address_verify_relay_transport", Default: "$relay_transport", MinLen: 1}
	AddressVerifyRelayhost                           = config.String{Name: "address_verify_relayhost", Default: "$relayhost"}
	AddressVerifySender                              = config.String{Name: "address_verify_sender", Default: "$double_bounce_sender", Note: "sender of probes, completed with myorigin; empty or <> for the null sender, which some servers refuse"}
	AddressVerifySenderDependentDefaultTransportMaps = config.String{Name: "address_verify_sender_dependent_default_transport_maps", Default: "$sender_dependent_default_transport_maps"}
	AddressVerifySenderDependentRelayhostMaps        = config.String{Name: "address_verify_sender_dependent_relayhost_maps", Default: "$sender_dependent_relayhost_maps"}
	AddressVerifySenderTtl                           = config.Time{Name: "address_verify_sender_ttl", Default: "0s", Unit: 's'}
	AddressVerifyServiceName                         = config.String{Name: "address_verify_service_name", Default: "verify", MinLen: 1, Note: "service below private/ that verifies addresses"}
	AddressVerifyTransportMaps                       = config.String{Name: "address_verify_transport_maps", Default: "$transport_maps"}
	AddressVerifyVirtualTransport                    = config.String{Name: "address_verify_virtual_transport", Default: "$virtual_transport", MinLen: 1}
)
