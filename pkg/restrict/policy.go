package restrict

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

// Dialer connects to a policy server; network is "tcp" or "unix".
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// policyDefaults are the smtpd_policy_service_* parameters.
type policyDefaults struct {
	timeout, maxIdle, maxTTL, retryDelay time.Duration
	requestLimit, tryLimit               int
	defaultAction, context               string
	stress, compat                       string
}

func policyDefaultsFrom(c *config.Config) policyDefaults {
	return policyDefaults{
		params.SmtpdPolicyServiceTimeout.In(c), params.SmtpdPolicyServiceMaxIdle.In(c), params.SmtpdPolicyServiceMaxTtl.In(c), params.SmtpdPolicyServiceRetryDelay.In(c),
		params.SmtpdPolicyServiceRequestLimit.In(c), params.SmtpdPolicyServiceTryLimit.In(c),
		params.SmtpdPolicyServiceDefaultAction.In(c), params.SmtpdPolicyServicePolicyContext.In(c),
		params.Stress.In(c), params.CompatibilityLevel.In(c),
	}
}

// policyServer is one server and its kept connections.
type policyServer struct {
	policyDefaults
	network, addr string
	dial          Dialer

	mu   sync.Mutex
	idle []*policyConn
}

type policyConn struct {
	c        net.Conn
	r        *bufio.Reader
	made     time.Time
	used     time.Time
	requests int
}

// newPolicyServer reads inet:host:port, unix:path or {server, name=value, …}.
func newPolicyServer(arg string, d policyDefaults, dial Dialer) (*policyServer, error) {
	s := &policyServer{policyDefaults: d, dial: dial}
	if s.dial == nil {
		var nd net.Dialer
		s.dial = nd.DialContext
	}
	var settings []string
	if strings.HasPrefix(arg, "{") {
		parts := splitRestrictions(strings.TrimSuffix(strings.TrimPrefix(arg, "{"), "}"))
		if len(parts) == 0 {
			return nil, errors.New("missing server")
		}
		arg, settings = parts[0], parts[1:]
	}
	typ, addr, ok := strings.Cut(arg, ":")
	switch {
	case ok && typ == "inet":
		s.network, s.addr = "tcp", addr
		if !strings.Contains(addr, ":") {
			s.addr = "127.0.0.1:" + addr
		}
	case ok && typ == "unix" && addr != "":
		s.network, s.addr = "unix", addr
	default:
		return nil, fmt.Errorf("bad server %q: expected inet:host:port or unix:path", arg)
	}
	for _, set := range settings {
		set = strings.TrimSuffix(strings.TrimPrefix(set, "{"), "}")
		k, v, _ := strings.Cut(set, "=")
		if err := s.set(strings.TrimSpace(k), strings.TrimSpace(v)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *policyServer) set(k, v string) (err error) {
	switch k {
	case "timeout":
		s.timeout, err = config.ParseTime(v, 's')
	case "max_idle":
		s.maxIdle, err = config.ParseTime(v, 's')
	case "max_ttl":
		s.maxTTL, err = config.ParseTime(v, 's')
	case "retry_delay":
		s.retryDelay, err = config.ParseTime(v, 's')
	case "request_limit":
		s.requestLimit, err = strconv.Atoi(v)
	case "try_limit":
		s.tryLimit, err = strconv.Atoi(v)
	case "default_action":
		s.defaultAction = v
	case "policy_context":
		s.context = v
	default:
		err = fmt.Errorf("unknown policy service attribute %q", k)
	}
	return err
}

// get returns a kept connection or makes one.
func (s *policyServer) get(ctx context.Context) (c *policyConn, kept bool, err error) {
	now := time.Now()
	s.mu.Lock()
	for len(s.idle) > 0 {
		c = s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if now.Sub(c.used) < s.maxIdle && now.Sub(c.made) < s.maxTTL && (s.requestLimit == 0 || c.requests < s.requestLimit) {
			s.mu.Unlock()
			return c, true, nil
		}
		c.c.Close()
	}
	s.mu.Unlock()
	nc, err := s.dial(ctx, s.network, s.addr)
	if err != nil {
		return nil, false, err
	}
	return &policyConn{c: nc, r: bufio.NewReaderSize(nc, 1024), made: now}, false, nil
}

func (s *policyServer) put(c *policyConn) {
	c.used = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) >= 20 {
		c.c.Close()
		return
	}
	s.idle = append(s.idle, c)
}

// ask sends one request and returns the action.
func (s *policyServer) ask(ctx context.Context, req []byte) (action string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for try := 1; ; {
		c, kept, err := s.get(ctx)
		if err == nil {
			deadline, _ := ctx.Deadline()
			c.c.SetDeadline(deadline)
			if action, err = c.exchange(req); err == nil {
				s.put(c)
				return action, nil
			}
			c.c.Close()
		}
		if kept {
			continue // the server gave up an idle connection: that is no try
		}
		if try++; try > s.tryLimit || ctx.Err() != nil {
			return "", fmt.Errorf("problem talking to server %s: %w", s.addr, err)
		}
		select {
		case <-time.After(s.retryDelay):
		case <-ctx.Done():
		}
	}
}

func (c *policyConn) exchange(req []byte) (string, error) {
	c.requests++
	if _, err := c.c.Write(req); err != nil {
		return "", err
	}
	action, found := "", false
	for n := 0; ; n++ {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		l := strings.TrimRight(string(line), "\r\n")
		if l == "" {
			break
		}
		if n > 100 {
			return "", errors.New("reply is too long")
		}
		if k, v, ok := strings.Cut(l, "="); ok && k == "action" {
			action, found = v, true
		}
	}
	if !found {
		return "", errors.New("reply has no action")
	}
	return action, nil
}

// request encodes the facts as Postfix sends them.
func (s *policyServer) request(r *run) []byte {
	f := r.Facts
	b := make([]byte, 0, 1024)
	put := func(k, v string) {
		b = append(append(b, k...), '=')
		for i := 0; i < len(v); i++ {
			if c := v[i]; c >= ' ' && c != 0x7f {
				b = append(b, c)
			} else {
				b = append(b, '?')
			}
		}
		b = append(b, '\n')
	}
	rcpt := ""
	if f.HaveRcpt {
		rcpt = r.p.quote(f.Rcpt)
	}
	count := 0
	if f.Stage == "DATA" || f.Stage == "END-OF-MESSAGE" {
		count = f.RcptCount
	}
	for _, kv := range [...][2]string{
		{"request", "smtpd_access_policy"}, {"protocol_state", f.Stage}, {"protocol_name", f.Protocol},
		{"client_address", f.ClientAddr}, {"client_name", f.ClientName}, {"client_port", f.ClientPort}, {"reverse_client_name", f.ReverseName},
		{"server_address", f.ServerAddr}, {"server_port", f.ServerPort}, {"helo_name", f.Helo},
		{"sender", r.p.quote(f.Sender)}, {"recipient", rcpt}, {"recipient_count", strconv.Itoa(count)},
		{"queue_id", f.QueueID}, {"instance", f.Instance}, {"size", strconv.FormatInt(f.Size, 10)}, {"etrn_domain", f.Etrn}, {"stress", s.stress},
		{"sasl_method", f.SASLMethod}, {"sasl_username", f.SASLUser}, {"sasl_sender", f.SASLSender},
		{"ccert_subject", f.CertSubject}, {"ccert_issuer", f.CertIssuer}, {"ccert_fingerprint", f.CertFinger}, {"ccert_pubkey_fingerprint", f.CertKeyFinger},
		{"encryption_protocol", f.TLSProtocol}, {"encryption_cipher", f.TLSCipher}, {"encryption_keysize", strconv.Itoa(f.TLSBits)},
		{"policy_context", s.context}, {"compatibility_level", s.compat},
	} {
		put(kv[0], kv[1])
	}
	return append(b, '\n')
}

func checkPolicy(r *run, n *node) verdict {
	action, err := n.pol.ask(r.ctx, n.pol.request(r))
	if err != nil {
		r.p.warnf("%v", err)
		action = n.pol.defaultAction
	}
	return r.action(n, action, r.item, r.class)
}
