#!/bin/bash
# What "make bench" runs: Debian's Postfix and Posthaste in alternation, then
# for reading mail Debian's Dovecot and Posthaste, every workload three times,
# all on one journaled file system.
# usage: run-all.sh [bench flags] [WORKLOAD,... [TARGET...]]
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "SKIPPED: the benchmark starts Debian's Postfix and so needs root" >&2; exit 0; }
need="postfix postfix-cdb e2fsprogs dovecot-imapd dovecot-pop3d"
for p in $need; do
  dpkg -s "$p" > /dev/null 2>&1 && continue
  test/tools/apt-install.sh $need || exit 1
  break
done
GO=$(command -v go || echo /usr/local/go/bin/go)
BENCH=bin/test/bench
mkdir -p bin/test && "$GO" build -o "$BENCH" ./test/bench || exit 1
export BENCH_PEERS=$PWD/test/bench/peers
flags=()
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do flags+=("$1" "$2"); shift 2; done
if [ $# -eq 0 ]; then
  test/bench/onloop.sh "$BENCH" "${flags[@]}" all postfix posthaste
  result=$?
  test/bench/onloop.sh "$BENCH" "${flags[@]}" reading dovecot posthaste dovecot,mdbox && exit $result
  exit 1
fi
if [ $# -eq 1 ]; then
  case $1 in
  reading) set -- "$1" dovecot posthaste dovecot,mdbox ;;
  *) set -- "$1" postfix posthaste ;;
  esac
fi
exec test/bench/onloop.sh "$BENCH" "${flags[@]}" "$@"
