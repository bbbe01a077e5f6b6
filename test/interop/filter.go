package main

import "strings"

// imapfilterrc searches and files mail on the server. imapfilter is written in
// UTF-8, and says so in its searches.
const imapfilterrc = `options.create = true
options.charset = 'UTF-8'
account = IMAP { server = 'localhost', port = %P, username = '%U', password = 'test'%S }
inbox = account.INBOX
meetings = inbox:contain_subject('会议')
assert(#meetings == 5, #meetings)
assert(#inbox:contain_from('王小明') == 6)
meetings:copy_messages(account['会议'])
trad = inbox:contain_body('會議紀要')
assert(#trad == 1)
trad:add_flags({ '\\Flagged', '$Label1' })
moved = inbox:contain_subject('a plain message') + inbox:match_header('Message-I[Dd]: <dots@')
moved:move_messages(account['归档'])
inbox:has_keyword('$Label1'):mark_seen()
filed = account['会议']:contain_body('朱镕基')
filed:delete_messages()
`

// filters has imapfilter sort mail by Chinese words.
func (st *stage) filters(fs, cs []fixture) {
	for _, tls := range []struct{ name, port, ssl string }{{"STARTTLS", "%imap", ""}, {"TLS", "%imaps", ", ssl = 'auto'"}} {
		st.read("imapfilter by "+tls.name+": search for Chinese words, copy, move, flag, delete", func(r *reader) error {
			if err := r.deliver(append(append([]fixture{}, fs[:2]...), cs[:6]...)...); err != nil {
				return err
			}
			if err := r.put("rc", strings.NewReplacer("%P", tls.port, "%S", tls.ssl).Replace(imapfilterrc)); err != nil {
				return err
			}
			if _, err := r.run("imapfilter", "-c", "%H/rc", "-t", "%C"); err != nil {
				return err
			}
			for folder, want := range map[string]string{
				"INBOX":   `big5($Label1 \Flagged \Seen) gb18030() gb2312() gbk() hz() utf8()`,
				meetings7: "gb2312() gbk() hz()", "&X1JoYw-": "dots() plain()",
			} {
				if err := r.expect(folder, want); err != nil {
					return err
				}
			}
			b, err := st.look(r.user, meetings7)
			if err == nil {
				err = intact(b, cs)
			}
			return err
		})
	}
}
