package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posthaste/test/tools/rig"
)

// muttrc is for mutt and neomutt alike. The keys at its end are pressed when
// the program has opened the INBOX.
const muttrc = `set folder="imaps://localhost:%imaps/" spoolfile="+INBOX" record="+Sent" postponed="+Drafts"
set imap_user="%U" imap_pass="test" smtp_url="smtp://%U@localhost:%submission/" smtp_pass="test"
set ssl_ca_certificates_file="%C" certificate_file="%H/certificates" ssl_starttls=yes ssl_force_tls=yes
set from="%U@local.test" realname="王小明" use_from=yes hostname="client.test" editor="%H/editor" abort_unmodified=no
set charset="utf-8" send_charset="us-ascii:gb2312:utf-8" sort="mailbox-order" resolve=no mark_old=no
set wait_key=no pipe_decode=yes confirmcreate=no confirmappend=no delete=yes quit=yes move=no recall=no sleep_time=0 header_cache="" imap_check_subscribed=yes
unset beep help
push "`

// muttKeys reads, flags, deletes, saves, copies, searches and sends.
var muttKeys = []string{
	"<first-entry><display-message><exit>",
	"<next-undeleted><flag-message>",
	"<next-undeleted><delete-message>",
	"<next-undeleted><save-message>=" + meetings + "<enter>",
	"<next-undeleted><copy-message>=" + meetings + "<enter><pipe-message>cat > %H/gb18030.txt<enter>",
	"<next-undeleted><pipe-message>cat > %H/big5.txt<enter>",
	"<tag-pattern>=b会议纪要<enter><tag-prefix><copy-message>=" + projects + "<enter><untag-pattern>~A<enter>",
	"<sync-mailbox>",
	"<mail>李华@local.test, somebody@sink.test<enter>会议改期<enter><send-message>",
	"<quit>",
}

// mutts has mutt and neomutt at a terminal of their own.
func (st *stage) mutts(fs, cs []fixture) {
	for _, program := range []string{"mutt", "neomutt"} {
		st.read(program+": open, read, flag, delete, save, search, submit", func(r *reader) error {
			if err := needs("script"); err != nil {
				return err
			}
			return r.mutt(program, fs, cs)
		})
	}
}

func (r *reader) mutt(program string, fs, cs []fixture) error {
	// plain dots gb2312 gbk gb18030 big5 hz utf8
	if err := r.deliver(append(append([]fixture{}, fs[:2]...), cs[:6]...)...); err != nil {
		return err
	}
	if err := r.put("muttrc", muttrc+strings.Join(muttKeys, "")+"\"\n"); err != nil {
		return err
	}
	if err := r.put("editor", "#!/bin/sh\necho 会议改到周五。 >> \"$1\"\n"); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(r.home, "editor"), 0700); err != nil {
		return err
	}
	sent := len(r.st.sink.Mails())
	lihua, err := r.st.look("李华", "INBOX")
	if err != nil {
		return err
	}
	if _, err := r.run("script", "-qefc", program+" -F %H/muttrc", "/dev/null"); err != nil {
		return err
	}
	if err := r.expect("INBOX", `big5() dots(\Flagged) gb18030() hz() plain(\Seen) utf8()`); err != nil {
		return err
	}
	if err := r.expect(meetings7, `gb18030() gbk()`); err != nil {
		return err
	}
	if err := r.expect(projects7, `gb18030() gb2312() gbk() hz() utf8()`); err != nil {
		return err
	}
	copies, err := r.st.look(r.user, projects7)
	if err == nil {
		err = intact(copies, cs)
	}
	if err != nil {
		return err
	}
	for name, words := range map[string][]string{"big5": {"關於下週會議的通知", "附上會議紀要"}, "gb18030": {"镕基㐀会议𠀀", "朱镕基、㐀、𠮷野家。"}} {
		b, err := os.ReadFile(filepath.Join(r.home, name+".txt"))
		if err != nil {
			return err
		}
		for _, w := range words {
			if !strings.Contains(string(b), w) {
				return fmt.Errorf("%s shows no %s in %s: %q", program, w, name, b)
			}
		}
	}
	return r.submitted(sent, lihua, "王小明", "李华@local.test", "会议改期", "会议改到周五。")
}

// submitted looks for a message of a client in three places: 李华's INBOX,
// which held before, the remote server, which had so many messages, and the
// client's own copy in the folder Sent. Each must read like text.
func (r *reader) submitted(sent int, before box, text ...string) error {
	var copies []string
	err := rig.Until(20*time.Second, "the message at the remote server", func() bool { return len(r.st.sink.Mails()) > sent })
	if err != nil {
		return err
	}
	copies = append(copies, string(r.st.sink.Mails()[sent].Data))
	var now box
	err = rig.Until(20*time.Second, "the message in the INBOX of 李华", func() bool {
		now, err = r.st.look("李华", "INBOX")
		return err == nil && len(now.messages) > len(before.messages)
	})
	if err != nil {
		return err
	}
	own, err := r.st.look(r.user, "Sent")
	if err == nil {
		err = same("own copies of what was sent", own.String(), own.messages[0].id+`(\Seen)`)
	}
	if err != nil {
		return err
	}
	copies = append(copies, now.messages[len(before.messages)].body, own.messages[0].body)
	for i, c := range copies {
		shown, err := r.show(c)
		if err != nil {
			return err
		}
		for _, t := range text {
			if !strings.Contains(shown, t) {
				return fmt.Errorf("no %s in copy %d: %s", t, i, shown)
			}
		}
		_, b0, _ := strings.Cut(copies[0], "\r\n\r\n")
		if _, b, _ := strings.Cut(c, "\r\n\r\n"); b != b0 {
			return fmt.Errorf("copy %d has the body %q, at the remote server it is %q", i, b, b0)
		}
	}
	return nil
}

// show has Python read a message.
func (r *reader) show(message string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, stderr := r.command(ctx, debian("python3"), "%T/show.py")
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("show.py: %w: %s: %q", err, lastLines(stderr.Bytes(), 3), message)
	}
	return string(out), err
}
