package main

import (
	"context"
	"os"
	"path/filepath"
)

// roundcubeDir is where Debian has Roundcube's pages.
const roundcubeDir = "/var/lib/roundcube/public_html"

const roundcubeConfig = `<?php
$config['db_dsnw'] = 'sqlite:///%H/roundcube.db?mode=0600';
$config['imap_host'] = 'ssl://localhost:%imaps';
$config['smtp_host'] = 'tls://localhost:%submission';
$config['imap_conn_options'] = $config['smtp_conn_options'] = ['ssl' => ['verify_peer' => true, 'cafile' => '%C']];
$config['smtp_user'] = '%u';
$config['smtp_pass'] = '%p';
$config['mail_domain'] = 'local.test';
$config['des_key'] = 'twenty-four-characters!!';
$config['log_dir'] = $config['temp_dir'] = '%H/web';
$config['imap_debug'] = $config['smtp_debug'] = true;
$config['session_storage'] = 'db';
$config['language'] = 'en_US';
$config['drafts_mbox'] = 'Drafts';
$config['junk_mbox'] = 'Junk';
$config['sent_mbox'] = 'Sent';
$config['trash_mbox'] = 'Trash';
$config['mime_types'] = '/etc/mime.types';
$config['enable_spellcheck'] = false;
$config['plugins'] = [];
$config['skin'] = 'elastic';
`

// webmail has Roundcube between a browser and us.
func (st *stage) webmail(fs, cs []fixture) {
	st.read("Roundcube: list, open, search, sort, folders, delete, draft, send", func(r *reader) error {
		if err := needs("php"); err != nil {
			return err
		}
		if _, err := os.Stat(roundcubeDir); err != nil {
			return skip{"Roundcube is not installed"}
		}
		return r.roundcube(fs, cs)
	})
}

func (r *reader) roundcube(fs, cs []fixture) error {
	if err := r.deliver(append([]fixture{fs[0]}, cs[:6]...)...); err != nil {
		return err
	}
	if err := r.put("config/config.inc.php", roundcubeConfig); err != nil {
		return err
	}
	if err := r.put("web/.made", ""); err != nil {
		return err
	}
	for _, f := range []string{"defaults.inc.php", "mimetypes.php"} {
		if err := os.Symlink("/etc/roundcube/"+f, filepath.Join(r.home, "config", f)); err != nil {
			return err
		}
	}
	schema := `$d = new PDO("sqlite:%H/roundcube.db"); $d->exec(file_get_contents("/usr/share/roundcube/SQL/sqlite.initial.sql"));`
	if _, err := r.run("php", "-r", schema); err != nil {
		return err
	}
	sent := len(r.st.sink.Mails())
	lihua, err := r.st.look("李华", "INBOX")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	addr := "127.0.0.1:" + r.st.port(929)
	cmd, _ := r.command(ctx, debian("php"), "-d", "error_log=%H/web/php.log", "-S", addr, "-t", roundcubeDir)
	cmd.Env = append(cmd.Env, "ROUNDCUBE_CONFIG_DIR="+filepath.Join(r.home, "config"))
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); cmd.Wait() }()
	if _, err := r.run("python3", "%T/roundcube.py", "http://"+addr, "%U"); err != nil {
		return err
	}
	if err := r.expect("INBOX", `big5(\Flagged \Seen) gb18030(\Seen) gb2312(\Seen) hz(\Seen) utf8(\Seen)`); err != nil {
		return err
	}
	if err := r.expect("Trash", `plain(\Seen)`); err != nil {
		return err
	}
	if err := r.expect(meetings7, `big5(\Seen) gbk(\Seen)`); err != nil {
		return err
	}
	if err := r.expect("Drafts", ""); err != nil {
		return err
	}
	filed, err := r.st.look(r.user, meetings7)
	if err == nil {
		err = intact(filed, cs)
	}
	if err != nil {
		return err
	}
	return r.submitted(sent, lihua, "李华@local.test", "会议改期", "会议改到周五。")
}
