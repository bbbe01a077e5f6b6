package maillog

import (
	"log/syslog"
	"os"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

var facilities = map[string]syslog.Priority{
	"auth": syslog.LOG_AUTH, "authpriv": syslog.LOG_AUTHPRIV, "cron": syslog.LOG_CRON, "daemon": syslog.LOG_DAEMON,
	"ftp": syslog.LOG_FTP, "kern": syslog.LOG_KERN, "lpr": syslog.LOG_LPR, "mail": syslog.LOG_MAIL, "news": syslog.LOG_NEWS,
	"syslog": syslog.LOG_SYSLOG, "user": syslog.LOG_USER, "uucp": syslog.LOG_UUCP,
	"local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2, "local3": syslog.LOG_LOCAL3,
	"local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5, "local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
}

// OpenSink opens the log that the configuration names: maillog_file if it is
// set and this process may write it, else syslog with syslog_facility.
func OpenSink(cfg *config.Config, program string) Sink {
	if name := params.MaillogFile.In(cfg); name != "" {
		if f, err := OpenFile(name); err == nil {
			return NewFileSink(f, params.Myhostname.In(cfg))
		}
	}
	f, ok := facilities[params.SyslogFacility.In(cfg)]
	if !ok {
		f = syslog.LOG_MAIL
	}
	return NewSyslogSink("/dev/log", f)
}

// OpenFile opens a log file for appending, made with mode 0644 if it is not
// there.
func OpenFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0644)
}
