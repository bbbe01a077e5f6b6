package harness

import (
	"bufio"
	"net"
	"strings"
	"time"
)

// Banner returns the greeting of the SMTP port.
func (s *System) Banner() string {
	c, err := net.DialTimeout("tcp", s.Addr(25), Patience)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(Patience))
	l, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimRight(l, "\r\n")
}
