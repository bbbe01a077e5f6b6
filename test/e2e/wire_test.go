package e2e

import (
	"bufio"
	"net"
	"strings"
	"time"
)

// banner returns the greeting of the SMTP port.
func (s *system) banner() string {
	c, err := net.DialTimeout("tcp", s.addr(25), patience)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	l, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimRight(l, "\r\n")
}
