#!/bin/bash
# What "make profile" runs: the mail daemons under the benchmark's loads, built
# so that they write where their time goes, and from that tools/posthaste.pgo,
# which the compiler reads whenever the programs are built.
# usage: profile.sh
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "SKIPPED: the benchmark needs root" >&2; exit 0; }
GO=$(command -v go || echo /usr/local/go/bin/go)
out=$(mktemp -d /var/tmp/posthaste-profile.XXXXXX)
trap 'rm -rf "$out"' EXIT
chmod 755 "$out"  # programs that run as users are there
mkdir -p "$out/bin"
mkdir -m 1777 "$out/samples"
for m in */main.go; do programs+=("./${m%/main.go}"); done
"$GO" build -pgo=off -tags profile -trimpath -ldflags "-X posthaste/pkg/service.profileDir=$out/samples" -o "$out/bin/" "${programs[@]}"
ln -s sendmail "$out/bin/mailq"
export PH_BIN=$out/bin
test/bench/run-all.sh -r 1 -n 10000 maildir1,maildir10,maildir50,relay10,relay50 posthaste
test/bench/run-all.sh -r 2 mailbox,mixedone,mixedown,maildrop,logins posthaste
find "$out/samples" -size +1k -exec "$GO" tool pprof -proto -output tools/posthaste.pgo {} + > /dev/null
ls -l tools/posthaste.pgo
