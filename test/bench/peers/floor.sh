#!/bin/bash
# The floor under all servers of four processes as a benchmark target: floor.c or,
# if it is called "floor,go", floor/main.go, which make the system calls that a
# message needs and do nothing else. For maildir1 to maildir500; "floor,go,relay"
# for relay1 to relay500.
D=${BENCH_DIR:?}/floor
PORT=$((${BENCH_PORTS:-10000} + 2025))
case $1 in
start)
  [ -e "$D" ] && mv "$D" "$BENCH_DIR/old/$EPOCHREALTIME"
  mkdir -p "$D/run" && cd "$(dirname "$0")" || exit 1
  case $2 in
  go) CGO_ENABLED=0 go build -o "$D/floor" ./floor || exit 1 ;;
  *) cc -O2 -o "$D/floor" floor.c || exit 1 ;;
  esac
  setsid "$D/floor" "$D/run" "$PORT" ${3:+"$3"} > "$D/log" 2>&1 < /dev/null &
  echo $! > "$D/pid"
  for _ in $(seq 100); do
    (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null && exit 0
    sleep 0.05
  done
  cat "$D/log" >&2
  exit 1 ;;
stop) kill "$(cat "$D/pid")"; true ;;
env) printf 'SMTP=127.0.0.1:%s\nOWNER=%s\nPID=%s\nMAILDIR=%s\n' "$PORT" "$(id -u)" "$(cat "$D/pid")" "$D/run/mail/user{u}/Maildir" ;;
*) sed -n 2,5p "$0"; exit 2 ;;
esac
