// Qmgr is the queue manager: it schedules every delivery.
//
// # Usage
//
//	qmgr unix n - n 300 1 qmgr
//
// Qmgr is started by master(8) from this line of master.cf. One process runs at
// a time, whatever the process limit says.
//
// # Description
//
// Cleanup(8) puts a message into the incoming queue and tells qmgr. Qmgr finds
// each recipient's transport and next hop, and asks the transport's delivery
// agents to deliver it, with a read-only descriptor of the queue file. If that
// takes more than a second, the message moves to the active queue, where those
// go at once that qmgr was not told of. Agents answer with an outcome for each
// recipient. When all recipients are done, the message is removed; when some
// are to be tried again, it goes to the deferred queue until its next attempt
// is due: after as long as it has been in the queue, but at least
// minimal_backoff_time and at most maximal_backoff_time. Reports about failed,
// delayed and delivered recipients are made by bounce(8); a message leaves the
// queue only when the report that it calls for is in the queue itself.
//
// When qmgr starts, it takes up again what an earlier process left in the
// active queue. On a reload, the earlier process sees its deliveries under way
// to their ends, however long they take, and keeps their messages locked until
// then; everything else goes on in its successor at once.
//
// # Scheduling
//
// Each transport runs as many deliveries at a time as its maxproc field in
// master.cf allows. A free place goes to the next message, round robin, that
// has a recipient at a destination which may take one more delivery, so that a
// message to thousands of recipients delays a small one by no more than one
// delivery. Recipients of a message that share a destination are delivered
// together, up to default_destination_recipient_limit.
//
// How many deliveries a destination gets at a time starts at
// initial_destination_concurrency and follows its successes and failures up to
// default_destination_concurrency_limit. A destination that cannot be reached is
// suspended for minimal_backoff_time; a transport without agents for
// transport_retry_time.
//
// At most qmgr_message_active_limit messages and qmgr_message_recipient_limit
// recipients are in memory. The recipients of larger messages are read from the
// queue file as others get done.
//
// # Requests
//
// On public/qmgr, postqueue(1) asks for deliveries before their time,
// postsuper(1) for a message to be given up, and posthaste(1) for the ledger,
// which accounts for every recipient that entered the active queue.
//
// # Security
//
// Qmgr runs under the queue's identity, without Internet sockets. It reads
// and writes the queue, reads the tables that route mail, and dials the
// transports' sockets. It does not look at the content of messages.
//
// # Diagnostics
//
// Problems and transactions are logged. Damaged queue files are moved to the
// corrupt queue.
//
// # Files
//
//	$queue_directory/incoming   new messages
//	$queue_directory/active     messages being delivered
//	$queue_directory/deferred   messages that wait; their modification time is the next attempt
//	$queue_directory/hold       messages that are left alone
//	$queue_directory/corrupt    damaged files
//	$queue_directory/journal    journals of new messages, by cleanup(8)
package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/queue"
	"posthaste/pkg/route"
	"posthaste/pkg/service"
	"posthaste/qmgr/internal/sched"
)

func main() {
	var q *manager
	var runCtx context.Context
	started := make(chan struct{})
	service.Main(service.Spec{
		Name:     "qmgr",
		Solitary: true,
		Before: func(env *service.Env) (err error) {
			// Two connections bring all its work. With one processor their goroutines
			// take turns instead of waking another thread for each event, a third of
			// what a message costs here.
			runtime.GOMAXPROCS(1)
			q, err = open(env)
			return err
		},
		Run: func(ctx context.Context, env *service.Env) error {
			q.start()
			runCtx = ctx
			close(started)
			return nil
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			<-started
			q.serve(ctx, c, env.Draining())
		},
		Wakeup: func(ctx context.Context, env *service.Env) {
			<-started
			q.requestScan(&q.incoming, false)
		},
		Drain: func(env *service.Env) {
			<-started
			q.stop(runCtx, env.ReleaseService)
		},
	})
}

// open reads the configuration and opens the tables.
func open(env *service.Env) (*manager, error) {
	cfg := env.Config
	spool, err := queue.Open(".", queue.OptionsFrom(cfg))
	if err != nil {
		return nil, err
	}
	if w := spool.Warning(); w != "" {
		env.Log.Warningf("%s", w)
	}
	tables := &lookup.Env{Config: cfg, Log: env.Log, Stale: func(t string) { env.RequestDrain("table " + t + " has changed") }}
	router, err := route.New(cfg, tables)
	if err != nil {
		return nil, err
	}
	limits, err := readLimits(cfg)
	if err != nil {
		return nil, err
	}
	site, err := lookup.OpenList(params.FastFlushDomains.Name, params.FastFlushDomains.In(cfg), tables, matchesSubdomains(cfg, params.FastFlushDomains.Name))
	if err != nil {
		return nil, err
	}
	set := readSettings(cfg)
	reports := bounce.NewClient("private/"+params.BounceServiceName.In(cfg), set.idle)
	q := newManager(set, env.Log, spool, router, reports, limits.params)
	q.flushSet = site.Match
	return q, nil
}

func matchesSubdomains(cfg *config.Config, name string) bool {
	for _, s := range params.ParentDomainMatchesSubdomains.List(cfg) {
		if s == name {
			return true
		}
	}
	return false
}

func readSettings(cfg *config.Config) settings {
	s := settings{
		activeLimit:   params.QmgrMessageActiveLimit.In(cfg),
		rcptLimit:     params.QmgrMessageRecipientLimit.In(cfg),
		rcptMinimum:   params.QmgrMessageRecipientMinimum.In(cfg),
		runDelay:      params.QueueRunDelay.In(cfg),
		minBackoff:    params.MinimalBackoffTime.In(cfg),
		maxBackoff:    params.MaximalBackoffTime.In(cfg),
		lifetime:      params.MaximalQueueLifetime.In(cfg),
		bounceLife:    params.BounceQueueLifetime.In(cfg),
		delayWarning:  params.DelayWarningTime.In(cfg),
		delayCleared:  params.ConfirmDelayCleared.In(cfg),
		retryTime:     params.TransportRetryTime.In(cfg),
		idle:          params.IpcIdle.In(cfg),
		dialTimeout:   params.QmgrIpcTimeout.In(cfg),
		deferred:      map[string]bool{},
		doubleBounce:  params.DoubleBounceSender.In(cfg),
		filterNexthop: params.DefaultFilterNexthop.In(cfg),
		delims:        params.RecipientDelimiter.In(cfg),
		agentDir:      "private",
		pause:         retryPause,
		letGoWait:     letGoWait,
	}
	for _, t := range params.DeferTransports.List(cfg) {
		s.deferred[t] = true
	}
	s.localName, _, _ = strings.Cut(params.LocalTransport.In(cfg), ":")
	return s
}

// limits are the scheduling parameters of the transports in master.cf.
type limits struct {
	known map[string]sched.Params
	other func(name string) sched.Params
}

func (l *limits) params(name string) sched.Params {
	if p, ok := l.known[name]; ok {
		return p
	}
	return l.other(name)
}

// readLimits reads master.cf and the <transport>_* parameters of its services.
func readLimits(cfg *config.Config) (*limits, error) {
	f, err := mastercf.Load("", cfg)
	if err != nil {
		return nil, err
	}
	l := &limits{known: map[string]sched.Params{}}
	for _, e := range f.Entries {
		if e.Type != "unix" || !e.Private {
			continue
		}
		p, err := transportParams(cfg, e.Name, e.MaxProc)
		if err != nil {
			return nil, err
		}
		l.known[e.Name] = p
	}
	plain, err := transportParams(cfg, "", params.DefaultProcessLimit.In(cfg))
	if err != nil {
		return nil, err
	}
	l.other = func(name string) sched.Params { return plain }
	return l, nil
}

// transportParams reads <name>_* parameters, or default_* where there is none.
func transportParams(cfg *config.Config, name string, limit int) (p sched.Params, err error) {
	var first error
	text := func(suffix string, def config.Declared) string {
		if name != "" {
			if v := cfg.Get(name + "_" + suffix); v != "" {
				if err := def.Check(v); err != nil && first == nil {
					first = fmt.Errorf("%v: %s_%s = %s", err, name, suffix, v)
				}
				return v
			}
		}
		return cfg.Get(def.Decl().Name)
	}
	number := func(suffix string, def *config.Int) int {
		n, err := strconv.Atoi(text(suffix, def))
		if err != nil && first == nil {
			first = fmt.Errorf("bad numerical configuration: %s_%s", name, suffix)
		}
		return n
	}
	span := func(suffix string, def *config.Time) time.Duration {
		d, err := config.ParseTime(text(suffix, def), def.Unit)
		if err != nil && first == nil {
			first = fmt.Errorf("bad time configuration: %s_%s: %v", name, suffix, err)
		}
		return d
	}
	feedback := func(suffix string, def *config.String) sched.Feedback {
		v := text(suffix, def)
		f, ok := sched.ParseFeedback(v)
		if !ok && first == nil {
			first = fmt.Errorf("bad feedback expression: %s_%s = %s", name, suffix, v)
		}
		return f
	}
	p = sched.Params{
		Limit:            limit,
		RecipientLimit:   number("destination_recipient_limit", &params.DefaultDestinationRecipientLimit),
		ConcurrencyLimit: number("destination_concurrency_limit", &params.DefaultDestinationConcurrencyLimit),
		Initial:          number("initial_destination_concurrency", &params.InitialDestinationConcurrency),
		Positive:         feedback("destination_concurrency_positive_feedback", &params.DefaultDestinationConcurrencyPositiveFeedback),
		Negative:         feedback("destination_concurrency_negative_feedback", &params.DefaultDestinationConcurrencyNegativeFeedback),
		CohortLimit:      float64(number("destination_concurrency_failed_cohort_limit", &params.DefaultDestinationConcurrencyFailedCohortLimit)),
		DestRateDelay:    span("destination_rate_delay", &params.DefaultDestinationRateDelay),
		TransportDelay:   span("transport_rate_delay", &params.DefaultTransportRateDelay),
		Suspend:          params.MinimalBackoffTime.In(cfg),
	}
	return p, first
}
