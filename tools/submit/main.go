// Submit sends one message through a submission service, with STARTTLS and
// authentication: a mail client for scripts and trials.
//
// # Usage
//
//	submit -addr HOST:PORT -cafile FILE -user NAME -password PW -from ADDR -to ADDR < message
//
// The server's certificate is verified against -cafile. The message is read
// from standard input, headers first.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:10587", "submission `host:port`")
	ca := flag.String("cafile", "", "`file` of certificates to trust")
	user := flag.String("user", "", "login name")
	password := flag.String("password", "", "password")
	from := flag.String("from", "", "envelope sender")
	to := flag.String("to", "", "recipient")
	flag.Parse()
	if err := submit(*addr, *ca, *user, *password, *from, *to); err != nil {
		fmt.Fprintf(os.Stderr, "submit: %v\n", err)
		os.Exit(1)
	}
}

func submit(addr, ca, user, password, from, to string) error {
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate in it", ca)
	}
	c, err := smtp.DialStartTLS(addr, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", user, password)); err != nil {
		return err
	}
	if err := c.SendMail(from, []string{to}, os.Stdin); err != nil {
		return err
	}
	return c.Quit()
}
