package params

import "posthaste/pkg/config"

var (
	DefaultCacheDbType                             = config.String{Name: "default_cache_db_type", Default: "lmdb", MinLen: 1, Note: "type of the table that address_verify_map names by default; any will do"}
	DefaultDatabaseType                            = config.String{Name: "default_database_type", Default: "cdb", MinLen: 1, Note: "type of tables that are named without one, and that postmap(1) and postalias(1) make; hash, btree, lmdb and dbm are other names for cdb"}
	DefaultDeliverySlotCost                        = config.Int{Name: "default_delivery_slot_cost", Default: "5"}
	DefaultDeliverySlotDiscount                    = config.Int{Name: "default_delivery_slot_discount", Default: "50", Max: 100}
	DefaultDeliverySlotLoan                        = config.Int{Name: "default_delivery_slot_loan", Default: "3"}
	DefaultDeliveryStatusFilter                    = config.String{Name: "default_delivery_status_filter"}
	DefaultDestinationConcurrencyFailedCohortLimit = config.Int{Name: "default_destination_concurrency_failed_cohort_limit", Default: "1", Note: "failed rounds of concurrent deliveries after which a destination is suspended; 0 means never"}
	DefaultDestinationConcurrencyLimit             = config.Int{Name: "default_destination_concurrency_limit", Default: "20", Note: "deliveries at a time to one destination of a transport"}
	DefaultDestinationConcurrencyNegativeFeedback  = config.String{Name: "default_destination_concurrency_negative_feedback", Default: "1", MinLen: 1, Note: "how much a failure at a destination lowers its number of deliveries at a time: a number, or N/concurrency, N/sqrt_concurrency"}
	DefaultDestinationConcurrencyPositiveFeedback  = config.String{Name: "default_destination_concurrency_positive_feedback", Default: "1", MinLen: 1, Note: "how much a success raises the number of deliveries at a time to a destination, in the form of default_destination_concurrency_negative_feedback"}
	DefaultDestinationRateDelay                    = config.Time{Name: "default_destination_rate_delay", Default: "0s", Unit: 's', Note: "pause after each delivery to a destination, which then has one delivery at a time; 0 means none"}
	DefaultDestinationRecipientLimit               = config.Int{Name: "default_destination_recipient_limit", Default: "50", Note: "recipients in one delivery; with 1, the limits for destinations count for each recipient instead"}
	DefaultExtraRecipientLimit                     = config.Int{Name: "default_extra_recipient_limit", Default: "1000"}
	DefaultFilterNexthop                           = config.String{Name: "default_filter_nexthop", Note: "next hop for a content_filter or FILTER action that names none; empty means the recipient's domain"}
	DefaultMinimumDeliverySlots                    = config.Int{Name: "default_minimum_delivery_slots", Default: "3"}
	DefaultPrivs                                   = config.String{Name: "default_privs", Default: "nobody", MinLen: 1, Note: "user whose rights commands and files of aliases have, when the alias file's owner is root; may not be root"}
	DefaultProcessLimit                            = config.Int{Name: "default_process_limit", Default: "100", Min: 1, Note: "sessions at a time of services whose maxproc in master.cf is \"-\""}
	DefaultRblReply                                = config.Raw{Name: "default_rbl_reply", Default: "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}", MinLen: 1, Note: "reply when a DNS list has a client or name; $rbl_code, $rbl_class, $rbl_what, $rbl_domain, $rbl_reason, $client and other facts of the session are replaced"}
	DefaultRecipientLimit                          = config.Int{Name: "default_recipient_limit", Default: "20000"}
	DefaultRecipientRefillDelay                    = config.Time{Name: "default_recipient_refill_delay", Default: "5s", Unit: 's', Min: 1}
	DefaultRecipientRefillLimit                    = config.Int{Name: "default_recipient_refill_limit", Default: "100", Min: 1}
	DefaultTransport                               = config.String{Name: "default_transport", Default: "smtp", MinLen: 1, Note: "transport:nexthop of domains that are in no other class"}
	DefaultTransportRateDelay                      = config.Time{Name: "default_transport_rate_delay", Default: "0s", Unit: 's', Note: "pause after each delivery of a transport; 0 means none"}
	DefaultVerpDelimiters                          = config.String{Name: "default_verp_delimiters", Default: "+=", MinLen: 2}
)
