package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestDescriptorsExhausted: an smtpd without free descriptors serves those it
// has, does not spin, and takes the others when some are given back.
func TestDescriptorsExhausted(t *testing.T) {
	t.Parallel()
	uid := 0
	if os.Geteuid() == 0 {
		uid = 65534 // root's programs have users of their own, whose limits not even root may change everywhere
	}
	s := harness.NewAs(t, uid, "default_process_limit = 200", "smtpd_client_connection_count_limit = 0")
	s.Start()
	first := s.Talk()
	first.Want("250", "NOOP")
	var pid int
	for _, p := range s.Processes("smtpd") {
		if strings.Contains(s.Log(), fmt.Sprintf("postfix/smtpd[%d]: connect", p)) {
			pid = p
		}
	}
	if pid == 0 {
		t.Fatal("which process is it?")
	}
	limit := exec.Command("prlimit", "--pid", fmt.Sprint(pid), "--nofile=24:")
	if uid != 0 {
		limit.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if out, err := limit.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: prlimit: %v\n%s", err, out)
	}
	var held []net.Conn
	greeted := func(c net.Conn, wait time.Duration) bool {
		c.SetReadDeadline(time.Now().Add(wait))
		n, _ := c.Read(make([]byte, 3))
		return n > 0
	}
	stuck := false
	for range 40 {
		c, err := net.Dial("tcp", s.Addr(25))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		if !greeted(c, 300*time.Millisecond) {
			stuck = true
			break
		}
	}
	if !stuck {
		// Master may have started another process: then all were served, which is as good.
		t.Fatalf("%d sessions were served by %d processes", len(held)+1, len(s.Processes("smtpd")))
		return
	}
	cpu := func() (ticks int64) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		var u, k int64
		fmt.Sscan(f[11], &u)
		fmt.Sscan(f[12], &k)
		return u + k
	}
	before := cpu()
	first.Want("250", "NOOP") // the old session works
	last := held[len(held)-1]
	greeted(last, time.Second)
	if used := cpu() - before; used > 40 { // of 100 ticks in a second
		t.Errorf("smtpd spins without descriptors: %d ticks of CPU in a second", used)
	}
	for _, c := range held[:len(held)-1] {
		c.Close()
	}
	if !greeted(last, harness.Patience) {
		t.Errorf("a waiting client is not served when descriptors are free again")
	}
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("later")); err != nil {
		t.Error(err)
	}
	s.WaitMail("bob", 1)
}

// nameServer is a DNS server of the tests' own.
type nameServer struct {
	t     *testing.T
	addr  string
	zone  map[string][]dns.RR // by name and type
	names map[string]bool
	udp   *dns.Server
}

// newDNS makes a server for records in zone file form, on a port of its own; it
// does not serve yet.
func newDNS(t *testing.T, records ...string) *nameServer {
	t.Helper()
	n := &nameServer{t: t, addr: "127.0.0.1:0", zone: map[string][]dns.RR{}, names: map[string]bool{}}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(rr.Header().Name)
		key := name + dns.TypeToString[rr.Header().Rrtype]
		n.zone[key] = append(n.zone[key], rr)
		n.names[name] = true
	}
	n.start()
	n.stop()
	return n
}

func (n *nameServer) start() {
	n.t.Helper()
	pc, err := net.ListenPacket("udp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.addr = pc.LocalAddr().String()
	up := make(chan struct{})
	n.udp = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(n.answer), NotifyStartedFunc: func() { close(up) }}
	go n.udp.ActivateAndServe()
	<-up
}

func (n *nameServer) stop() { n.udp.Shutdown() }

func (n *nameServer) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	name := strings.ToLower(q.Question[0].Name)
	m.Answer = n.zone[name+dns.TypeToString[q.Question[0].Qtype]]
	if len(m.Answer) == 0 && !n.names[name] {
		m.Rcode = dns.RcodeNameError
	}
	w.WriteMsg(m)
}

// TestNamesGone: while no name server answers, what needs names is put off and
// not refused; afterwards it goes its way.
func TestNamesGone(t *testing.T) {
	t.Parallel()
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	ns := newDNS(t,
		"far.example. 60 IN MX 10 mx.far.example.", "mx.far.example. 60 IN A 127.0.0.1",
		"client.example. 60 IN A 127.0.0.9")
	s := harness.New(t,
		"resolver_nameservers = "+ns.addr,
		"smtp_tcp_port = "+remote.Port(),
		"smtpd_sender_restrictions = reject_unknown_sender_domain",
		"transport_maps = inline:{ far.example=smtp:far.example:"+remote.Port()+" }",
		"minimal_backoff_time = 1s", "queue_run_delay = 1s", "maximal_backoff_time = 2s")
	s.Start()

	// Reception: 450 4.1.8, not 550.
	if got := code(s.Send("x@client.example", []string{"bob@example.test"}, harness.Message("no names"))); got != "450 4.1.8" {
		t.Errorf("sender's domain without DNS: got %s, want 450 4.1.8", got)
	}
	// Sending: deferred with 4.4.3.
	if err := s.Submit("", []string{"x@far.example"}, harness.Message("to far")); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(`to=<x@far.example>, relay=none, .*dsn=4\.\d\.\d, status=deferred \(Host or domain name not found\. Name service error for name=far\.example type=MX: Host not found, try again\)`)
	s.WaitQueue(1)

	// The resolver itself dies, too.
	if s.Kill("resolver") == 0 {
		t.Error("no resolver was running")
	}
	ns.start()
	defer ns.stop()
	s.Until("the sender's domain is known again", func() bool {
		return s.Send("x@client.example", []string{"bob@example.test"}, harness.Message("names")) == nil
	})
	s.WaitMail("bob", 1)
	s.Until("delivery to far.example", func() bool { return remote.Count()["x@far.example"] > 0 })
	s.WaitQueue(0)
	// What surely does not exist is refused for good.
	if got := code(s.Send("x@nowhere.example", []string{"bob@example.test"}, harness.Message("never"))); got != "450 4.1.8" && got != "550 5.1.8" {
		t.Errorf("unknown sender domain: got %s", got)
	}
	if n := remote.Count()["x@far.example"]; n != 1 {
		t.Errorf("far.example has %d copies", n)
	}
}

// TestCleanupSocketGone: an internal socket that vanished means a temporary
// failure; a reload makes it again.
func TestCleanupSocketGone(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	if err := os.Remove(s.Path("spool/public/cleanup")); err != nil {
		t.Fatal(err)
	}
	if got := code(s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("no cleanup"))); got != "451 4.3.0" {
		t.Errorf("without cleanup's socket: got %s, want 451 4.3.0", got)
	}
	// sendmail needs no socket; its message stays in maildrop.
	s.RunInput("Subject: patient\n\nbird\n", "sendmail", "-f", "alice@example.test", "bob@example.test")
	s.WaitLog(`postfix/pickup.*warning: \w+: .*public/cleanup`)
	if n := len(queueFiles(t, s)); n != 1 {
		t.Errorf("%d files in the queue, want the one in maildrop", n)
	}
	s.Reload()
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("cleanup is back")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 2)
	s.WaitQueue(0)
}

// TestAgentSocketGone: mail for a transport without a socket waits for it.
func TestAgentSocketGone(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "transport_retry_time = 1s", "minimal_backoff_time = 1s", "queue_run_delay = 1s", "maximal_backoff_time = 2s")
	if err := os.Remove(s.Path("spool/private/virtual")); err != nil {
		t.Fatal(err)
	}
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("no virtual")); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(`to=<bob@example.test>, .*dsn=4\.3\.0, status=deferred \(mail transport unavailable\)`)
	s.WaitQueue(1)
	if n := len(s.Mail("bob")); n != 0 {
		t.Errorf("bob has %d messages", n)
	}
	s.Reload()
	s.WaitMail("bob", 1)
	s.WaitQueue(0)
}
