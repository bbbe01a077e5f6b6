#!/bin/bash
# Posthaste as a benchmark target: a private instance as "posthaste init" makes
# it. Answers to the same commands as postfix.sh. PH_BIN is the folder of the
# programs, BENCH_PORTS is added to the standard ports (default 10000).
D=${BENCH_DIR:?}/posthaste
PORTS=${BENCH_PORTS:-10000}
PH_BIN=${PH_BIN:-$(cd "$(dirname "$0")/../../../bin" && pwd)}
PATH=$PH_BIN:$PATH
export MAIL_CONFIG=$D/etc
case $1 in
start)
  shift
  [ -e "$D" ] && mv "$D" "$BENCH_DIR/old/$EPOCHREALTIME"
  for i in $(seq 0 499); do echo "user$i:test"; done > "$D.users"
  posthaste init --dir "$D" --domain local.test --users "$D.users" --port-base "$PORTS" > "$D.init" 2>&1 || { cat "$D.init" >&2; exit 1; }
  sed -i 's/{SCRAM-SHA-256}[^:]*/{PLAIN}test/' "$D/etc/users" # as cheap to check as Dovecot's static ones
  for i in $(seq 1 100); do echo "d$((i - 1)).test smtp:[127.0.1.$i]:10026"; done > "$D/etc/transport"
  postconf -e 'mynetworks = 127.0.0.0/8' 'relayhost = [127.0.0.1]:10026' "transport_maps = hash:$D/etc/transport" 'smtp_bind_address = 127.0.0.1' &&
    postmap "hash:$D/etc/transport" || exit 1
  for p in "$@"; do postconf -e "$p"; done
  posthaste -c "$D/etc" start > "$D/log/start" 2>&1 || { cat "$D/log/start" >&2; exit 1; } ;;
stop) posthaste -c "$D/etc" stop > /dev/null 2>&1; true ;;
restart) posthaste -c "$D/etc" stop && posthaste -c "$D/etc" start > "$D/log/start" 2>&1 || { cat "$D/log/start" >&2; exit 1; } ;;
env) printf 'SMTP=127.0.0.1:%s\nIMAP=127.0.0.1:%s\nPOP3=127.0.0.1:%s\nOWNER=%s\nPID=%s\nMAILDIR=%s\n' $((PORTS + 25)) $((PORTS + 143)) $((PORTS + 110)) "$(stat -c %u "$D/mail")" "$(tr -d ' ' < "$D/spool/pid/master.pid")" "$D/mail/user{u}/Maildir" ;;
flush) postqueue -f ;;
listq) postqueue -p ;;
deferred) find "$D/spool/deferred" -type f | wc -l ;;
postmap) postmap "$2:$3" ;;
postmapq) postmap -q - "$2:$3" < "$4" ;;
*) sed -n 2,5p "$0"; exit 2 ;;
esac
