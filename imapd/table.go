package main

import "posthaste/pkg/imapwire"

// What a command needs and may do.
const (
	selected = 1 << iota // a mailbox must be selected
	writes               // and not be read-only
	expunges             // EXPUNGE and VANISHED may be sent before its reply
	quiet                // nothing about the selected mailbox is sent
)

// command is a row of the table.
type command struct {
	name  string
	run   func(s *session, p *imapwire.Parser, uid bool) error
	flags int
}

// commands are those of the authenticated and selected states (RFC 9051,
// section 6). FETCH, STORE and SEARCH by sequence number must not be told of
// expunged messages (section 7.5.1); nor SORT and THREAD.
var commands = commandTable()

func commandTable() map[string]*command {
	table := map[string]*command{}
	for _, c := range [...]command{
		{"APPEND", (*session).append, expunges},
		{"CAPABILITY", (*session).capability, expunges},
		{"CHECK", (*session).noop, selected | expunges},
		{"CLOSE", (*session).close, selected | quiet},
		{"COMPRESS", (*session).compress, quiet},
		{"COPY", (*session).copy, selected},
		{"CREATE", (*session).create, expunges},
		{"DELETE", (*session).delete, expunges},
		{"ENABLE", (*session).enable, expunges},
		{"EXAMINE", (*session).examine, quiet},
		{"EXPUNGE", (*session).expunge, selected | writes | expunges},
		{"FETCH", (*session).fetch, selected},
		{"GETQUOTA", (*session).getQuota, expunges},
		{"GETQUOTAROOT", (*session).getQuotaRoot, expunges},
		{"ID", (*session).id, expunges},
		{"IDLE", (*session).idle, expunges},
		{"LIST", (*session).list, expunges},
		{"LOGOUT", (*session).logout, quiet},
		{"LSUB", (*session).lsub, expunges},
		{"MOVE", (*session).move, selected | writes | expunges},
		{"NAMESPACE", (*session).namespace, expunges},
		{"NOOP", (*session).noop, expunges},
		{"RENAME", (*session).rename, expunges},
		{"SEARCH", (*session).search, selected},
		{"SELECT", (*session).selectBox, quiet},
		{"SETQUOTA", (*session).setQuota, expunges},
		{"SORT", (*session).sort, selected},
		{"STATUS", (*session).status, expunges},
		{"STORE", (*session).storeFlags, selected | writes},
		{"SUBSCRIBE", (*session).subscribe, expunges},
		{"THREAD", (*session).thread, selected},
		{"UID COPY", (*session).copy, selected | expunges},
		{"UID EXPUNGE", (*session).expunge, selected | writes | expunges},
		{"UID FETCH", (*session).fetch, selected | expunges},
		{"UID MOVE", (*session).move, selected | writes | expunges},
		{"UID SEARCH", (*session).search, selected | expunges},
		{"UID SORT", (*session).sort, selected | expunges},
		{"UID STORE", (*session).storeFlags, selected | writes | expunges},
		{"UID THREAD", (*session).thread, selected | expunges},
		{"UNSELECT", (*session).unselect, selected | quiet},
		{"UNSUBSCRIBE", (*session).unsubscribe, expunges},
	} {
		table[c.name] = &c
	}
	return table
}
