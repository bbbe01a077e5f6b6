#!/bin/bash
# Debian's Postfix as a benchmark target, in a directory of its own: all
# defaults, Debian's master.cf without chroot, fsync on, logs through postlogd,
# virtual(8) to Maildirs of user0..user499@local.test, other mail to the sink.
# usage: postfix.sh start [parameter=value ...] | stop | restart | env | flush | listq
#        | deferred (their number) | postmap TYPE FILE | postmapq TYPE FILE KEYS
# Every target script answers to these; "env" prints SMTP, PID and MAILDIR.
# BENCH_CONNS=N at start asks for room for N concurrent sessions.
D=${BENCH_DIR:?}/postfix
export MAIL_CONFIG=$D/etc
case $1 in
start)
  shift
  [ -e "$D" ] && mv "$D" "$BENCH_DIR/old/$EPOCHREALTIME"
  mkdir -p "$D"/{etc,spool,data,log,mail}
  chmod 755 "$D" "$D"/*
  chown postfix "$D/data"
  chown 5000:5000 "$D/mail"
  awk '/^#/ {next} /^(maildrop|uucp|ifmail|bsmtp|scalemail|mailman|  flags)/ {next}
    /^smtp +inet/ {$1 = "127.0.0.1:10025"} /^[^ \t]/ {$5 = "n"} {print}' /usr/share/postfix/master.cf.dist > "$D/etc/master.cf"
  cp /etc/postfix/{dynamicmaps.cf,postfix-files} "$D/etc/"; cp -r /etc/postfix/{dynamicmaps.cf.d,postfix-files.d} "$D/etc/"
  cat > "$D/etc/main.cf" << EOF
compatibility_level = 3.6
queue_directory = $D/spool
data_directory = $D/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = $D/log/maillog
maillog_file_prefixes = $D
myhostname = mx.bench.test
mydestination = localhost
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = 127.0.0.1
alias_maps = hash:$D/etc/aliases
relayhost = [127.0.0.1]:10026
transport_maps = hash:$D/etc/transport
virtual_mailbox_domains = local.test
virtual_mailbox_base = $D/mail
virtual_mailbox_maps = hash:$D/etc/vmailbox
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
EOF
  echo 'postmaster: root' > "$D/etc/aliases"
  for i in $(seq 1 100); do echo "d$((i - 1)).test smtp:[127.0.1.$i]:10026"; done > "$D/etc/transport"
  for i in $(seq 0 499); do echo "user$i@local.test user$i/Maildir/"; done > "$D/etc/vmailbox"
  postalias "hash:$D/etc/aliases" && postmap "hash:$D/etc/transport" "hash:$D/etc/vmailbox" || exit 1
  [ -n "$BENCH_CONNS" ] && postconf -e default_process_limit=$((BENCH_CONNS + 100))
  for p in "$@"; do postconf -e "$p"; done
  postfix -c "$D/etc" start > "$D/log/start" 2>&1 || { cat "$D/log/start" >&2; exit 1; } ;;
stop) [ -f "$D/spool/pid/master.pid" ] && postfix -c "$D/etc" stop > /dev/null 2>&1; true ;;
restart) postfix -c "$D/etc" stop > /dev/null 2>&1; postfix -c "$D/etc" start > "$D/log/start" 2>&1 || { cat "$D/log/start" >&2; exit 1; } ;;
env) printf 'SMTP=127.0.0.1:10025\nPID=%s\nMAILDIR=%s\n' "$(tr -d ' ' < "$D/spool/pid/master.pid")" "$D/mail/user{u}/Maildir" ;;
flush) postqueue -f ;;
listq) postqueue -p ;;
deferred) find "$D/spool/deferred" -type f | wc -l ;;
postmap) postmap "$2:$3" ;;
postmapq) postmap -q - "$2:$3" < "$4" ;;
*) sed -n 2,9p "$0"; exit 2 ;;
esac
