package instance

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/privs"
)

// User is one mailbox owner of a private instance.
type User struct{ Name, Password string }

// ParseUser reads name:password.
func ParseUser(s string) (User, error) {
	name, pw, ok := strings.Cut(s, ":")
	if !ok || name == "" || pw == "" || strings.ContainsAny(name, "/@ \t\r\n:") || strings.ContainsAny(pw, "\r\n") || name[0] == '.' {
		return User{}, fmt.Errorf("user %q: want NAME:PASSWORD, the name without blank, slash, colon and @", s)
	}
	return User{name, pw}, nil
}

// ReadUsers reads a file of name:password lines.
func ReadUsers(name string) ([]User, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var l []User
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		t := strings.TrimSpace(sc.Text())
		if t == "" || t[0] == '#' {
			continue
		}
		u, err := ParseUser(t)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		l = append(l, u)
	}
	return l, sc.Err()
}

// Init says what a private instance is to be.
type Init struct {
	Dir      string
	Domain   string
	Users    []User
	PortBase int
	BinDir   string // where the programs are
	// Hash makes an entry of the password file from a password.
	Hash func(password string) (string, error)

	host string // mail.Domain, in ASCII: greetings and certificates have no other names
}

// privateBase is the first user ID of a private instance that root makes: such
// instances need no system users.
const privateBase = 62100

// mailUser is the offset from privateBase of the user that owns the mailboxes.
const mailUser = 50

// Write makes the instance: configuration, tables in source form, certificate,
// password file and mail directories. It refuses a directory that has
// something in it.
func (in *Init) Write() error {
	var err error
	if in.Dir, err = filepath.Abs(in.Dir); err != nil {
		return err
	}
	if strings.ContainsAny(in.Dir, " \t\r\n,$") {
		return fmt.Errorf("%s: blanks, commas and $ have a meaning in main.cf: choose another directory", in.Dir)
	}
	if l, err := os.ReadDir(in.Dir); err == nil && len(l) > 0 {
		return fmt.Errorf("%s: not empty", in.Dir)
	}
	if in.PortBase < 1 || in.PortBase > 60000 {
		return fmt.Errorf("port base %d: want 1 to 60000", in.PortBase)
	}
	if !validDomain(in.Domain) {
		return fmt.Errorf("domain %q: want names of letters, digits and hyphens, with dots between them", in.Domain)
	}
	ascii, err := config.DomainToASCII(in.Domain)
	if err != nil {
		return err
	}
	in.host = "mail." + ascii
	if len(in.Users) == 0 {
		return fmt.Errorf("no users")
	}
	seen := map[string]bool{}
	for _, u := range in.Users {
		// The table of mailboxes does not tell upper and lower case apart.
		if k := address.Fold(u.Name); seen[k] {
			return fmt.Errorf("user %q is named twice", u.Name)
		} else {
			seen[k] = true
		}
	}
	for _, d := range []string{"", "etc", "etc/tls", "spool", "lib", "mail", "log"} {
		if err := os.MkdirAll(filepath.Join(in.Dir, d), 0755); err != nil {
			return err
		}
	}
	if err := in.certificate(); err != nil {
		return err
	}
	if err := in.tables(); err != nil {
		return err
	}
	if err := in.mailboxes(); err != nil {
		return err
	}
	if err := in.write("etc/main.cf", in.mainCF(), 0644); err != nil {
		return err
	}
	return in.write("etc/master.cf", in.masterCF(), 0644)
}

// validDomain accepts what can be a domain of mail addresses, in letters of any script.
func validDomain(d string) bool {
	if d == "" || len(d) > 200 || !utf8.ValidString(d) {
		return false
	}
	for _, label := range strings.Split(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r != '-' && !unicode.In(r, unicode.L, unicode.M, unicode.Nd) {
				return false
			}
		}
	}
	return true
}

func (in *Init) write(name, text string, mode os.FileMode) error {
	return os.WriteFile(filepath.Join(in.Dir, name), []byte(text), mode)
}

func (in *Init) root() bool { return os.Geteuid() == 0 }

// ids is the owner of mailboxes.
func (in *Init) ids() (uid, gid int) {
	if in.root() {
		return privateBase + mailUser, privateBase + mailUser
	}
	return os.Geteuid(), os.Getegid()
}

func (in *Init) mainCF() string {
	uid, gid := in.ids()
	var b strings.Builder
	fmt.Fprintf(&b, `# A private mail system: everything it reads and writes is below
# %[1]s. Edit, then: posthaste -c %[1]s/etc reload
compatibility_level = 3.6
daemon_directory = %[2]s
command_directory = %[2]s
queue_directory = %[1]s/spool
data_directory = %[1]s/lib
maillog_file = %[1]s/log/mail.log
myhostname = %[6]s
mydomain = %[3]s
myorigin = %[3]s
mydestination = localhost
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
# Trust nobody by address: sending to other domains needs a login.
mynetworks = 127.0.0.255/32
smtp_tls_security_level = may

# Mailboxes: one for each user of %[3]s.
virtual_mailbox_domains = %[3]s
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = hash:%[1]s/etc/vmailbox
virtual_alias_maps = hash:%[1]s/etc/virtual
virtual_uid_maps = static:%[4]d
virtual_gid_maps = static:%[5]d
alias_maps = hash:%[1]s/etc/aliases
alias_database = hash:%[1]s/etc/aliases

# TLS and passwords.
smtpd_tls_security_level = may
smtpd_tls_cert_file = %[1]s/etc/tls/cert.pem
smtpd_tls_key_file = %[1]s/etc/tls/key.pem
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_tls_auth_only = yes
auth_passwd_file = %[1]s/etc/users
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination

# All clients come from one address.
mail_max_userip_connections = 0
`, in.Dir, in.BinDir, in.Domain, uid, gid, in.host)
	if in.root() {
		fmt.Fprintf(&b, "\n# Made by root: the programs run as these numbers, no system users are needed.\nrole_uid_base = %d\ndefault_privs = nobody\n", privateBase)
	} else {
		fmt.Fprintf(&b, "\n# Made by an ordinary user: mailboxes belong to that user.\nvirtual_minimum_uid = %d\n", min(uid, 100))
	}
	return b.String()
}

func (in *Init) masterCF() string {
	p := func(n int) int { return in.PortBase + n }
	return fmt.Sprintf(`# service type  private unpriv  chroot  wakeup  maxproc command + args
%[1]d inet  n       -       n       -       1000    smtpd
%[2]d inet  n       -       n       -       1000    smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
  -o smtpd_relay_restrictions=
  -o local_header_rewrite_clients=static:all
%[3]d inet  n       -       n       -       1000    smtpd
  -o syslog_name=postfix/submissions
  -o smtpd_tls_wrappermode=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
  -o smtpd_relay_restrictions=
  -o local_header_rewrite_clients=static:all
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
bounce    unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
auth      unix  -       -       n       -       0       auth
anvil     unix  -       -       n       -       1       anvil
resolver  unix  -       -       n       -       0       resolver
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
lmtp      unix  -       -       n       -       -       lmtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
# Reading mail: login speaks POP3 and IMAP until the password is right, then
# the session program of that user takes over.
%[4]d inet  n       -       n       -       1000    login protocol=imap
%[5]d inet  n       -       n       -       1000    login protocol=imap tls=wrapper
%[6]d inet  n       -       n       -       1000    login protocol=pop3
%[7]d inet  n       -       n       -       1000    login protocol=pop3 tls=wrapper
imapd     unix  -       -       n       -       1000    imapd
pop3d     unix  -       -       n       -       1000    pop3d
`, p(25), p(587), p(465), p(143), p(993), p(110), p(995))
}

func (in *Init) tables() error {
	var box, users bytes.Buffer
	uid, gid := in.ids()
	for _, u := range in.Users {
		fmt.Fprintf(&box, "%s@%s %s/Maildir/\n", u.Name, in.Domain, u.Name)
		h, err := in.Hash(u.Password)
		if err != nil {
			return err
		}
		home := filepath.Join(in.Dir, "mail", u.Name)
		fmt.Fprintf(&users, "%s:%s:%d:%d::%s::\n", u.Name, h, uid, gid, home)
	}
	first := in.Users[0].Name + "@" + in.Domain
	var virt strings.Builder
	for _, n := range []string{"postmaster", "abuse", "root", "mailer-daemon"} {
		fmt.Fprintf(&virt, "%s@%s %s\n", n, in.Domain, first)
	}
	for _, f := range []struct{ name, text string }{
		{"etc/vmailbox", box.String()}, {"etc/virtual", virt.String()},
		{"etc/aliases", "postmaster: " + first + "\nroot: " + first + "\n"},
	} {
		if err := in.write(f.name, f.text, 0644); err != nil {
			return err
		}
	}
	name := filepath.Join(in.Dir, "etc/users")
	if err := os.WriteFile(name, users.Bytes(), 0600); err != nil {
		return err
	}
	if in.root() {
		ids, err := privs.Users{Base: privateBase}.IDs(privs.Auth)
		if err != nil {
			return err
		}
		return os.Chown(name, ids.UID, ids.GID)
	}
	return nil
}

func (in *Init) mailboxes() error {
	uid, gid := in.ids()
	for _, u := range in.Users {
		for _, d := range []string{"", "Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"} {
			p := filepath.Join(in.Dir, "mail", u.Name, d)
			if err := os.MkdirAll(p, 0700); err != nil {
				return err
			}
			if in.root() {
				if err := os.Chown(p, uid, gid); err != nil {
					return err
				}
			}
		}
	}
	if in.root() {
		return os.Chown(filepath.Join(in.Dir, "mail"), uid, gid)
	}
	return nil
}

// certificate makes a self-signed certificate for trials.
func (in *Init) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: in.host},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
		DNSNames:     []string{in.host, strings.TrimPrefix(in.host, "mail."), "localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := in.write("etc/tls/cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0644); err != nil {
		return err
	}
	return in.write("etc/tls/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})), 0600)
}
