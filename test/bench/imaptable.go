package main

// reading lists the workloads that read mail. "bench reading TARGET..." runs
// them; their targets' "env" has IMAP, POP3 and OWNER, and MAILDIR where the
// bench can make messages itself.
var reading = []string{"mailbox", "mixedone", "mixedown", "maildrop", "logins", "readrest",
	"login500of1", "login500", "idle500of1", "idle500of500"}

func init() {
	for name, w := range map[string]workload{
		"mailbox":      {what: "IMAP, one client, a mailbox of 10,000 messages", run: mailbox},
		"mixedone":     {what: "IMAP, 20 clients on one mailbox of 10,000 messages", run: mixed(1, boxSize)},
		"mixedown":     {what: "IMAP, 20 clients, a mailbox of 1,000 messages each", run: mixed(mixedClients, 1000)},
		"maildrop":     {what: "POP3, 2,000 messages", run: maildrop},
		"logins":       {what: "connect, log in and out, 10 (POP3: 5) at a time", run: logins},
		"readrest":     {what: "memory at rest, whole server", run: readerRest},
		"login500of1":  {what: "500 logged-in IMAP sessions of one user", run: sessions(1, false)},
		"login500":     {what: "500 logged-in IMAP sessions of 500 users", run: sessions(500, false)},
		"idle500of1":   {what: "500 IMAP sessions of one user in IDLE", run: sessions(1, true)},
		"idle500of500": {what: "500 IMAP sessions of 500 users in IDLE", run: sessions(500, true)},
	} {
		workloads[name] = w
	}
	// Ahead in every figure; twice in metadata, search and shared work.
	for _, f := range []string{"select_first", "bodies", "store_add", "store_remove", "store_silent", "append_1000", "multiappend_1000", "copy_all"} {
		aims = append(aims, aim{workload: "mailbox", figure: f, atMost: 1})
	}
	for _, f := range []string{"select_warm", "fetch_flags", "envelope_first", "envelope_again", "structure_first", "structure_again",
		"search_subject", "search_body", "search_body_again", "search_text", "search_unseen"} {
		aims = append(aims, aim{workload: "mailbox", figure: f, atMost: .5})
	}
	aims = append(aims, aim{workload: "mixedone", figure: "rate", atLeast: 2}, aim{workload: "mixedown", figure: "rate", atLeast: 1},
		aim{workload: "logins", figure: "imap", atLeast: 1}, aim{workload: "logins", figure: "pop3", atLeast: 1})
	for _, f := range []string{"first", "again", "pipelined", "deleting"} {
		aims = append(aims, aim{workload: "maildrop", figure: f, atMost: 1})
	}
	for _, w := range []string{"login500of1", "login500", "idle500of1", "idle500of500"} {
		aims = append(aims, aim{workload: w, figure: "per_session", atMost: .1})
	}
}
