#!/bin/bash
# "make run": a complete private mail server on loopback, and one message
# through it. Usage: run.sh (after make build). RUN_DIR and PORT_BASE choose
# another place and other ports; without PORT_BASE, a new system takes the first
# of 10000, 20000, 30000 and 40000 whose ports are free.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=$PWD/bin
D=${RUN_DIR:-$PWD/run}
# As root the programs run under identities of their own, which must be able to
# reach the instance.
if [ -z "${RUN_DIR:-}" ] && [ "$(id -u)" = 0 ]; then
  p=$PWD
  while [ "$p" != / ]; do
    case $(stat -c %A "$p") in *x) ;; *) D=/var/tmp/posthaste-run; break ;; esac
    p=$(dirname "$p")
  done
fi
PH="$BIN/posthaste -c $D/etc"
[ "${1:-}" != stop ] || exec $PH stop
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

go=${GO:-$(command -v go || echo /usr/local/go/bin/go)}
mkdir -p "$BIN/tools"
"$go" build -o "$BIN/tools/" ./tools/submit ./tools/readmail

if $PH status > /dev/null 2>&1; then $PH stop; fi
made=
[ ! -e "$D/etc/main.cf" ] || made=$(cat "$D/etc/port-base" 2> /dev/null || echo 10000)
BASE=${PORT_BASE:-$made}
free() {
  for p in 25 110 143 465 587 993 995; do
    if (exec 3<> "/dev/tcp/127.0.0.1/$(($1 + p))") 2> /dev/null; then return 1; fi
  done
}
if [ -z "$BASE" ]; then
  for BASE in 10000 20000 30000 40000; do ! free "$BASE" || break; done
fi
if ! free "$BASE"; then
  echo "Some ports from $((BASE + 25)) to $((BASE + 995)) are in use. For others: PORT_BASE=20000 make run" >&2
  exit 1
fi
if [ -n "$made" ] && [ "$made" != "$BASE" ]; then
  old=$D.$(date +%s)
  say "Other ports: the system that was here goes to $old"
  mv "$D" "$old"
fi
if [ ! -e "$D/etc/main.cf" ]; then
  say "Making a private mail system in $D"
  "$BIN/posthaste" init --dir "$D" --domain example.test --user alice:secret --user bob:hunter2 --port-base "$BASE"
  echo "$BASE" > "$D/etc/port-base"
fi
if [ "$("$BIN/postconf" -c "$D/etc" -h daemon_directory)" != "$BIN" ]; then
  say "The system in $D was made by another copy of Posthaste; it runs this one from now on"
  "$BIN/postconf" -c "$D/etc" -e "daemon_directory=$BIN" "command_directory=$BIN"
fi
say "Starting it"
$PH start

say "Alice sends a message to Bob: submission with STARTTLS and a password"
mark="hello-$(date +%s)-$$"
"$BIN/tools/submit" -addr "127.0.0.1:$((BASE + 587))" -cafile "$D/etc/tls/cert.pem" -user alice -password secret \
  -from alice@example.test -to bob@example.test << MSG
From: Alice <alice@example.test>
To: Bob <bob@example.test>
Subject: =?UTF-8?B?5L2g5aW977yM6YKu5bGA?= $mark

Hello, Bob. This went in by SMTP.
MSG

file=
for _ in $(seq 100); do
  file=$(grep -ls "$mark" "$D"/mail/bob/Maildir/new/* 2> /dev/null | head -1) && [ -n "$file" ] && break
  sleep 0.1
done
[ -n "$file" ] || { echo "the message did not arrive; the log:" >&2; tail -20 "$D/log/mail.log" >&2; exit 1; }
say "It is in Bob's mailbox: $file"
for p in "pop3 995" "imap 993"; do
  set -- $p
  say "Bob reads it by $1 over TLS"
  "$BIN/tools/readmail" -proto "$1" -addr "127.0.0.1:$((BASE + $2))" -cafile "$D/etc/tls/cert.pem" -user bob -password hunter2 -subject "$mark"
done
say "How it got there, from $D/log/mail.log"
qid=$(grep -l "" "$D/log/mail.log" > /dev/null; sed -nE 's/.*: ([0-9A-Za-z]+): to=<bob@example.test>.*/\1/p' "$D/log/mail.log" | tail -1)
grep -F "$qid:" "$D/log/mail.log" || true

say "It keeps running. Try it:"
cat << END
  a mail client: users alice (password secret) and bob (password hunter2), server 127.0.0.1, a self-signed certificate
              IMAP $((BASE + 993)) (TLS) or $((BASE + 143)) (STARTTLS); POP3 $((BASE + 995)) (TLS) or $((BASE + 110)) (STARTTLS)
              sending: submission $((BASE + 587)) (STARTTLS) or $((BASE + 465)) (TLS)
  SMTP        127.0.0.1:$((BASE + 25)), for mail to example.test from anybody
  the queue   $BIN/mailq -C $D/etc
  the log     tail -f $D/log/mail.log
  its state   $PH status
  stop it     make stop      (or: $PH stop)
END
