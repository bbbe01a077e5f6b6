package smtpclient

import (
	"context"
	"net"

	"posthaste/pkg/service"
)

// Main runs the daemon smtp or lmtp; it does not return.
func Main(name string, lmtp bool) {
	var a *Agent
	service.Main(service.Spec{
		Name:   name,
		Frugal: true,
		Before: func(env *service.Env) (err error) {
			a, err = New(env, lmtp)
			return err
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) { a.Serve(ctx, env, c) },
		Drain: func(*service.Env) { a.Drain() },
	})
}
