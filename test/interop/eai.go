package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"time"

	"posthaste/test/tools/rig"
)

// eai sends mail with addresses in Chinese (RFC 6531) by way of Postfix.
func (st *stage) eai(started error) {
	send := func(addr, rcpt string) (f fixture, err error) {
		if started != nil {
			return f, started
		}
		fs, err := st.chinese()
		if err != nil {
			return f, err
		}
		f = fs[len(fs)-1]
		return f, command(time.Minute, debian("python3"), filepath.Join(st.dir, "send.py"), addr, "plain", "小明@client.test", rcpt, filepath.Join(st.dir, f.file))
	}
	st.try("smtplib -> Posthaste -> postfix -> remote server: addresses in Chinese", func() error {
		before := len(st.sink.Mails())
		f, err := send(st.s.SMTP(), "某人@postfix.sink.test")
		if err != nil {
			return err
		}
		if err := st.atSink(before, f, 30*time.Second); err != nil {
			return err
		}
		m := st.sink.Mails()[before]
		return same("the envelope", fmt.Sprint(m.From, m.To), "小明@client.test[某人@postfix.sink.test]")
	})
	st.try("smtplib -> postfix -> Posthaste -> Maildir: addresses in Chinese", func() error {
		box := st.s.Maildir("李华")
		before, _ := rig.Letters(box)
		f, err := send("127.0.0.1:"+postfixPort, "李华@local.test")
		if err != nil {
			return err
		}
		var now map[string][]byte
		if err := rig.Until(30*time.Second, "a message in the Maildir of 李华", func() bool {
			now, err = rig.Letters(box)
			return err == nil && len(now) > len(before)
		}); err != nil {
			return err
		}
		for name, b := range now {
			if _, ok := before[name]; ok {
				continue
			}
			if !bytes.Contains(b, []byte("\nDelivered-To: 李华@local.test\n")) {
				return fmt.Errorf("no Delivered-To: field with the address in %.300q", b)
			}
			return f.compare(b)
		}
		return nil
	})
}
