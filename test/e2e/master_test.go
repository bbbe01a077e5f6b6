package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"posthaste/test/tools/harness"
)

// TestServiceOptions: the ways in which an entry of master.cf gives options.
func TestServiceOptions(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Run("postconf", "-MX", fmt.Sprintf("%d/inet", s.Base+25))
	s.Append("etc/master.cf",
		fmt.Sprintf("%d inet n - n - - smtpd -vD -l -o {smtpd_banner=$myhostname  two blanks ${mail_name?{yes}}}", s.Base+25),
		"# a comment inside",
		"  -osyslog_name=postfix/${service_name}")
	s.Start()
	want := "220 mail.example.test  two blanks yes"
	if got := s.Banner(); got != want {
		t.Errorf("the server greets with %q, want %q", got, want)
	}
	s.WaitLog(fmt.Sprintf(`postfix/%d/smtpd\[\d+\]: connect from`, s.Base+25))
}

// TestUnexpectedArgument: what follows a setting that lacks its braces is no
// setting. A server must not work with half of it.
func TestUnexpectedArgument(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	line := fmt.Sprintf("%d inet n - n - - smtpd -o smtpd_client_restrictions=permit_mynetworks, reject", s.Base+26)
	s.Append("etc/master.cf", line)
	out, err := s.Try("posthaste", "-c", s.Etc(), "start")
	if err == nil || !strings.Contains(out, "unexpected command-line argument: reject") {
		t.Errorf("start: %v\n%s", err, out)
	}
	out, err = s.Try("smtpd", "-C", s.Etc(), "-S", "-o", "smtpd_client_restrictions=permit_mynetworks,", "reject")
	if exit(err) != 1 || !strings.Contains(out, "unexpected command-line argument: reject") {
		t.Errorf("smtpd: %v\n%s", err, out)
	}
}

// TestReloadRefused: who asks for a reload hears when master cannot do it.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.Base+26))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.Append("etc/master.cf", fmt.Sprintf("%d inet n - n - - smtpd", s.Base+26))
	out, err := s.Try("posthaste", "-c", s.Etc(), "reload")
	if exit(err) != 1 || !strings.Contains(out, fmt.Sprintf("service %d", s.Base+26)) || !strings.Contains(out, "address already in use") {
		t.Errorf("a reload with a port that is taken: %v\n%s", err, out)
	}
	if got := s.Banner(); !strings.HasPrefix(got, "220 ") {
		t.Errorf("after a reload that was refused: %s", got)
	}
	taken.Close()
	s.Run("posthaste", "-c", s.Etc(), "reload")
	if got := s.Banner(); !strings.HasPrefix(got, "220 ") {
		t.Errorf("after a reload: %s", got)
	}
}

// TestFifo: master.cf of old systems has pickup and qmgr as FIFOs.
func TestFifo(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	for _, name := range []string{"pickup", "qmgr"} {
		s.Run("postconf", "-Fe", name+"/unix/type=fifo")
	}
	s.Start()
	s.RunInput("Subject: by way of a FIFO\n\nx\n", "sendmail", "bob@example.test")
	s.WaitMail("bob", 1)
	s.WaitQueue(0)
}
