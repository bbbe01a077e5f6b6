package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// libraries reads mail with Python's imaplib and poplib, and with curl.
func (st *stage) libraries(fs, cs []fixture) {
	all := append(append([]fixture{}, fs...), cs...)
	st.read("imaplib: append, search in Chinese, flags, folders, copy, move, expunge", func(r *reader) error {
		if _, err := r.run("python3", "%T/imap.py", "%imap", "%imaps", "%U", "%C", st.dir); err != nil {
			return err
		}
		if err := r.expectFolders(projects7, projects7+strings.TrimPrefix(minutes7, meetings7)); err != nil {
			return err
		}
		if err := r.expect("INBOX", `big5(\Flagged) dots(\Answered \Seen) eai() gb18030() gb2312() gbk($Label1 \Flagged) l100k() utf8()`); err != nil {
			return err
		}
		if err := r.expect(projects7, "hz()"); err != nil {
			return err
		}
		b, err := st.look(r.user, projects7+"/&fqqJgQ- &- &g0l6Pw-")
		if err != nil {
			return err
		}
		if err := same("copies", b.sorted(), "eai() gb18030() gb2312() gbk($Label1 \\Flagged) hz() utf8()"); err != nil {
			return err
		}
		return intact(b, all)
	})
	st.read("poplib: every message, byte by byte, deletion, sessions cut off", func(r *reader) error {
		these := append(append([]fixture{}, fs[:6]...), cs...)
		if err := r.deliver(these...); err != nil {
			return err
		}
		args := []string{"python3", "%T/pop.py", "%pop3", "%pop3s", "%U", "%C", st.dir}
		for _, f := range these {
			args = append(args, f.file)
		}
		if _, err := r.run(args...); err != nil {
			return err
		}
		// Those that were retrieved are read; two are gone.
		return r.expect("INBOX", `big5(\Seen) eight(\Seen) gb18030(\Seen) gb2312(\Seen) gbk(\Seen) hz(\Seen) l100k(\Seen) l998(\Seen) noend(\Seen) plain(\Seen) utf8(\Seen)`)
	})
	st.read("Ruby's Net::IMAP: each kind of response, in its strict parser; IDLE", func(r *reader) error {
		if _, err := r.run("ruby", "%T/imap.rb", "%imap", "%imaps", "%U", "%C", st.dir); err != nil {
			return err
		}
		if err := r.expect(meetings7, `big5(\Flagged) gb18030(\Flagged) gb2312(\Flagged) gbk(\Flagged)`); err != nil {
			return err
		}
		return r.expect("INBOX", `eai(\Flagged) eight(\Flagged) gb2312(\Flagged) gbk(\Flagged) hz(\Flagged) l100k(\Flagged) multi(\Flagged) noend(\Flagged) plain(\Seen) utf8(\Flagged)`)
	})
	st.read("PHP's imap (c-client): parts, search and sort in Chinese, folders, flags, POP3", func(r *reader) error {
		if m, err := r.run("php", "-m"); err != nil || !strings.Contains(m, "imap\n") {
			return skip{"PHP's imap extension is not installed"}
		}
		if _, err := r.run("php", "%T/imap.php", "%imaps", "%pop3s", "%U", st.dir); err != nil {
			return err
		}
		if err := r.expect(meetings7, `gb18030(\Flagged) gb2312(\Flagged) gbk(\Flagged)`); err != nil {
			return err
		}
		return r.expect("INBOX", `big5(\Flagged) eai(\Flagged) gb2312(\Flagged) gbk(\Flagged) hz(\Flagged) l100k(\Flagged) multi(\Flagged) plain(\Answered \Flagged \Seen) utf8(\Flagged)`)
	})
	st.read("curl imap(s)://: list, fetch, append, search, store, expunge", func(r *reader) error {
		return r.curlIMAP(all)
	})
	st.read("curl pop3(s)://: list, retrieve, top, delete", func(r *reader) error {
		return r.curlPOP3(all)
	})
}

// read runs a scenario with a fresh mailbox.
func (st *stage) read(name string, f func(r *reader) error) {
	st.try(name, func() error {
		r, err := st.reader()
		if err != nil {
			return err
		}
		return f(r)
	})
}

func (r *reader) curl(args ...string) (string, error) {
	return r.run(append([]string{"curl", "-sS", "--max-time", "60", "--ssl-reqd", "--cacert", "%C", "--user", "%U:test"}, args...)...)
}

func (r *reader) curlIMAP(fs []fixture) error {
	for _, f := range fs {
		if f.big {
			continue
		}
		// curl APPENDs with \Seen.
		if _, err := r.curl("--upload-file", filepath.Join(r.st.dir, f.file), "imaps://localhost:%imaps/INBOX"); err != nil {
			return fmt.Errorf("%s: %w", f.file, err)
		}
	}
	b, err := r.st.look(r.user, "INBOX")
	if err != nil {
		return err
	}
	if len(b.messages) != len(fs)-2 {
		return fmt.Errorf("%d messages in the INBOX, %d were appended", len(b.messages), len(fs)-2)
	}
	urls := []string{"imap://localhost:%imap", "imaps://localhost:%imaps"}
	for i, m := range b.messages {
		got, err := r.curl(fmt.Sprintf("%s/INBOX;UIDVALIDITY=%d;UID=%d", urls[i%2], b.validity, m.uid))
		if err != nil {
			return err
		}
		want, err := os.ReadFile(filepath.Join(r.st.dir, m.id))
		if err != nil {
			return err
		}
		if err := same(m.id, got, string(want)); err != nil {
			return err
		}
	}
	uids := b.uids()
	got, err := r.curl(urls[0] + "/INBOX;UID=" + fmt.Sprint(uids["gbk"]) + ";SECTION=HEADER.FIELDS%20(DATE)")
	if err == nil {
		err = same("a section", got, "Date: Mon, 23 Nov 2026 12:00:00 +0800\r\n\r\n")
	}
	if err != nil {
		return err
	}
	for _, c := range []struct{ path, request, want string }{
		{"/INBOX", "SEARCH CHARSET UTF-8 SUBJECT \"会议\"", `SEARCH [\d ]+`},
		{"/INBOX", fmt.Sprintf(`UID STORE %d +FLAGS (\Deleted)`, uids["dots"]), `FETCH \(UID \d+ FLAGS \(.*\\Deleted`},
		{"/INBOX", "EXPUNGE", `^\* 2 EXPUNGE`},
		{"", `CREATE "` + minutes7 + `"`, ``},
		{"", `LIST "" %25`, regexp.QuoteMeta(meetings7)},
		{"/INBOX", fmt.Sprintf(`UID COPY %d:* "%s"`, uids["gb2312"], minutes7), ``},
	} {
		c.request = strings.ReplaceAll(c.request, "%25", "%")
		got, err := r.curl(urls[1]+c.path, "-X", c.request)
		if err != nil {
			return fmt.Errorf("%s: %w", c.request, err)
		}
		if !regexp.MustCompile(c.want).MatchString(got) {
			return fmt.Errorf("%s: %q", c.request, got)
		}
	}
	if err := r.expect(minutes7, `big5(\Seen) eai(\Seen) gb18030(\Seen) gb2312(\Seen) gbk(\Seen) hz(\Seen) utf8(\Seen)`); err != nil {
		return err
	}
	return r.expect("INBOX", `big5(\Seen) eai(\Seen) eight(\Seen) gb18030(\Seen) gb2312(\Seen) gbk(\Seen) hz(\Seen) l100k(\Seen) l998(\Seen) noend(\Seen) plain(\Seen) utf8(\Seen)`)
}

func (r *reader) curlPOP3(fs []fixture) error {
	if err := r.deliver(fs...); err != nil {
		return err
	}
	list, err := r.curl("pop3s://localhost:%pop3s/")
	if err != nil {
		return err
	}
	if n := strings.Count(list, "\r\n"); n != len(fs) {
		return fmt.Errorf("LIST: %d lines, %d messages: %q", n, len(fs), list)
	}
	urls := []string{"pop3://localhost:%pop3", "pop3s://localhost:%pop3s"}
	for i, f := range fs {
		got, err := r.curl(fmt.Sprintf("%s/%d", urls[i%2], i+1))
		if err == nil {
			err = f.compare([]byte(got))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.file, err)
		}
	}
	if _, err := r.curl(urls[1]+"/1", "-X", "DELE", "-l"); err != nil {
		return err
	}
	uidl, err := r.curl(urls[0]+"/", "-X", "UIDL")
	if err != nil {
		return err
	}
	return same("messages after DELE", strings.Count(uidl, "\r\n"), len(fs)-1)
}
