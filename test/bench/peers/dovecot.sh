#!/bin/bash
# Debian's Dovecot as a benchmark target for reading mail, in a directory of
# its own: Debian's defaults (login processes of one connection each,
# mail_fsync = optimized), no TLS, plain passwords.
# usage: dovecot.sh start [maildir|sdbox|mdbox] [setting=value ...] | stop | env
# BENCH_CONNS=N at start asks for room for N concurrent sessions, BENCH_PORTS is
# added to the standard ports (default 10000).
D=${BENCH_DIR:?}/dovecot
PORTS=${BENCH_PORTS:-10000}
case $1 in
start)
  shift
  [ -e "$D" ] && mv "$D" "$BENCH_DIR/old/$EPOCHREALTIME"
  mkdir -p "$D"/{run,state,mail}
  chmod 755 "$D" "$D"/*
  chown 5000:5000 "$D/mail"
  format=maildir location='maildir:~/Maildir'
  case ${1:-} in maildir | sdbox | mdbox) format=$1; shift ;; esac
  [ "$format" = maildir ] || location="$format:~/$format"
  echo "$format" > "$D/format"
  cat > "$D/dovecot.conf" << END
base_dir = $D/run
state_dir = $D/state
log_path = $D/log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
mail_location = $location
mail_max_userip_connections = 2000
auth_username_format = %Lu
passdb {
  driver = static
  args = password=test
}
userdb {
  driver = static
  args = uid=5000 gid=5000 home=$D/mail/%n allow_all_users=yes
}
service imap-login {
  inet_listener imap {
    port = $((PORTS + 143))
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = $((PORTS + 110))
  }
  inet_listener pop3s {
    port = 0
  }
}
END
  [ -n "${BENCH_CONNS:-}" ] && echo "default_process_limit = $((BENCH_CONNS + 100))" >> "$D/dovecot.conf"
  for p in "$@"; do echo "${p/=/ = }" >> "$D/dovecot.conf"; done
  dovecot -c "$D/dovecot.conf" > "$D/start" 2>&1 || { cat "$D/start" >&2; exit 1; }
  for _ in $(seq 50); do [ -S "$D/run/login/login" ] && break; sleep 0.1; done ;;
stop) [ -f "$D/run/master.pid" ] && doveadm -c "$D/dovecot.conf" stop > /dev/null 2>&1; true ;;
env)
  printf 'IMAP=127.0.0.1:%s\nPOP3=127.0.0.1:%s\nPID=%s\nOWNER=5000\n' $((PORTS + 143)) $((PORTS + 110)) "$(cat "$D/run/master.pid")"
  [ "$(cat "$D/format")" != maildir ] || echo "MAILDIR=$D/mail/user{u}/Maildir" ;;
*) sed -n 2,7p "$0"; exit 2 ;;
esac
