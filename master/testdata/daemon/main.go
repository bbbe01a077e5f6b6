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
	if filepath.Base(os.Args[0]) == "imapd" {
		service.Main(service.Spec{Name: "imapd", Session: talk})
	}
	service.Main(service.Spec{
		Name: filepath.Base(os.Args[0]), TakesArgs: true,
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

// talk tells a session's client who it is, and repeats what it says.
func talk(_ context.Context, _ *service.Env, s *service.Session) {
	fmt.Fprintf(s.Conn, "%s %s %d %d %d %s%s\n", s.User, s.Home, os.Getpid(), os.Getuid(), os.Getgid(), s.Tag, s.Input)
	sc := bufio.NewScanner(s.Conn)
	for sc.Scan() {
		fmt.Fprintln(s.Conn, "you said", sc.Text())
	}
}
