#!/bin/bash
# What "make bench" runs: Debian's Postfix and Posthaste in alternation, every
# workload three times, both on one journaled file system if we are root.
# usage: run-all.sh [bench flags] [WORKLOAD,... [TARGET...]]
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "SKIPPED: the benchmark starts Debian's Postfix and so needs root" >&2; exit 0; }
for p in postfix postfix-cdb e2fsprogs; do
  dpkg -s "$p" > /dev/null 2>&1 && continue
  test/tools/apt-install.sh postfix postfix-cdb e2fsprogs || exit 1
  break
done
GO=$(command -v go || echo /usr/local/go/bin/go)
BENCH=bin/test/bench
mkdir -p bin/test && "$GO" build -o "$BENCH" ./test/bench || exit 1
export BENCH_PEERS=$PWD/test/bench/peers
flags=()
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do flags+=("$1" "$2"); shift 2; done
[ $# -gt 0 ] || set -- all
[ $# -gt 1 ] || set -- "$1" postfix posthaste
exec test/bench/onloop.sh "$BENCH" "${flags[@]}" "$@"
