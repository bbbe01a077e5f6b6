package params

import "posthaste/pkg/config"

var (
	DefaultCacheDbType                             = config.String{Name: "default_cache_db_type", Default: "lmdb", MinLen: 1}
	DefaultDatabaseType                            = config.String{Name: "default_database_type", Default: "cdb", MinLen: 1}
	DefaultDeliverySlotCost                        = config.Int{Name: "default_delivery_slot_cost", Default: "5"}
	DefaultDeliverySlotDiscount                    = config.Int{Name: "default_delivery_slot_discount", Default: "50", Max: 100}
	DefaultDeliverySlotLoan                        = config.Int{Name: "default_delivery_slot_loan", Default: "3"}
	DefaultDeliveryStatusFilter                    = config.String{Name: "default_delivery_status_filter"}
	DefaultDestinationConcurrencyFailedCohortLimit = config.Int{Name: "default_destination_concurrency_failed_cohort_limit", Default: "1"}
	DefaultDestinationConcurrencyLimit             = config.Int{Name: "default_destination_concurrency_limit", Default: "20"}
	DefaultDestinationConcurrencyNegativeFeedback  = config.String{Name: "default_destination_concurrency_negative_feedback", Default: "1", MinLen: 1}
	DefaultDestinationConcurrencyPositiveFeedback  = config.String{Name: "default_destination_concurrency_positive_feedback", Default: "1", MinLen: 1}
	DefaultDestinationRateDelay                    = config.Time{Name: "default_destination_rate_delay", Default: "0s", Unit: 's'}
	DefaultDestinationRecipientLimit               = config.Int{Name: "default_destination_recipient_limit", Default: "50"}
	DefaultExtraRecipientLimit                     = config.Int{Name: "default_extra_recipient_limit", Default: "1000"}
	DefaultFilterNexthop                           = config.String{Name: "default_filter_nexthop"}
	DefaultMinimumDeliverySlots                    = config.Int{Name: "default_minimum_delivery_slots", Default: "3"}
	DefaultPrivs                                   = config.String{Name: "default_privs", Default: "nobody", MinLen: 1}
	DefaultProcessLimit                            = config.Int{Name: "default_process_limit", Default: "100", Min: 1}
	DefaultRblReply                                = config.Raw{Name: "default_rbl_reply", Default: "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}", MinLen: 1}
	DefaultRecipientLimit                          = config.Int{Name: "default_recipient_limit", Default: "20000"}
	DefaultRecipientRefillDelay                    = config.Time{Name: "default_recipient_refill_delay", Default: "5s", Unit: 's', Min: 1}
	DefaultRecipientRefillLimit                    = config.Int{Name: "default_recipient_refill_limit", Default: "100", Min: 1}
	DefaultTransport                               = config.String{Name: "default_transport", Default: "smtp", MinLen: 1}
	DefaultTransportRateDelay                      = config.Time{Name: "default_transport_rate_delay", Default: "0s", Unit: 's'}
	DefaultVerpDelimiters                          = config.String{Name: "default_verp_delimiters", Default: "+=", MinLen: 2}
)
