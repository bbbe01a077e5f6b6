package main

import (
	"context"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
	proto "posthaste/pkg/proto/verify"
	"posthaste/pkg/restrict"
)

// verifier returns how reject_unverified_sender and reject_unverified_recipient
// ask verify(8). An answer is waited for as long as Postfix polls for one.
func verifier(cfg *config.Config) func(context.Context, string) (restrict.Verified, string, error) {
	path := "private/" + params.AddressVerifyServiceName.In(cfg)
	wait := time.Duration(params.AddressVerifyPollCount.In(cfg)) * params.AddressVerifyPollDelay.In(cfg)
	return func(ctx context.Context, addr string) (restrict.Verified, string, error) {
		r, err := proto.Ask(ctx, path, &proto.Query{Address: addr, Wait: wait})
		if err != nil {
			return restrict.Unverified, "", err
		}
		switch r.Status {
		case proto.Deliverable:
			return restrict.Deliverable, r.Text, nil
		case proto.Undeliverable:
			return restrict.Undeliverable, r.Text, nil
		}
		return restrict.Unverified, r.Text, nil
	}
}
