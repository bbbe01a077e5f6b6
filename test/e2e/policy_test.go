package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"posthaste/test/tools/harness"
)

// TestPolicyServerByTCP: smtpd, which has no network otherwise, asks a policy
// server that listens on TCP, as postgrey does.
func TestPolicyServerByTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				sc := bufio.NewScanner(c)
				var req []string
				for sc.Scan() {
					if sc.Text() != "" {
						req = append(req, sc.Text())
						continue
					}
					asked <- strings.Join(req, " ")
					req = nil
					fmt.Fprint(c, "action=450 4.7.1 greylisted by the test\n\n")
				}
			}()
		}
	}()
	s := harness.Start(t, "smtpd_recipient_restrictions = check_policy_service inet:"+l.Addr().String())
	err = s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("x"))
	if err == nil || !strings.Contains(err.Error(), "greylisted by the test") {
		t.Errorf("got %v", err)
	}
	if req := <-asked; !strings.Contains(req, "recipient=bob@example.test") || !strings.Contains(req, "sender=sender@client.example") {
		t.Errorf("the policy server was asked %q", req)
	}
}
