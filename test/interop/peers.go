package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// peer is another mail server.
type peer struct {
	name string // also the first label of its domain below sink.test
	port string
	// start runs it, sending mail for local.test to us and all else to the sink.
	start func(st *stage) error
	// Limits of the peer itself, with the reason; such messages are not sent
	// through it.
	noLong, noNUL string
	// badTLS says why the peer cannot be a TLS server: our mail then has to go
	// on in plain text, as "may" allows.
	badTLS string
}

func peers() []peer {
	return []peer{
		{name: "postfix", port: postfixPort, start: (*stage).startPostfix},
		{name: "exim", port: eximPort, start: (*stage).startExim},
		{name: "opensmtpd", port: opensmtpPort, start: (*stage).startOpenSMTPD,
			noLong: "OpenSMTPD takes no line above 65,535 bytes", noNUL: "OpenSMTPD cuts lines at NUL",
			badTLS: "Debian 12's OpenSMTPD ends handshakes with an internal error, also those of OpenSSL's client"},
	}
}

// running is what stopAll ends.
var running []func()

func stopAll() {
	for len(running) > 0 {
		last := running[len(running)-1]
		running = running[:len(running)-1]
		last()
	}
}

// peers sends the fixtures through each peer in both directions.
func (st *stage) peers(fs []fixture) {
	for _, p := range peers() {
		wanted := strings.Contains("Posthaste -> "+p.name+" -> Posthaste", st.only) || st.only == "" || p.name == "postfix" && strings.Contains(st.only, "Chinese")
		for _, f := range fs {
			wanted = wanted || strings.Contains(st.there(p, f), st.only) || strings.Contains(st.back(p, f), st.only)
		}
		if !wanted {
			continue
		}
		err := p.start(st)
		for _, f := range fs {
			st.try(st.there(p, f), func() error { return p.check(err, f, func() error { return st.through(p, f) }) })
			st.try(st.back(p, f), func() error { return p.check(err, f, func() error { return st.from(p, f) }) })
		}
		st.try("Posthaste <-> "+p.name+": encrypted", func() error {
			if err != nil {
				return err
			}
			return st.encrypted(p)
		})
		if p.name == "postfix" { // the others here have no SMTPUTF8
			st.eai(err)
		}
		stopAll()
	}
}

func (st *stage) there(p peer, f fixture) string {
	return fmt.Sprintf("client -> Posthaste -> %s -> remote server: %s", p.name, f.name)
}

func (st *stage) back(p peer, f fixture) string {
	return fmt.Sprintf("client -> %s -> Posthaste -> Maildir: %s", p.name, f.name)
}

func (p peer) check(started error, f fixture, do func() error) error {
	switch {
	case started != nil:
		return started
	case f.long && p.noLong != "":
		return skip{p.noLong}
	case f.nul && p.noNUL != "":
		return skip{p.noNUL}
	}
	return do()
}

// send gives a fixture to a server.
func send(addr, rcpt string, f fixture) error {
	c, err := smtptalk.Dial(addr, 2*time.Minute)
	if err != nil {
		return err
	}
	defer c.Quit()
	return c.Send("sender@client.test", []string{rcpt}, f.wire()).Err
}

func (st *stage) through(p peer, f fixture) error {
	before := len(st.sink.Mails())
	if err := send(st.s.SMTP(), "somebody@"+p.name+".sink.test", f); err != nil {
		return err
	}
	return st.atSink(before, f, 30*time.Second)
}

func (st *stage) from(p peer, f fixture) error {
	return st.toMaildir(f, 30*time.Second, func(rcpt string) error { return send("127.0.0.1:"+p.port, rcpt, f) })
}

// encrypted looks for the log lines of both directions' handshakes.
func (st *stage) encrypted(p peer) error {
	log, err := os.ReadFile(st.s.Log)
	if err != nil {
		return err
	}
	if p.badTLS != "" {
		fmt.Printf("NOTE  %s: only mail to us is expected to be encrypted\n", p.badTLS)
	} else if !strings.Contains(string(log), "TLS connection established to 127.0.0.1[127.0.0.1]:"+p.port) {
		return fmt.Errorf("no TLS connection to port %s in the log", p.port)
	}
	box := st.s.Maildir("user0")
	if err := empty(box); err != nil {
		return err
	}
	if err := send("127.0.0.1:"+p.port, "user0@local.test", fixtures()[0]); err != nil {
		return err
	}
	var got map[string][]byte
	if err := rig.Until(time.Minute, "a message in the Maildir", func() bool { got, _ = rig.Letters(box); return len(got) > 0 }); err != nil {
		return err
	}
	for _, b := range got {
		if !strings.Contains(string(b), "(using TLSv1.") {
			return fmt.Errorf("our Received: header tells of no TLS: %.600q", b)
		}
	}
	return nil
}

// ready waits until a server greets.
func ready(port string) error {
	return rig.Until(20*time.Second, "a greeting on port "+port, func() bool {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 3)
		n, _ := c.Read(b)
		return string(b[:n]) == "220"
	})
}

// daemon starts a server that stays in the foreground, and has it ended later.
func daemon(log string, args ...string) error {
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	running = append(running, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		t := time.AfterFunc(5*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait()
		t.Stop()
	})
	return nil
}

// certificate writes a self-signed certificate and its key: RSA, as
// every peer takes that.
func certificate(certFile, keyFile string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer.test"}, DNSNames: []string{"peer.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0644); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), 0600)
}

// startPostfix runs Debian's Postfix with a configuration of its own. More
// settings may follow the usual ones.
func (st *stage) startPostfix() error { return st.postfixWith() }

func (st *stage) postfixWith(settings ...string) error {
	if err := needsRoot(); err != nil {
		return err
	}
	if err := needs("/usr/lib/postfix/sbin/master"); err != nil {
		return skip{"Postfix is not installed"}
	}
	d := filepath.Join(st.dir, "postfix")
	os.RemoveAll(d)
	for _, sub := range []string{"", "etc", "spool", "data", "log"} {
		if err := os.Mkdir(filepath.Join(d, sub), 0755); err != nil {
			return err
		}
	}
	if err := certificate(d+"/etc/cert.pem", d+"/etc/key.pem"); err != nil {
		return err
	}
	if err := command(10*time.Second, "chown", "postfix", d+"/data"); err != nil {
		return err
	}
	master, err := output(10*time.Second, "awk", `/^#/ {next} /^(maildrop|uucp|ifmail|bsmtp|scalemail|mailman|  flags)/ {next} /^smtp +inet/ {$1 = "127.0.0.1:`+postfixPort+`"} /^[^ \t]/ {$5 = "n"} {print}`, "/usr/share/postfix/master.cf.dist")
	if err != nil {
		return err
	}
	main := fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log/maillog
maillog_file_prefixes = %[1]s
myhostname = postfix.peer.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = 127.0.0.1
message_size_limit = 60000000
smtp_line_length_limit = 0
smtp_tls_security_level = may
smtpd_tls_security_level = may
smtpd_tls_cert_file = %[1]s/etc/cert.pem
smtpd_tls_key_file = %[1]s/etc/key.pem
transport_maps = inline:{ { local.test = smtp:[127.0.0.1]:%[2]d } }
relayhost = [127.0.0.1]:%[3]s
`, d, st.s.Base+25, st.sink.Port())
	for _, s := range settings {
		main += s + "\n"
	}
	for name, text := range map[string]string{"main.cf": main, "master.cf": master} {
		if err := os.WriteFile(d+"/etc/"+name, []byte(text), 0644); err != nil {
			return err
		}
	}
	if err := command(10*time.Second, "sh", "-c", "cp /etc/postfix/dynamicmaps.cf /etc/postfix/postfix-files "+d+"/etc/ && cp -r /etc/postfix/dynamicmaps.cf.d /etc/postfix/postfix-files.d "+d+"/etc/"); err != nil {
		return err
	}
	// Its master keeps standard error open, so it goes to a file.
	if err := command(20*time.Second, "sh", "-c", "postfix -c "+d+"/etc start > "+d+"/log/start 2>&1"); err != nil {
		return err
	}
	running = append(running, func() { command(20*time.Second, "sh", "-c", "postfix -c "+d+"/etc stop > "+d+"/log/stop 2>&1") })
	return ready(postfixPort)
}

// overlay installs a package where this machine does not see it, and returns
// the root of its file system and a fresh folder below that.
func (st *stage) overlay(name, program, pkg string) (root, dir string, err error) {
	if err := needsRoot(); err != nil {
		return "", "", err
	}
	script := filepath.Join(st.tools, "overlay.sh")
	out, err := output(5*time.Minute, "bash", script, "up", name, program, pkg)
	if err != nil {
		return "", "", skip{fmt.Sprintf("%s cannot be installed in an overlay: %v", pkg, err)}
	}
	running = append(running, func() { command(20*time.Second, "bash", script, "down", name) })
	root = strings.TrimSpace(out)
	dir = "/var/interop-run"
	os.RemoveAll(root + dir)
	if err := os.Mkdir(root+dir, 0755); err != nil {
		return "", "", err
	}
	return root, dir, certificate(root+dir+"/cert.pem", root+dir+"/key.pem")
}

func (st *stage) startExim() error {
	root, d, err := st.overlay("exim", "/usr/sbin/exim4", "exim4-daemon-light")
	if err != nil {
		return err
	}
	for _, sub := range []string{"spool", "log"} {
		os.Mkdir(root+d+"/"+sub, 0755)
	}
	conf := fmt.Sprintf(`primary_hostname = exim.peer.test
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path = %[1]s/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]s
tls_advertise_hosts = *
tls_certificate = %[1]s/cert.pem
tls_privatekey = %[1]s/key.pem
message_size_limit = 60M
acl_smtp_rcpt = take
acl_smtp_data = take
host_lookup =
rfc1413_query_timeout = 0s
never_users = root
keep_environment =
smtp_accept_max = 20
begin acl
take:
  accept
begin routers
us:
  driver = manualroute
  domains = local.test
  transport = us
  route_list = * 127.0.0.1 byname
  self = send
sink:
  driver = manualroute
  transport = sink
  route_list = * 127.0.0.1 byname
  self = send
begin transports
us:
  driver = smtp
  port = %[3]d
  allow_localhost
  message_linelength_limit = 1000000
  hosts_require_tls = *
sink:
  driver = smtp
  port = %[4]s
  allow_localhost
  message_linelength_limit = 1000000
begin retry
* * F,1h,2s
`, d, eximPort, st.s.Base+25, st.sink.Port())
	if err := os.WriteFile(root+d+"/exim.conf", []byte(conf), 0644); err != nil {
		return err
	}
	if err := command(10*time.Second, "chroot", root, "chown", "-R", "Debian-exim:Debian-exim", d+"/spool", d+"/log", d+"/key.pem"); err != nil {
		return err
	}
	if err := daemon(filepath.Join(st.dir, "exim.out"), "chroot", root, "/usr/sbin/exim4", "-C", d+"/exim.conf", "-bdf", "-q5s"); err != nil {
		return err
	}
	return ready(eximPort)
}

func (st *stage) startOpenSMTPD() error {
	root, d, err := st.overlay("opensmtpd", "/usr/sbin/smtpd", "opensmtpd")
	if err != nil {
		return err
	}
	conf := fmt.Sprintf(`pki peer cert "%[1]s/cert.pem"
pki peer key "%[1]s/key.pem"
smtp max-message-size "60M"
listen on 127.0.0.1 port %[2]s tls pki peer hostname opensmtpd.peer.test
action "us" relay host "smtp+tls://127.0.0.1:%[3]d" tls no-verify
action "sink" relay host "smtp://127.0.0.1:%[4]s"
match from any for domain "local.test" action "us"
match from any for any action "sink"
`, d, opensmtpPort, st.s.Base+25, st.sink.Port())
	if err := os.WriteFile(root+d+"/smtpd.conf", []byte(conf), 0644); err != nil {
		return err
	}
	if err := daemon(filepath.Join(st.dir, "opensmtpd.out"), "chroot", root, "/usr/sbin/smtpd", "-d", "-f", d+"/smtpd.conf"); err != nil {
		return err
	}
	return ready(opensmtpPort)
}
