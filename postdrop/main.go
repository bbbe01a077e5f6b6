// Postdrop puts a message that sendmail(1) prepared into the maildrop queue.
//
// # Usage
//
//	postdrop [-rv] [-c config_dir]
//
// # Description
//
// postdrop reads one message from its standard input (pkg/proto/postdrop has
// the form), checks all of it, and returns when it is on stable storage in
// maildrop/, from where pickup(8) takes it. It works while the mail system is
// down.
//
//	-c dir  configuration directory. Of a set-gid postdrop it must be the
//	        default one or be listed in alternate_config_directories there.
//	-r      say on standard output under which name the message waits:
//	        "queue_id=ID"
//	-v      accepted and ignored
//
// Standard input that ends before the message does leaves nothing behind, nor
// does a signal.
//
// # Security
//
// postdrop is set-gid to setgid_group, the only group that can write to
// maildrop/. The file belongs to the user. Envelope fields that a user has no
// say in (client, authentication, arrival, queue id) are set here. Users that
// are not in authorized_submit_users are refused, and envelope senders that
// local_login_sender_maps does not have for the user. The environment is ignored
// except for MAIL_CONFIG, under the same rule as -c.
//
// # Diagnostics
//
// Exit status 0: the message is safe. 1: it is not, and standard error and the
// log say why; 69 if it is too big, 77 if the user may not submit mail.
//
// # Files
//
//	maildrop/       the message
//	public/pickup   told that there is one
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/command"
	"posthaste/pkg/config"
	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/postdrop"
	"posthaste/pkg/queue"
)

func main() {
	t := &command.Tool{Name: "postdrop"}
	defer t.Recover()
	var dir string
	var report bool
	fs := flag.NewFlagSet("postdrop", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&dir, "c", "", "")
	fs.BoolVar(&report, "r", false, "")
	fs.Bool("v", false, "")
	if fs.Parse(command.SplitOptions(os.Args[1:], "c")) != nil || fs.NArg() > 0 {
		t.Fatalf("usage: postdrop [-c config_dir] [-rv]")
	}
	// The user's umask must not keep pickup(8) from reading the file.
	syscall.Umask(0o022)
	cfg := loadConfig(t, dir)
	t.OpenLog(cfg, t.Name)
	uid := os.Getuid()
	login := loginName(uid)
	if err := authorized(cfg, uid, login); err != nil {
		t.Status = command.ExNoPerm
		t.Fatalf("%v", err)
	}
	allowed, err := allowedSenders(cfg, uid, login)
	if err != nil {
		t.Fatalf("%v", err)
	}
	dropDir := params.QueueDirectory.In(cfg)
	if err := os.Chdir(dropDir); err != nil {
		t.Fatalf("queue directory: %v", err)
	}
	o := queue.OptionsFrom(cfg)
	o.Syncfs = "no" // one message, and not a daemon's place to flush everybody's pages
	spool, err := queue.Open(".", o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	d := &dropper{spool: spool, uid: uid, allowed: allowed, limit: params.MessageSizeLimit.In64(cfg), stop: make(chan os.Signal, 1)}
	signal.Notify(d.stop, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE)
	if err := d.drop(os.Stdin); err != nil {
		if errors.Is(err, errTooBig) {
			t.Status = command.ExUnavailable
		}
		t.Fatalf("%v", err)
	}
	if report {
		fmt.Printf("queue_id=%s\n", d.id)
	}
	wake(params.PickupServiceName.In(cfg))
}

// loadConfig finds the configuration. With rights that the caller lacks, only
// directories that the default configuration names are taken from the caller.
func loadConfig(t *command.Tool, dir string) *config.Config {
	if dir == "" {
		dir = os.Getenv("MAIL_CONFIG")
	}
	raised := os.Getgid() != os.Getegid() || os.Getuid() != os.Geteuid()
	if dir != "" && filepath.Clean(dir) != config.DefaultDir && raised && os.Getuid() != 0 {
		def := t.Config(config.DefaultDir)
		if !slices.Contains(append(params.AlternateConfigDirectories.List(def), params.MultiInstanceDirectories.List(def)...), dir) {
			t.Fatalf("%s/main.cf: alternate_config_directories does not list %s", config.DefaultDir, dir)
		}
	}
	return t.Config(dir)
}

// loginName is the user's name, "" if there is none.
func loginName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return ""
}

// senders decides which envelope senders a user may give; nil allows all.
type senders struct {
	null     string // stands for the null sender
	origin   string // completes addresses without a domain
	delims   string
	patterns []string
}

// allowedSenders looks the user up in local_login_sender_maps. A user without a
// name is "uid:" and the number there; one who is not listed may give none.
func allowedSenders(cfg *config.Config, uid int, login string) (*senders, error) {
	value := params.LocalLoginSenderMaps.In(cfg)
	if uid == 0 || value == "" || value == "static:*" {
		return nil, nil
	}
	maps, err := lookup.OpenMaps("local_login_sender_maps", value, &lookup.Env{Config: cfg})
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	if login == "" {
		login = "uid:" + strconv.Itoa(uid)
	}
	v, _, err := maps.Get(login)
	if err != nil {
		return nil, err
	}
	return &senders{null: params.EmptyAddressLocalLoginSenderMapsLookupKey.In(cfg), origin: params.Myorigin.In(cfg),
		delims: params.RecipientDelimiter.In(cfg), patterns: config.SplitList(v)}, nil
}

// allows tells whether the user may give sender. Extensions do not matter.
func (s *senders) allows(sender string) bool {
	if s == nil {
		return true
	}
	norm := func(a string) string {
		local, domain := address.Split(a)
		local, _ = address.SplitExtension(local, s.delims)
		if domain == "" {
			domain = s.origin
		}
		return address.Fold(local + "@" + domain)
	}
	_, domain := address.Split(norm(sender))
	for _, p := range s.patterns {
		switch {
		case p == "*":
			return true
		case sender == "":
			if p == s.null {
				return true
			}
		case p[0] == '@':
			if address.Fold(p[1:]) == domain {
				return true
			}
		case norm(p) == norm(sender):
			return true
		}
	}
	return false
}

// authorized checks authorized_submit_users.
func authorized(cfg *config.Config, uid int, name string) error {
	list, err := lookup.OpenStringList("authorized_submit_users", params.AuthorizedSubmitUsers.In(cfg), &lookup.Env{Config: cfg})
	if err != nil {
		return err
	}
	defer list.Close()
	if name == "" {
		name = "unknown"
	}
	ok, err := list.Match(name)
	if err != nil {
		return err
	}
	if !ok && uid != 0 {
		return fmt.Errorf("user %s(%d) is not allowed to submit mail", name, uid)
	}
	return nil
}

var errTooBig = errors.New("message file too big")

// dropper writes one message to maildrop.
type dropper struct {
	spool *queue.Spool
	uid   int
	limit int64
	stop  chan os.Signal

	allowed *senders

	id    string
	w     *queue.Writer
	size  int64
	rcpts int
}

// drop reads a message from r and makes it durable. On any error, and on a
// signal, nothing is left.
func (d *dropper) drop(r io.Reader) error {
	err := postdrop.Read(r, d)
	if err == nil {
		err = d.stopped()
	}
	if err == nil && d.rcpts == 0 {
		err = errors.New("no recipients specified")
	}
	if err == nil {
		err = d.w.Commit()
	}
	if err != nil && d.w != nil {
		d.w.Abort()
	}
	if err == io.ErrUnexpectedEOF {
		return errors.New("premature end-of-input")
	}
	if errors.Is(err, durable.ErrNoSpace) {
		return fmt.Errorf("mail system storage is full: %w", err)
	}
	return err
}

func (d *dropper) stopped() error {
	select {
	case s := <-d.stop:
		return fmt.Errorf("stopped by signal: %v", s)
	default:
		return nil
	}
}

// Message starts the file: what a user has no say in is set here.
func (d *dropper) Message(m *envelope.Message) error {
	if !d.allowed.allows(m.Sender) {
		return fmt.Errorf("envelope sender <%s> is not allowed for user ID %d (local_login_sender_maps)", m.Sender, d.uid)
	}
	now := time.Now()
	d.id = queue.NewID(now)
	m.ID, m.Arrival, m.Origin, m.UID, m.Hops, m.Client = d.id, now, "pickup", d.uid, 0, envelope.Client{}
	w, err := d.spool.Create(queue.Maildrop, m)
	d.w = w
	return err
}

// Recipient adds a recipient.
func (d *dropper) Recipient(r *envelope.Recipient) error {
	if d.size > 0 {
		return fmt.Errorf("%w: recipient after content", postdrop.ErrFormat)
	}
	if err := d.stopped(); err != nil {
		return err
	}
	d.rcpts++
	r.Flags, r.Orig = 0, ""
	return d.w.Recipient(r)
}

// Data adds content.
func (d *dropper) Data(p []byte) error {
	if err := d.stopped(); err != nil {
		return err
	}
	if d.size += int64(len(p)); d.limit > 0 && d.size > d.limit {
		return errTooBig
	}
	_, err := d.w.Write(p)
	return err
}

// wake tells pickup that there is work. That it is not there is no error: it
// looks when it starts.
func wake(service string) {
	c, err := net.DialTimeout("unix", "public/"+service, 5*time.Second)
	if err != nil {
		return
	}
	c.SetDeadline(time.Now().Add(time.Second))
	c.Write([]byte("W"))
	c.Close()
}
