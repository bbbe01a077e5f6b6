// Package maillog writes the mail log. Each event that a program logs is a
// type in this package, with typed fields; the classic Postfix line is one
// rendering of it, JSON another. Untrusted text is made printable here and
// nowhere else, so that no caller can put a line break or an escape sequence
// into the log.
package maillog

import (
	"encoding/json"
	"fmt"
	"io"
	"log/syslog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Event is one thing worth a log line. Text renders the classic line without
// the prefix; Queue is the queue id it concerns, "" for none.
type Event interface {
	Queue() string
	Text() string
}

// Severity says how bad an event is. Info has no word in the line.
type Severity int

// Severities, as in syslog's mail facility: fatal is the environment's fault
// and ends the process; panic is our own bug.
const (
	Info Severity = iota
	Warning
	Error
	Fatal
	Panic
)

var severityWord = [...]string{"", "warning: ", "error: ", "fatal: ", "panic: "}

// Sink is where rendered lines go.
type Sink interface {
	// Write takes one line without line end.
	Write(sev Severity, tag string, pid int, text string)
}

// Logger renders events for one program. It is safe for concurrent use.
type Logger struct {
	Tag     string // "postfix/smtpd"
	JSON    bool   // render one JSON object a line instead of the classic text
	Verbose int
	sink    Sink
	pid     int
	now     func() time.Time
}

// New returns a Logger that writes to sink under tag.
func New(tag string, sink Sink) *Logger {
	return &Logger{Tag: tag, sink: sink, pid: os.Getpid()}
}

// Flush writes what a sink still holds; to be called before the process ends.
func (l *Logger) Flush() {
	if l == nil {
		return
	}
	if f, ok := l.sink.(interface{ Flush() }); ok {
		f.Flush()
	}
}

// With returns a copy of l with another tag.
func (l *Logger) With(tag string) *Logger {
	n := *l
	n.Tag = tag
	return &n
}

// Event logs e at severity Info.
func (l *Logger) Event(e Event) {
	if l == nil {
		return
	}
	if l.JSON {
		l.json(e)
		return
	}
	t := e.Text()
	if q := e.Queue(); q != "" {
		t = q + ": " + t
	}
	l.line(Info, t)
}

func (l *Logger) json(e Event) {
	m := map[string]any{"event": strings.TrimPrefix(fmt.Sprintf("%T", e), "maillog."), "program": l.Tag, "pid": l.pid, "fields": e, "time": time.Now().Format(time.RFC3339Nano)}
	b, err := json.Marshal(m)
	if err != nil {
		l.line(Error, "log event: "+err.Error())
		return
	}
	l.line(Info, string(b))
}

// Infof logs a line that no tool parses.
func (l *Logger) Infof(format string, a ...any) { l.logf(Info, format, a...) }

// Debugf logs at verbosity 1 and above (-v).
func (l *Logger) Debugf(format string, a ...any) {
	if l != nil && l.Verbose > 0 {
		l.logf(Info, format, a...)
	}
}

// Warningf logs trouble that the system works around.
func (l *Logger) Warningf(format string, a ...any) { l.logf(Warning, format, a...) }

// Errorf logs trouble that some operation did not survive.
func (l *Logger) Errorf(format string, a ...any) { l.logf(Error, format, a...) }

// Fatalf logs trouble that the process cannot survive. It does not exit.
func (l *Logger) Fatalf(format string, a ...any) { l.logf(Fatal, format, a...) }

// Panicf logs a bug of ours. It does not exit.
func (l *Logger) Panicf(format string, a ...any) { l.logf(Panic, format, a...) }

func (l *Logger) logf(s Severity, format string, a ...any) {
	if l == nil {
		return
	}
	l.line(s, fmt.Sprintf(format, a...))
}

func (l *Logger) line(s Severity, text string) {
	l.sink.Write(s, l.Tag, l.pid, severityWord[s]+Printable(text))
}

// Printable returns s with control characters and invalid UTF-8 replaced by
// "?", so that a log line stays one line and a terminal stays sane.
func Printable(s string) string {
	ok := true
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029 {
			b.WriteByte('?')
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// FileSink writes lines in the classic syslog file format: date, host, tag.
// Whole lines go out in one write, so that many processes can share a
// descriptor opened for appending.
type FileSink struct {
	// Gather lets lines wait for company: the first few in some milliseconds are
	// written at once, so that one message's lines stay in their order, the others
	// together, because at a thousand messages a second a write for each line is
	// a tenth of the work. It is for daemons, which call Flush before they leave.
	Gather bool

	mu    sync.Mutex
	w     io.Writer
	host  string
	buf   []byte
	sec   int64
	date  []byte
	last  time.Time   // when the current window began
	alone int         // lines written at once in it
	timer *time.Timer // runs when buf is not empty
}

const (
	// gather bounds how long a line waits for company, and so what a killed
	// process leaves unsaid.
	gather = 20 * time.Millisecond
	// gatherSize is when to write anyway.
	gatherSize = 16 << 10
	// gatherFrom is how many lines in that time are written one by one.
	gatherFrom = 4
)

// NewFileSink returns a Sink that writes to w, naming host (the first label of
// myhostname) in each line.
func NewFileSink(w io.Writer, host string) *FileSink {
	host, _, _ = strings.Cut(host, ".")
	return &FileSink{w: w, host: host}
}

func (f *FileSink) Write(sev Severity, tag string, pid int, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if s := now.Unix(); s != f.sec {
		f.sec = s
		f.date = now.AppendFormat(f.date[:0], "Jan _2 15:04:05 ")
	}
	waiting := len(f.buf) > 0
	b := append(f.buf, f.date...)
	b = append(b, f.host...)
	b = append(b, ' ')
	b = append(b, tag...)
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(pid), 10)
	b = append(b, "]: "...)
	b = append(b, text...)
	f.buf = append(b, '\n')
	since := now.Sub(f.last)
	switch {
	case !f.Gather || sev != Info || len(f.buf) >= gatherSize || since >= gather && !waiting:
		f.flush(now)
	case !waiting && f.alone < gatherFrom:
		f.alone++
		f.w.Write(f.buf)
		f.buf = f.buf[:0]
	case waiting:
	case f.timer == nil:
		f.timer = time.AfterFunc(gather-since, f.Flush)
	default:
		f.timer.Reset(gather - since)
	}
}

// Flush writes what waits for company; to be called before the process ends.
func (f *FileSink) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flush(time.Now())
}

func (f *FileSink) flush(now time.Time) {
	if len(f.buf) > 0 {
		f.w.Write(f.buf) // there is nowhere to report a failing log to
		f.buf, f.last, f.alone = f.buf[:0], now, 1
	}
}

// SyslogSink writes to the local syslog daemon and reconnects when it was
// restarted.
type SyslogSink struct {
	mu       sync.Mutex
	path     string
	facility syslog.Priority
	c        net.Conn
}

// NewSyslogSink returns a Sink for the socket at path, normally /dev/log. The
// connection is made at once if the daemon is there.
func NewSyslogSink(path string, facility syslog.Priority) *SyslogSink {
	s := &SyslogSink{path: path, facility: facility}
	s.dial()
	return s
}

func (s *SyslogSink) dial() {
	if c, err := net.Dial("unixgram", s.path); err == nil {
		s.c = c
	}
}

func (s *SyslogSink) Write(sev Severity, tag string, pid int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := [...]syslog.Priority{syslog.LOG_INFO, syslog.LOG_WARNING, syslog.LOG_ERR, syslog.LOG_CRIT, syslog.LOG_CRIT}[sev] | s.facility
	line := fmt.Sprintf("<%d>%s %s[%d]: %s", p, time.Now().Format("Jan _2 15:04:05"), tag, pid, text)
	for try := 0; try < 2; try++ {
		if s.c == nil {
			s.dial()
		}
		if s.c == nil {
			return
		}
		if _, err := s.c.Write([]byte(line)); err == nil {
			return
		}
		s.c.Close()
		s.c = nil
	}
}

// Discard is a Sink for tests that do not look at the log.
type Discard struct{}

func (Discard) Write(Severity, string, int, string) {}

// StderrSink writes lines for a person at a terminal.
type StderrSink struct{ Program string }

func (s StderrSink) Write(_ Severity, _ string, _ int, text string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", s.Program, text)
}

// Tee writes every line to several sinks.
type Tee []Sink

// Flush flushes each sink that can be.
func (t Tee) Flush() {
	for _, s := range t {
		if f, ok := s.(interface{ Flush() }); ok {
			f.Flush()
		}
	}
}

func (t Tee) Write(sev Severity, tag string, pid int, text string) {
	for _, s := range t {
		s.Write(sev, tag, pid, text)
	}
}
