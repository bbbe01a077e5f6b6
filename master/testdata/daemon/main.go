// Daemon is a program for master's tests: it runs under the name of a real
// one and answers questions about itself, a line each.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"posthaste/pkg/params"
	"posthaste/pkg/service"
)

func main() {
	var wakeups atomic.Int64
	service.Main(service.Spec{
		Name: filepath.Base(os.Args[0]),
		Before: func(env *service.Env) error {
			if params.MailName.In(env.Config) == "broken" {
				return fmt.Errorf("told to fail")
			}
			return nil
		},
		Wakeup: func(context.Context, *service.Env) { wakeups.Add(1) },
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			sc := bufio.NewScanner(c)
			for sc.Scan() {
				switch word, arg, _ := strings.Cut(sc.Text(), " "); word {
				case "pid":
					fmt.Fprintln(c, os.Getpid())
				case "get":
					fmt.Fprintln(c, env.Config.Get(arg))
				case "wakeups":
					fmt.Fprintln(c, wakeups.Load())
				case "die":
					os.Exit(3)
				case "idle":
					busy := env.Waiting()
					sc.Scan()
					busy()
				case "who":
					fmt.Fprintln(c, env.Program, env.Service, env.Type, env.Limit, strings.Join(env.Args, "|"))
				}
			}
		},
		Solitary: filepath.Base(os.Args[0]) == "qmgr",
	})
}
